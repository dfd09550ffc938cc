"""`PersistSuite`: what every persist driver has to do, as one test class.

    from holdfast.testing import PersistSuite

    class TestMyDriver(PersistSuite):
        async def make_driver(self):
            return MyDriver("my://localhost")

Each test makes a driver, opens and migrates it, works in a namespace of its own
(a random prefix, cleared afterwards: nothing else in the store is touched), and
runs on an event loop of its own; no asyncio plugin is needed. Where the
driver's time can be moved, `make_driver` sets `self.clock` to the `ManualClock`
that it hands to the driver, and nothing waits. `via_now = True` asks through
`Driver.now` where the traits allow it. The model test needs Hypothesis.
"""

from __future__ import annotations

from holdfast.testing.persist.announcements import AnnouncementCases
from holdfast.testing.persist.api import ApiCases
from holdfast.testing.persist.batches import BatchCases
from holdfast.testing.persist.concurrency import ConcurrencyCases
from holdfast.testing.persist.expiry import ExpiryCases
from holdfast.testing.persist.lifecycle import LifecycleCases
from holdfast.testing.persist.listing import ListingCases
from holdfast.testing.persist.model import ModelCases
from holdfast.testing.persist.operations import OperationCases
from holdfast.testing.persist.text import TextCases
from holdfast.testing.persist.watching import WatchingCases

__all__ = ["PersistSuite"]


class PersistSuite(
    LifecycleCases,
    OperationCases,
    TextCases,
    ExpiryCases,
    BatchCases,
    ListingCases,
    ConcurrencyCases,
    ApiCases,
    AnnouncementCases,
    WatchingCases,
    ModelCases,
):
    """Subclass it and say how a driver is made; see the module's docstring."""
