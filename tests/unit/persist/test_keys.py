"""What may be a key, a lifetime, a namespace."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.persist.driver import prefix_end
from holdfast.persist.keys import Namespace, check_key, check_prefix, milliseconds


@pytest.mark.parametrize(
    "key", ["a", "ü" * 256, "with space ", "line\nbreak", "😀" * 128, "a" * 512, "%*?[]\\"]
)
def test_any_text_of_up_to_512_bytes_is_a_key(key: str) -> None:
    assert check_key("get", key) == key


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "a" * 513, "ü" * 257])
def test_empty_long_nul_and_lone_surrogates_are_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=r"^get"):
        check_key("get", key)


@pytest.mark.parametrize("key", [b"bytes", 1, None])
def test_what_is_not_text_is_a_type_error(key: object) -> None:
    with pytest.raises(TypeError):
        check_key("get", key)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        check_prefix("keys", key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expires", "ms"),
    [
        (1, 1000),
        (0.5, 500),
        (1.1, 1100),
        (0.0001, 1),
        (0.0015, 2),
        (1e-10, 1),
        (timedelta(microseconds=1), 1),
        (timedelta(milliseconds=2), 2),
        (timedelta(days=400), 34_560_000_000),
        (None, None),
    ],
)
def test_lifetimes_are_rounded_up_to_a_millisecond(expires: float | timedelta | None, ms: int | None) -> None:
    assert milliseconds(expires) == ms


@pytest.mark.parametrize(
    "expires", [0, -1, 0.0, float("nan"), float("inf"), timedelta(0), timedelta(-1), 1e300]
)
def test_no_lifetime_is_a_value_error(expires: float | timedelta) -> None:
    with pytest.raises(ValueError):
        milliseconds(expires)


@pytest.mark.parametrize("expires", [True, "60"])
def test_a_lifetime_that_is_no_number_is_a_type_error(expires: object) -> None:
    with pytest.raises(TypeError):
        milliseconds(expires)  # type: ignore[arg-type]


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
def test_two_paths_of_namespaces_never_share_a_prefix(one: list[str], other: list[str]) -> None:
    def prefix(names: list[str]) -> str:
        space = Namespace(names[0])
        for name in names[1:]:
            space = Namespace(name, space.path)
        return space.prefix("p")

    if one != other:
        assert not prefix(one).startswith(prefix(other))


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
)
def test_prefix_end_separates_what_starts_with_the_prefix_from_what_does_not(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    inside = prefix.encode() <= text.encode() and (end is None or text.encode() < end.encode())
    assert inside == text.startswith(prefix)
