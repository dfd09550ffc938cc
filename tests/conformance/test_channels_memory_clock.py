"""The memory driver with a clock that is moved: the suite without waiting."""

from holdfast.channels.driver import Driver
from holdfast.channels.drivers.memory import MemoryDriver
from holdfast.testing import ChannelsSuite, ManualClock


class TestMemoryChannelsWithAClock(ChannelsSuite):
    async def make_driver(self) -> Driver:
        self.clock = self.clock or ManualClock(1_800_000_000_000)
        return MemoryDriver(now_ms=self.clock)


class TestMemoryChannelsAskedAtOnce(TestMemoryChannelsWithAClock):
    via_now = True
