"""Every registered webmention driver has to pass the one suite.

The classes are made by looping over the registry: a scheme that is new there
is tested here, or fails `test_every_scheme_has_a_server_to_run_on` until
`STORES` says how a store of that scheme is had.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if "holdfast.testing.webmention" not in sys.modules:  # too late where a suite was imported before
    pytest.register_assert_rewrite("holdfast.testing.webmention")

from holdfast.testing import WebmentionSuite
from holdfast.webmention.driver import Driver
from holdfast.webmention.registry import SCHEMES, driver_for, schemes

from .test_channels import ALIASES, ON_UVLOOP, STORES, Store, loop_factory, soaked


class RegisteredDriver(WebmentionSuite):
    """The suite over the store that `STORES` names; not collected itself."""

    __test__ = False
    store: Store
    url = ""

    @pytest.fixture(autouse=True)
    def _store(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.url = type(self).store(request.getfixturevalue, tmp_path)

    async def make_driver(self) -> Driver:
        return driver_for(self.url)

    @soaked
    def test_any_history_agrees_with_a_dict_and_a_clock(self) -> None:
        super().test_any_history_agrees_with_a_dict_and_a_clock()


def class_for(name: str) -> type[RegisteredDriver]:
    title = "Test" + "".join(word.title() for word in name.replace("+", " ").split())
    return type(
        title,
        (RegisteredDriver,),
        {
            "__test__": True,
            "__module__": __name__,
            "store": staticmethod(STORES[name]),
            "loop_factory": loop_factory(name in ON_UVLOOP),
        },
    )


for _name in STORES:
    globals().update({made.__name__: made for made in (class_for(_name),)})


def test_every_scheme_has_a_server_to_run_on() -> None:
    tested = {name.split()[0] for name in STORES}
    missing = set(schemes()) - tested - set(ALIASES)
    assert not missing, f"add to STORES how to have a store for: {', '.join(sorted(missing))}"


def test_an_alias_is_the_same_driver_as_something_tested() -> None:
    tested = {schemes()[name.split()[0]].target for name in STORES}
    for alias in ALIASES:
        assert SCHEMES[alias].target in tested, f"{alias} is a driver of its own: it needs an entry in STORES"
