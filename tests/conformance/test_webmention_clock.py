"""Drivers with a clock that is moved: the suite without waiting, and due to the millisecond."""

from pathlib import Path

import pytest

from holdfast.store import StoreURL
from holdfast.testing import ManualClock, WebmentionSuite
from holdfast.webmention.driver import Driver
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.drivers.sqlite import SqliteDriver


class TestMemoryMentionsWithAClock(WebmentionSuite):
    async def make_driver(self) -> Driver:
        self.clock = self.clock or ManualClock(1_800_000_000_000)
        return MemoryDriver(now_ms=self.clock)


class TestSqliteMentionsWithAClock(WebmentionSuite):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = StoreURL.parse(f"sqlite:///{tmp_path}/app.db?synchronous=normal", own=("synchronous",))

    async def make_driver(self) -> Driver:
        self.clock = self.clock or ManualClock(1_800_000_000_000)
        return SqliteDriver(self.url, now_ms=self.clock)
