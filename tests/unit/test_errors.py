"""A second exception that says the same as the first, whatever its constructor wants."""

import msgspec
import pytest

from holdfast.errors import StoreUnavailable, again


class Answered(Exception):
    """As HTTP clients have them: keywords that `args` does not keep, a message worded by the constructor."""

    def __init__(self, code: int, *, response: object) -> None:
        super().__init__(f"status {code}")
        self.response = response


class Worded(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(f"no user {name}")


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("gone", maybe_applied=True),
        Answered(500, response=object()),
        Worded("ada"),
        KeyError("k"),
        OSError(2, "no such file", "f"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ExceptionGroup("two", [ValueError(1), TypeError(2)]),
        msgspec.ValidationError("expected `int`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_twin_is_another_object_that_says_the_same(error: Exception) -> None:
    error.__cause__ = ValueError("why")
    twin = again(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.__cause__ is error.__cause__


def test_what_cannot_be_made_twice_is_itself() -> None:
    pydantic = pytest.importorskip("pydantic")
    with pytest.raises(pydantic.ValidationError) as raised:
        pydantic.TypeAdapter(int).validate_python("x")
    assert again(raised.value) is raised.value
