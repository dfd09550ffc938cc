"""Store URLs: options, passwords, mistakes."""

import pytest

from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.persist import registry
from holdfast.persist.registry import driver_for
from holdfast.store import StoreURL, masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hunter2@host/0", "redis://user:***@host/0"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("postgresql://u:p%40ss@h/db?password=hunter2&x=1", "postgresql://u:***@h/db?password=***&x=1"),
        ("redis://u:p@ss/word@host/0?auth_token=s", "redis://u:***@host/0?auth_token=***"),
        ("postgresql://h/db?password=hunter2@h", "postgresql://h/db?password=***"),
        ("postgresql://h:5432/db?password=h@hunter2", "postgresql://h:5432/db?password=***"),
        ("sqlite:///app.db", "sqlite:///app.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    parsed = StoreURL.parse(url, foreign=True)
    assert "hunter2" not in str(parsed) + repr(parsed)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/u:hunter2@h/db",  # a slash forgotten
        "redis:u:hunter2@h",
        "u:hunter2@h/db",
        "postgresql://u:hunter2@[h/db",
        "postgresql://u:hunter2\u2100@h/db",  # what normalises to a slash
        "mongodb://u:hunter2@h/db",
        "redis://:#hunter2@h/0",
        "postgresql://u:hun#hunter2@h/db",
        "sqlite:///a.db?password=hunter2",
    ],
)
def test_a_url_that_is_refused_is_quoted_without_its_password(url: str) -> None:
    with pytest.raises(StoreMisconfigured) as raised:
        driver_for(url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:////var/app.db", "/var/app.db"),
        ("sqlite:///a%20b.db", "a b.db"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, path: str) -> None:
    assert StoreURL.parse(url + "?synchronous=normal", own=("synchronous",)).path == path


def test_own_options_are_taken_out_and_foreign_ones_left_for_the_client() -> None:
    url = StoreURL.parse("postgresql://h/db?sslmode=require&pgbouncer=true", own=("pgbouncer",), foreign=True)
    assert url.text == "postgresql://h/db?sslmode=require"
    assert url.flag("pgbouncer")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:///a.db?synchronus=normal", "did you mean 'synchronous'"),
        ("sqllite:///a.db", "did you mean 'sqlite'"),
        ("postgre://h/db", "did you mean 'postgres"),
        ("app.db", "no scheme"),
        ("sqlite:///a#b.db", "%23"),
        ("sqlite:///a.db?synchronous=sometimes", "is not one of"),
        ("mongodb://h", "unknown scheme"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(url: str, hint: str) -> None:
    with pytest.raises(StoreMisconfigured, match=hint):
        driver_for(url)


def test_a_missing_library_is_answered_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = registry.Registered("no_such_library_of_ours:Driver", "redis")
    monkeypatch.setitem(registry.SCHEMES, "redis", entry)
    with pytest.raises(MissingExtra, match=r'pip install "holdfast\[redis\]"'):
        driver_for("redis://user:hunter2@host")


@pytest.mark.parametrize(("text", "value"), [("", True), ("true", True), ("0", False), ("off", False)])
def test_flags_read_as_people_write_them(text: str, value: bool) -> None:
    assert StoreURL.parse(f"x://h?on={text}", own=("on",)).flag("on") is value


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "five"])
def test_numbers_are_checked(text: str) -> None:
    url = StoreURL.parse(f"x://h?timeout={text}", own=("timeout",))
    with pytest.raises(StoreMisconfigured, match="timeout"):
        url.number("timeout", 5)
