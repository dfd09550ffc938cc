"""Expired rows go in the background, by one process at a time, whatever a driver does meanwhile."""

import asyncio
from typing import Any

import pytest

from holdfast import events
from holdfast.errors import StoreUnavailable
from holdfast.persist.core import SWEEP_LEASE, Core
from holdfast.persist.driver import Create, Set, Sweep
from holdfast.persist.drivers.memory import MemoryDriver

REST = 0.005
"""Seconds, instead of a minute."""


class Table(MemoryDriver):
    """Rows that several processes share, and a note of who sweeps them."""

    def __init__(self, shared: "Table | None" = None) -> None:
        super().__init__()
        self.sweeps = 0
        self.faults: list[Exception] = []
        self.inside: list[Table] = []
        self.most = 0
        self.go = asyncio.Event()
        self.go.set()
        self.swept = asyncio.Event()
        self.first = shared or self
        self._rows = self.first._rows

    async def sweep(self, cursor: str | None, limit: int) -> Sweep:
        self.sweeps += 1
        first = self.first
        first.inside.append(self)
        first.most = max(first.most, len(first.inside))
        first.swept.set()
        try:
            await first.go.wait()
            if self.faults:
                raise self.faults.pop(0)
            return await super().sweep(cursor, limit)
        finally:
            first.inside.remove(self)


async def opened(table: Table) -> Core:
    core = Core(table, auto_migrate=None, max_bytes=1 << 20, rest=REST)
    await core.open()
    return core


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - the table has no event for a row that goes
            await asyncio.sleep(REST)


async def test_what_expired_goes_although_nobody_asks_for_it_and_is_told() -> None:
    heard: list[events.Event] = []
    stop = events.subscribe(heard.append)
    table = Table()
    core = await opened(table)
    try:
        await core.run(Set("h:p:short", b"1", 1))
        await core.run(Set("h:p:long", b"1", 60_000))
        await core.run(Set("h:p:ever", b"1", None))
        await until(lambda: "h:p:short" not in table._rows)
    finally:
        stop()
        await core.close()
    assert {"h:p:long", "h:p:ever"} <= set(table._rows)
    assert sum(event.removed for event in heard if isinstance(event, events.Swept)) == 1


async def test_one_process_at_a_time_sweeps_and_the_other_has_its_turn() -> None:
    one = Table()
    other = Table(one)
    one.go.clear()
    cores = [await opened(one), await opened(other)]
    await asyncio.wait_for(one.swept.wait(), 5)
    await asyncio.sleep(REST * 10)  # many rests: whoever could sweep beside it would have
    assert one.most == 1
    one.go.set()
    await until(lambda: one.sweeps > 2 and other.sweeps > 2)
    assert one.most == 1
    for core in cores:
        await core.close()
    assert SWEEP_LEASE not in one._rows, "the lease outlived those who held it"


async def test_nobody_sweeps_while_another_holds_the_lease() -> None:
    table = Table()
    core = await opened(table)
    assert await core.run(Create(SWEEP_LEASE, b'{"owner":"another process"}', 60_000))
    await until(lambda: not table.inside)
    before = table.sweeps
    await asyncio.sleep(REST * 10)
    assert table.sweeps == before
    await core.close()


@pytest.mark.parametrize("fault", [StoreUnavailable("away"), LookupError("a bug")])
async def test_sweeping_goes_on_after_a_fault_and_a_bug_is_told(fault: Exception) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    table = Table()
    table.faults = [fault]
    core = await opened(table)
    await until(lambda: table.sweeps >= 3)
    await core.close()
    assert [context["exception"] for context in told] == (
        [] if isinstance(fault, StoreUnavailable) else [fault]
    )
