"""The shipped outbox over every registered driver has to pass the suite that users' own have to pass."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from holdfast.testing import ManualClock, OutboxSuite
from holdfast.webmention.driver import Driver, Drop
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.registry import driver_for
from holdfast.webmention.storage import Outbox
from holdfast.webmention.stored import StoredOutbox

from .test_channels import ON_UVLOOP, STORES, Store, loop_factory


class RegisteredOutbox(OutboxSuite):
    """Over the store that `STORES` names; not collected itself."""

    __test__ = False
    store: Store
    url = ""

    @pytest.fixture(autouse=True)
    def _store(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.url = type(self).store(request.getfixturevalue, tmp_path)
        self.namespace = f"suite{secrets.token_hex(5)}"
        self.drivers: list[tuple[Outbox, Driver]] = []

    async def make_storage(self) -> Outbox:
        driver = driver_for(self.url)
        await driver.open()
        await driver.migrate()
        outbox = StoredOutbox(driver, self.namespace)
        self.drivers.append((outbox, driver))
        return outbox

    async def close_storage(self, storage: Outbox) -> None:
        (driver,) = [driver for outbox, driver in self.drivers if outbox is storage]
        kind = f"{self.namespace}:m:o"
        while left := await driver.page(kind, limit=1000):
            await driver.write([Drop(kind, document.id) for document in left])
        await driver.close()


def class_for(name: str) -> type[RegisteredOutbox]:
    title = "Test" + "".join(word.title() for word in name.replace("+", " ").split())
    return type(
        title,
        (RegisteredOutbox,),
        {
            "__test__": True,
            "__module__": __name__,
            "store": staticmethod(STORES[name]),
            "loop_factory": loop_factory(name in ON_UVLOOP),
        },
    )


for _name in STORES:
    globals().update({made.__name__: made for made in (class_for(_name),)})


class TestMemoryOutboxWithAClock(OutboxSuite):
    """Two of a test are two outboxes over one driver."""

    driver: MemoryDriver | None = None

    async def make_storage(self) -> Outbox:
        clock = self.clock = self.clock or ManualClock(1_800_000_000_000)
        if self.driver is None:
            self.driver = MemoryDriver(now_ms=clock)
            await self.driver.open()
        return StoredOutbox(self.driver, "holdfast", now=lambda: clock() / 1000)
