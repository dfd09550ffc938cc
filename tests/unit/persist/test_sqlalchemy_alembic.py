"""Holdfast's tables beside Alembic: the two ways of docs/how-to/alembic.md, and no difference to be found."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.channels import driver as talk
from holdfast.channels import registry as rooms
from holdfast.persist.driver import Get, Set
from holdfast.persist.drivers.sqlalchemy import SQLAlchemyDriver, metadata
from holdfast.persist.registry import driver_for
from holdfast.webmention import driver as shelf
from holdfast.webmention import registry as mentions

pytest.importorskip("alembic", reason="pip install alembic")

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "alembic.md"
LEAVE_OUT, TAKE_IN, RECORD = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table

class Base:
    metadata = MetaData()

Table("things", Base.metadata, Column("id", Integer, primary_key=True))
"""
ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

{snippet}

with create_engine(context.config.get_main_option("sqlalchemy.url")).begin() as connection:
    context.configure(connection=connection, {arguments})
    with context.begin_transaction():
        context.run_migrations()
connection.engine.dispose()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an application's models and an empty Alembic environment."""
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "models.py").write_text(MODELS)
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    template = Path(str(sys.modules["alembic"].__file__)).parent / "templates" / "generic" / "script.py.mako"
    (tmp_path / "migrations" / "script.py.mako").write_text(template.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "myapp"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def configure(project: Path, snippet: str, arguments: str) -> Config:
    (project / "migrations" / "env.py").write_text(ENVIRONMENT.format(snippet=snippet, arguments=arguments))
    config = Config()
    config.set_main_option("script_location", str(project / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{project / 'app.db'}")
    return config


async def differences(url: str) -> list[Any]:
    """What autogenerate would change in this database, of Holdfast's tables."""

    def compare(connection: Connection) -> list[Any]:
        only_ours = {"include_name": lambda name, kind, parents: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=only_ours), metadata))

    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(compare)
    finally:
        await engine.dispose()


async def migrated(url: str) -> None:
    """All of Holdfast's tables, made by Holdfast."""
    for driver in (driver_for(url), rooms.driver_for(url), mentions.driver_for(url)):
        await driver.open()
        await driver.migrate()
        await driver.close()


@pytest.mark.parametrize("scheme", ["sqlite", "sqlalchemy+sqlite+aiosqlite"])
async def test_autogenerate_finds_no_difference_on_sqlite(scheme: str, tmp_path: Path) -> None:
    await migrated(f"{scheme}:///{tmp_path / 'app.db'}")
    assert await differences(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") == []


@pytest.mark.parametrize("scheme", ["postgresql", "sqlalchemy+postgresql+asyncpg"])
async def test_autogenerate_finds_no_difference_on_postgres(scheme: str, postgres_url: str) -> None:
    await migrated(postgres_url.replace("postgresql", scheme, 1))
    assert await differences(postgres_url.replace("postgresql", "postgresql+asyncpg", 1)) == []


async def test_autogenerate_finds_no_difference_on_mysql(mysql_url: str) -> None:
    await migrated(f"sqlalchemy+{mysql_url}")
    assert await differences(mysql_url) == []


async def test_autogenerate_would_find_a_difference(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    await migrated(f"sqlalchemy+{url}")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE holdfast_persist DROP COLUMN expires_at")
        await connection.exec_driver_sql("DROP TABLE holdfast_migrations")
    await engine.dispose()
    assert {change[0] for change in await differences(url)} == {"add_table", "add_column"}


def test_tables_left_to_holdfast_are_none_of_autogenerates_business(project: Path) -> None:
    asyncio.run(migrated(f"sqlite:///{project / 'app.db'}"))
    models = "from myapp.models import Base\n"
    config = configure(
        project, models + LEAVE_OUT, "target_metadata=Base.metadata, include_name=include_name"
    )
    command.revision(config, autogenerate=True, message="things")
    command.upgrade(config, "head")
    command.check(config)
    engine = create_engine(f"sqlite:///{project / 'app.db'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM holdfast_persist").scalar() == 0
    engine.dispose()


def test_tables_left_to_alembic_are_as_good_as_holdfasts_own(project: Path) -> None:
    config = configure(project, TAKE_IN, "target_metadata=target_metadata")
    command.revision(config, autogenerate=True, message="holdfast tables")
    (revision,) = (project / "migrations" / "versions").glob("*.py")
    written = revision.read_text()
    line = "".join(f"    {line}\n" if line else "\n" for line in RECORD.splitlines())
    head, mark, tail = written.partition("\n\ndef downgrade")
    revision.write_text(head + line + mark + tail)
    command.upgrade(config, "head")
    command.check(config)
    asyncio.run(used(f"sqlite:///{project / 'app.db'}"))
    asyncio.run(used(f"sqlalchemy+sqlite+aiosqlite:///{project / 'app.db'}"))


async def used(url: str) -> None:
    driver = driver_for(url)
    assert isinstance(driver, SQLAlchemyDriver) == url.startswith("sqlalchemy+")
    await driver.open()
    try:
        assert list(await driver.pending()) == []
        await driver.apply([Set("k", b"1", 60_000)])
        assert [bytes(v, "ascii") if isinstance(v, str) else v for v in await driver.apply([Get("k")])] == [
            b"1"
        ]
    finally:
        await driver.close()
    await talked(url)
    await mentioned(url)


async def talked(url: str) -> None:
    driver = rooms.driver_for(url)
    await driver.open()
    try:
        assert list(await driver.pending()) == []
        for turn in (1, 2):  # the numbers of topics and notes come from the database
            (said,) = await driver.apply([talk.Append(f"{url}{turn}", "said", b"{}")])
            assert said.offset == 1
            assert await driver.apply([talk.Send(f"{url}{turn}", b"\0")]) == [None]
    finally:
        await driver.close()


async def mentioned(url: str) -> None:
    driver = mentions.driver_for(url)
    await driver.open()
    try:
        assert list(await driver.pending()) == []
        assert await driver.write([shelf.Put("n:m:o", url, b"{}", ("t",)), shelf.Drop("n:m:o", "none")])
        assert [each.id for each in await driver.page("n:m:o", "t", newest=True, limit=1)] == [url]
    finally:
        await driver.close()
