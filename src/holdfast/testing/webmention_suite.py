"""What every webmention driver, and every storage of outgoing mentions, has to do, as test classes.

    from holdfast.testing import OutboxSuite, StorageSuite, WebmentionSuite

    class TestMyDriver(WebmentionSuite):
        async def make_driver(self):
            return MyDriver("my://localhost")

    class TestMyStorage(StorageSuite):  # four methods; OutboxSuite for the larger protocol
        async def make_storage(self):
            return Mine(database)

Each test of `WebmentionSuite` makes a driver, opens and migrates it, works in a
namespace of its own (a random prefix, cleared afterwards: nothing else in the
store is touched), and runs on an event loop of its own; no asyncio plugin is
needed. Two drivers made in one test stand for two processes over one store:
unless `traits.shared` is "process", each sees what the other wrote. Where the
driver's time can be moved, `make_driver` sets `self.clock` to the `ManualClock`
that it hands to the driver, and nothing waits. The model test needs Hypothesis.

A storage that `make_storage` makes is empty when a test begins; those made
later in the same test are other workers over the same data. `close_storage`
gives each back. `OutboxSuite` knows of `self.clock` too, and is made of all the
cases of `StorageSuite` and its own.
"""

from __future__ import annotations

from holdfast.testing.webmention.concurrency import ConcurrencyCases
from holdfast.testing.webmention.documents import DocumentCases
from holdfast.testing.webmention.due import DueCases
from holdfast.testing.webmention.lifecycle import LifecycleCases
from holdfast.testing.webmention.model import ModelCases
from holdfast.testing.webmention.outbox import OutboxCases
from holdfast.testing.webmention.pages import PageCases
from holdfast.testing.webmention.storage import StorageCases
from holdfast.testing.webmention.writing import WritingCases
from holdfast.webmention.storage import Storage

__all__ = ["OutboxSuite", "StorageSuite", "WebmentionSuite"]


class WebmentionSuite(
    LifecycleCases,
    DocumentCases,
    WritingCases,
    PageCases,
    DueCases,
    ConcurrencyCases,
    ModelCases,
):
    """For a driver. Subclass it and say how one is made; see the module's docstring."""


class StorageSuite(StorageCases[Storage]):
    """For a class of four methods, which is enough to send."""


class OutboxSuite(OutboxCases):
    """For a class of the larger protocol."""
