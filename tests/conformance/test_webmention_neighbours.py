"""One layout per database: webmention drivers of different kinds over the same rows, as two of one kind."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from holdfast.testing.webmention.concurrency import ConcurrencyCases
from holdfast.testing.webmention.model import ModelCases
from holdfast.webmention.driver import Driver
from holdfast.webmention.registry import driver_for


class Neighbours(ConcurrencyCases, ModelCases):
    """Every second driver that a case makes is of the other kind."""

    __test__ = False
    urls: tuple[str, str]

    async def make_driver(self) -> Driver:
        self.made = getattr(self, "made", count())
        return driver_for(self.urls[next(self.made) % 2])


class TestPostgresBesideSqlalchemy(Neighbours):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _urls(self, postgres_url: str) -> None:
        self.urls = (postgres_url, "sqlalchemy+postgresql+asyncpg://" + postgres_url.partition("://")[2])


class TestSqlalchemyBesidePostgres(TestPostgresBesideSqlalchemy):
    @pytest.fixture(autouse=True)
    def _turned(self, _urls: None) -> None:
        self.urls = (self.urls[1], self.urls[0])


class TestSqliteBesideSqlalchemy(Neighbours):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _urls(self, tmp_path: Path) -> None:
        path = tmp_path / "app.db"
        self.urls = (f"sqlite:///{path}", f"sqlalchemy+sqlite+aiosqlite:///{path}")


class TestSqlalchemyBesideSqlite(TestSqliteBesideSqlalchemy):
    @pytest.fixture(autouse=True)
    def _turned(self, _urls: None) -> None:
        self.urls = (self.urls[1], self.urls[0])
