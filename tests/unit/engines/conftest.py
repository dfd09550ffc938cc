"""Engines run on asyncio's own loop; modules that name `LOOPS` run on those."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from holdfast import events
from holdfast.testing.servers import RedisServer


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    module: Any = getattr(item, "module", None)
    return getattr(module, "LOOPS", {"asyncio": asyncio.new_event_loop})


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own, to be killed and paused."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def heard() -> Iterator[list[events.Event]]:
    """The events of this test."""
    found: list[events.Event] = []
    stop = events.subscribe(found.append)
    yield found
    stop()
