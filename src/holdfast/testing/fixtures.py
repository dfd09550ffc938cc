"""Fixtures for the tests of an app that uses Holdfast.

In its `conftest.py`::

    pytest_plugins = ["holdfast.testing.fixtures"]

and then::

    async def test_a_session_ends_after_an_hour(store, clock):
        await store.set("session:9f", {"user": 1}, expires=3600)
        clock.advance(3600)
        assert await store.get("session:9f") is None

`store`
    A `Persist` that nobody else sees, fresh for every test and open. On memory,
    unless `HOLDFAST_TEST_STORE` holds the URL of a real store; there it works in
    a namespace of its own, which is emptied after the test, and touches nothing
    else.
`clock`
    A `ManualClock` that decides when values in `store` expire: time stands still
    until `clock.advance(seconds)`. With `HOLDFAST_TEST_STORE` a test that asks
    for it is skipped, because nobody can move a real store's clock.

They need pytest-asyncio (either mode) or anyio. Assertions inside `PersistSuite`
show their values where this module is loaded.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.persist import Persist
from holdfast.persist.driver import Clear, Driver
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.persist.registry import driver_for
from holdfast.testing.clock import ManualClock

_fixture: Callable[..., Any]
try:
    import pytest_asyncio
except ImportError:  # anyio takes plain fixtures
    _fixture = pytest.fixture
else:
    _fixture = pytest_asyncio.fixture

__all__ = ["clock", "store"]

if "holdfast.testing.persist" not in sys.modules:  # too late where a suite was imported before
    pytest.register_assert_rewrite("holdfast.testing.persist")


@pytest.fixture
def clock() -> ManualClock:
    """Time in the memory store: it stands still until `clock.advance(seconds)`."""
    if _real_store():
        pytest.skip("the clock of the store in HOLDFAST_TEST_STORE cannot be moved")
    return ManualClock()


@_fixture  # type: ignore[untyped-decorator]  # two libraries' decorators of one meaning
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Persist]:
    """A fresh, open `Persist`; see the module's docstring."""
    url = _real_store()
    driver: Driver = driver_for(url) if url else MemoryDriver(now_ms=request.getfixturevalue("clock"))
    namespace = f"test{secrets.token_hex(6)}"
    async with Persist(driver, namespace=namespace, auto_migrate=True) as persist:
        yield persist
        if url:
            await _empty(driver, namespace)


def _real_store() -> str | None:
    return os.environ.get("HOLDFAST_TEST_STORE") or None


async def _empty(driver: Driver, namespace: str) -> None:
    """Delete the namespace with all that is nested in it, and what Holdfast keeps there for itself."""
    for prefix in (f"{namespace}:", f"{namespace}/"):
        cursor: str | None = None
        while True:
            (cleared,) = await driver.apply([Clear(prefix, cursor, 500)])
            cursor = cleared.cursor
            if cursor is None:
                break
