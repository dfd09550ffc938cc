"""Tools to test what is built on Holdfast, and what Holdfast is built on.

==================  ===================================================================
`PersistSuite`      every promise of a persist driver, as one pytest class
`PersistModel`      the same as a dict and a clock, to judge made-up histories by
`ChannelsSuite`     every promise of a channels driver, likewise
`WebmentionSuite`   every promise of a webmention driver, likewise
`StorageSuite`      what a storage of outgoing mentions has to do with four methods,
`OutboxSuite`       and with all of them
`ChannelClient`     a client of `Channels` without a socket
`JoinRefused`       what its `join` raises where the answer is an error
`faults`            drivers that delay, drop, fail the nth call, die mid-batch
`ManualClock`       time that a test moves
`RedisServer`,      throw-away servers: started, killed, paused, started again
`PostgresServer`
`fixtures`          a store per test: `pytest_plugins = ["holdfast.testing.fixtures"]`
==================  ===================================================================

Nothing here imports pytest or Hypothesis until a name that needs it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.testing import faults as faults
    from holdfast.testing.channel_client import ChannelClient as ChannelClient
    from holdfast.testing.channel_client import JoinRefused as JoinRefused
    from holdfast.testing.channels_suite import ChannelsSuite as ChannelsSuite
    from holdfast.testing.clock import ManualClock as ManualClock
    from holdfast.testing.persist.model import PersistModel as PersistModel
    from holdfast.testing.persist_suite import PersistSuite as PersistSuite
    from holdfast.testing.servers import PostgresServer as PostgresServer
    from holdfast.testing.servers import RedisServer as RedisServer
    from holdfast.testing.servers import ServerMissing as ServerMissing
    from holdfast.testing.webmention_suite import OutboxSuite as OutboxSuite
    from holdfast.testing.webmention_suite import StorageSuite as StorageSuite
    from holdfast.testing.webmention_suite import WebmentionSuite as WebmentionSuite

__all__ = [
    "ChannelClient",
    "ChannelsSuite",
    "JoinRefused",
    "ManualClock",
    "OutboxSuite",
    "PersistModel",
    "PersistSuite",
    "PostgresServer",
    "RedisServer",
    "ServerMissing",
    "StorageSuite",
    "WebmentionSuite",
    "faults",
]

_HOMES = {
    "ChannelClient": "channel_client",
    "ChannelsSuite": "channels_suite",
    "JoinRefused": "channel_client",
    "ManualClock": "clock",
    "OutboxSuite": "webmention_suite",
    "PersistModel": "persist.model",
    "PersistSuite": "persist_suite",
    "PostgresServer": "servers",
    "RedisServer": "servers",
    "ServerMissing": "servers",
    "StorageSuite": "webmention_suite",
    "WebmentionSuite": "webmention_suite",
}


def __getattr__(name: str) -> Any:
    if name == "faults":
        return import_module("holdfast.testing.faults")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"holdfast.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
