"""`ChannelsSuite`: what every channels driver has to do, as one test class.

    from holdfast.testing import ChannelsSuite

    class TestMyDriver(ChannelsSuite):
        async def make_driver(self):
            return MyDriver("my://localhost")

Each test makes a driver, opens and migrates it, works in a namespace of its own
(a random prefix, cleared afterwards: nothing else in the store is touched), and
runs on an event loop of its own; no asyncio plugin is needed. Two drivers made
in one test stand for two processes over one store: unless `traits.shared` is
"process", each sees what the other wrote and hears what it announces. Where the
driver's time can be moved, `make_driver` sets `self.clock` to the `ManualClock`
that it hands to the driver, and nothing waits. `via_now = True` asks through
`Driver.now` where the traits allow it. The model test needs Hypothesis.
"""

from __future__ import annotations

from holdfast.testing.channels.announcements import AnnouncementCases
from holdfast.testing.channels.append import AppendCases
from holdfast.testing.channels.batches import BatchCases
from holdfast.testing.channels.changes import ChangeCases
from holdfast.testing.channels.concurrency import ConcurrencyCases
from holdfast.testing.channels.lifecycle import LifecycleCases
from holdfast.testing.channels.model import ModelCases
from holdfast.testing.channels.reads import ReadCases
from holdfast.testing.channels.retention import RetentionCases
from holdfast.testing.channels.text import TextCases
from holdfast.testing.channels.topics import TopicCases

__all__ = ["ChannelsSuite"]


class ChannelsSuite(
    LifecycleCases,
    AppendCases,
    TextCases,
    ReadCases,
    ChangeCases,
    RetentionCases,
    TopicCases,
    BatchCases,
    ConcurrencyCases,
    AnnouncementCases,
    ModelCases,
):
    """Subclass it and say how a driver is made; see the module's docstring."""
