"""The memory driver with a clock that is moved: the suite without waiting."""

from holdfast.persist.driver import Driver
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing import ManualClock, PersistSuite


class TestMemoryWithAClock(PersistSuite):
    async def make_driver(self) -> Driver:
        self.clock = self.clock or ManualClock()
        return MemoryDriver(now_ms=self.clock)


class TestMemoryAskedAtOnce(TestMemoryWithAClock):
    via_now = True
