"""What the registries have in common. What each makes of a mistake in a URL stands in test_store."""

from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.channels import registry as channels
from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.persist import registry as persist
from holdfast.registering import Registered, driver_from, shipped, with_installed
from holdfast.webmention import registry as webmention


class Made:
    OPTIONS = ("colour",)

    def __init__(self, url: Any) -> None:
        self.url = url

    @classmethod
    def from_url(cls, url: Any) -> "Made":
        return cls(url)


OWN = {"made": Registered(f"{__name__}:Made", options=("size",))}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module, under the name by which the table calls it."""
    monkeypatch.setattr("holdfast.registering.import_module", lambda name: SimpleNamespace(Made=Made))


def test_one_url_serves_every_capability_with_the_same_options() -> None:
    for scheme, entry in channels.SCHEMES.items():
        for other in (persist, webmention):
            assert other.SCHEMES[scheme].options == entry.options
            assert other.SCHEMES[scheme].extra == entry.extra


def test_each_registry_names_drivers_of_its_own() -> None:
    for name, registry in (("persist", persist), ("channels", channels), ("webmention", webmention)):
        assert {entry.target.split(".")[1] for entry in registry.SCHEMES.values()} == {name}


def test_every_example_is_of_its_scheme() -> None:
    for scheme, entry in shipped("x").items():
        assert "://" in entry.example
        assert scheme[:3] == entry.example[:3] or scheme.startswith("valkey")


@pytest.mark.usefixtures("here")
def test_a_url_becomes_the_driver_that_the_table_names() -> None:
    made = driver_from("made://h?size=3", OWN, "holdfast.none")
    assert isinstance(made, Made)
    assert made.url.options == {"size": "3"}


@pytest.mark.usefixtures("here")
def test_an_option_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(StoreMisconfigured, match="did you mean 'size'"):
        driver_from("made://h?sise=3", OWN, "holdfast.none")


def test_installed_packages_add_schemes_and_replace_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("not today")

    points = [
        SimpleNamespace(name="made", value="theirs:Driver", load=lambda: Made),
        SimpleNamespace(name="new", value="theirs:Driver", load=lambda: Made),
        SimpleNamespace(name="torn", value="theirs:Torn", load=broken),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "g" else [])
    found = with_installed(OWN, "g")
    assert found["made"] is OWN["made"]
    assert found["new"] == Registered("theirs:Driver", options=("colour",), foreign=True)
    assert found["torn"].options == ()


def test_a_library_that_is_missing_is_named_with_the_extra_and_one_of_ours_is_a_defect() -> None:
    with pytest.raises(MissingExtra, match=r'pip install "holdfast\[x\]"'):
        driver_from("a://h", {"a": Registered("no_such_library:Driver", "x")}, "g")
    with pytest.raises(ModuleNotFoundError):
        driver_from("a://h", {"a": Registered("holdfast.no_such_module:Driver", "x")}, "g")


@pytest.mark.parametrize("registry", [persist, channels, webmention])
def test_a_driver_by_hand_is_answered_as_it_is(registry: Any) -> None:
    made = Made(None)
    assert registry.driver_for(made) is made
