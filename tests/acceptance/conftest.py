"""Stores for the proofs, each with the engine's full durability, and the soak's figures."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.proof import figures
from tests.acceptance.wire import SERVERS, Client, Server, is_installed
from tests.conftest import missing

from holdfast.testing.servers import PostgresServer, RedisServer, ServerMissing


@pytest.fixture(scope="session")
def durable_redis() -> Iterator[RedisServer]:
    """A Redis that syncs every write before it answers."""
    try:
        server = RedisServer(appendonly=True, appendfsync="always").start()
    except ServerMissing as exc:
        missing(str(exc))
    with server:
        yield server


@pytest.fixture(scope="session")
def durable_postgres() -> Iterator[PostgresServer]:
    """A Postgres as it comes: fsync on, synchronous_commit on."""
    try:
        server = PostgresServer().start()
    except ServerMissing as exc:
        missing(str(exc))
    with server:
        yield server


@pytest.fixture
def namespace() -> str:
    return f"proof-{secrets.token_hex(4)}"


ENGINES = ("sqlite", "redis", "postgres", "sqlalchemy+sqlite", "sqlalchemy+postgres")


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The store that the test's `engine` parameter names."""
    engine: str = request.getfixturevalue("engine")
    if engine == "sqlite":
        return f"sqlite:///{tmp_path}/proof.db"
    if engine == "sqlalchemy+sqlite":
        return f"sqlalchemy+sqlite+aiosqlite:///{tmp_path}/proof.db"
    if engine == "redis":
        return str(request.getfixturevalue("durable_redis").url)
    postgres = str(request.getfixturevalue("durable_postgres").url)
    return (
        postgres
        if engine == "postgres"
        else postgres.replace("postgresql", "sqlalchemy+postgresql+asyncpg", 1)
    )


def pytest_sessionfinish() -> None:
    figures.write()


# --- the wire ---


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`wire_app` under each server, one after the other."""
    if not is_installed(request.param):
        missing(f"{request.param} is not installed")
    with Server(request.param, tmp_path_factory.mktemp("wire")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def topic() -> str:
    return f"room:{secrets.token_hex(4)}"
