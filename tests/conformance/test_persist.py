"""Every registered persist driver has to pass the one suite.

The classes are made by looping over the registry: a scheme that is new there
is tested here, or fails `test_every_scheme_has_a_server_to_run_on` until
`STORES` says how a store of that scheme is had.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.persist.driver import Driver, Notifying
from holdfast.persist.registry import SCHEMES, driver_for, schemes
from holdfast.testing import PersistSuite
from holdfast.testing.persist.announcements import AnnouncementCases
from holdfast.testing.persist.watching import WatchingCases

Fixture = Callable[[str], Any]
Store = Callable[[Fixture, Path], str]


def rescheme(url: str, scheme: str) -> str:
    return f"{scheme}://{url.partition('://')[2]}"


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{option}"


# Scheme, and what else stands in the name of the test: the URL of a store, from the fixtures and a directory.
STORES: dict[str, Store] = {
    "memory": lambda fixture, folder: "memory://",
    "sqlite": lambda fixture, folder: f"sqlite:///{folder / 'app.db'}?synchronous=normal",
    "redis": lambda fixture, folder: fixture("redis_url"),
    "redis+cluster": lambda fixture, folder: fixture("redis_cluster_url"),
    "valkey": lambda fixture, folder: with_option(rescheme(fixture("redis_url"), "valkey"), "protocol=2"),
    "postgresql": lambda fixture, folder: fixture("postgres_url"),
    "postgres": lambda fixture, folder: rescheme(fixture("postgres_url"), "postgres"),
    "sqlalchemy": lambda fixture, folder: f"sqlalchemy+sqlite+aiosqlite:///{folder / 'app.db'}",
    "sqlalchemy postgresql": lambda fixture, folder: rescheme(
        fixture("postgres_url"), "sqlalchemy+postgresql+asyncpg"
    ),
    "sqlalchemy mysql": lambda fixture, folder: f"sqlalchemy+{fixture('mysql_url')}",
}

# The same driver class by another name, reached in another way: tested where the way is what is new.
ALIASES = {
    "rediss": "TLS is redis-py's; tests of the redis engine connect through it",
    "redis+unix": "tests of the redis engine connect through it",
    "redis+sentinel": "tests of the redis engine fail a master over",
    "valkeys": "TLS is redis-py's",
}

# Writing and announcing is other code than writing: these run once more, announcing where nobody listens.
ANNOUNCING = ("memory", "sqlite", "redis", "postgresql", "sqlalchemy", "sqlalchemy postgresql")

# Second names of a driver are not tested a second time in the same way: these run on uvloop.
ON_UVLOOP = {"valkey", "postgres"}


def soaked(test: Callable[..., None]) -> Callable[..., None]:
    """Chosen by `make soak`, which makes up longer histories, beside every ordinary run."""
    if os.environ.get("HOLDFAST_SOAK") != "1":
        return test
    return pytest.mark.timeout(1800)(pytest.mark.soak(test))  # type: ignore[no-any-return]


class RegisteredDriver(PersistSuite):
    """The suite over the store that `STORES` names; not collected itself."""

    __test__ = False
    store: Store
    url = ""
    announces = False

    @pytest.fixture(autouse=True)
    def _store(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.url = type(self).store(request.getfixturevalue, tmp_path)

    async def make_driver(self) -> Driver:
        driver = driver_for(self.url)
        if self.announces:
            assert driver.traits.notifies
            cast("Notifying", driver).announce("elsewhere:w:")
        return driver

    @soaked
    def test_any_history_agrees_with_a_dict_and_a_clock(self) -> None:
        super().test_any_history_agrees_with_a_dict_and_a_clock()


def loop_factory(fast: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is asked for and installed: it orders callbacks and reads sockets in its own way."""
    if not fast or find_spec("uvloop") is None:
        return None
    return staticmethod(import_module("uvloop").new_event_loop)


def class_for(name: str, via_now: bool, announces: bool = False) -> type[RegisteredDriver]:
    words = name.replace("+", " ").split() + ["at once"] * via_now + ["announcing"] * announces
    title = "Test" + "".join(word.title().replace(" ", "") for word in words)
    # What is announced is looked at by drivers that `Persist` tells to announce.
    cases = {*dir(AnnouncementCases), *dir(WatchingCases)} if announces else set[str]()
    left_out = [each for each in cases if each.startswith("test_")]
    return type(
        title,
        (RegisteredDriver,),
        {
            **dict.fromkeys(left_out),
            "__test__": True,
            "__module__": __name__,
            "store": staticmethod(STORES[name]),
            "via_now": via_now,
            "announces": announces,
            "loop_factory": loop_factory(via_now or name in ON_UVLOOP),
        },
    )


def answers_at_once(scheme: str) -> bool:
    try:
        return bool(driver_for(SCHEMES[scheme].example).traits.immediate)
    except (ImportError, AttributeError):
        return False  # the class fails loudly enough when it runs


for _name in STORES:
    for _via_now in (False, True):
        if not _via_now or answers_at_once(_name.split()[0]):
            globals().update({made.__name__: made for made in (class_for(_name, _via_now),)})
for _name in ANNOUNCING:
    globals().update({made.__name__: made for made in (class_for(_name, False, announces=True),)})


def test_every_scheme_has_a_server_to_run_on() -> None:
    tested = {name.split()[0] for name in STORES}
    missing = set(schemes()) - tested - set(ALIASES)
    assert not missing, f"add to STORES how to have a store for: {', '.join(sorted(missing))}"


def test_an_alias_is_the_same_driver_as_something_tested() -> None:
    tested = {schemes()[name.split()[0]].target for name in STORES}
    for alias in ALIASES:
        assert SCHEMES[alias].target in tested, f"{alias} is a driver of its own: it needs an entry in STORES"
