"""Values to JSON text and back."""

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from holdfast.errors import InvalidConversion
from holdfast.persist import Persist
from holdfast.persist.codec import decoder, encode


class User(msgspec.Struct):
    name: str
    age: int = 0


@dataclass
class Point:
    x: float
    y: float


class Settings(TypedDict):
    dark: bool


class Colour(Enum):
    RED = "red"


class Account(pydantic.BaseModel):
    owner: str
    opened: dt.date
    balance: Decimal = pydantic.Field(alias="Balance", ge=0)
    note: str = pydantic.Field("", serialization_alias="remark")


ACCOUNT = Account(owner="Ada", opened=dt.date(2026, 1, 2), Balance=Decimal("1.50"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (User("Ada", 36), User),
        ([User("Ada")], list[User]),
        (Point(1.5, -0.0), Point),
        ({"dark": True}, Settings),
        (Colour.RED, Colour),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC), dt.datetime),
        (uuid.uuid5(uuid.NAMESPACE_URL, "x"), uuid.UUID),
        (Decimal("0.10"), Decimal),
        (b"\x00\xff", bytes),
        ("nul \0, emoji 😀, quote \"'", str),
        (2**63 - 1, int),
        (2**100, int),
        (None, None),
        ({"a": [1, 2.5, None, {"b": "c"}]}, Any),
        (ACCOUNT, Account),
        ([ACCOUNT], list[Account]),
        ({"x": ACCOUNT}, dict[str, Account]),
    ],
)
def test_what_goes_in_comes_out(value: object, kind: Any) -> None:
    assert decoder(kind)(encode(value)) == value
    assert decoder(kind)(encode(value).decode()) == value


@pytest.mark.parametrize("value", ["SECRET \ud800", ["SECRET \ud800"], None])
async def test_what_has_no_utf8_or_no_end_is_a_value_error_without_the_value(value: object) -> None:
    if value is None:
        value = []
        for _ in range(100_000):
            value = [value]
    async with Persist() as persist:
        for call in (persist.set("k", value), persist.create("k", value)):
            with pytest.raises(ValueError, match=r"'k': (text with|nested)") as raised:
                await call
            assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("value", [object(), {1j: 2}, lambda: 0])
async def test_what_cannot_be_encoded_is_a_type_error_that_names_operation_and_key(value: object) -> None:
    async with Persist() as persist:
        with pytest.raises(TypeError, match=r"set 'k'"):
            await persist.set("k", value)


@pytest.mark.parametrize("kind", [int, Account, list[Account], Literal["other"], Colour])
async def test_a_failed_conversion_names_the_key_and_never_the_value(kind: Any) -> None:
    async with Persist() as persist:
        for value in (
            "SECRET",
            {"owner": "SECRET", "opened": "SECRET", "Balance": -1},
            [{"owner": "SECRET"}],
        ):
            await persist.set("k", value)
            with pytest.raises(InvalidConversion) as raised:
                await persist.get("k", kind)
            assert "get 'k'" in str(raised.value)
            assert "SECRET" not in str(raised.value)
            assert raised.value.__cause__ is None, "the cause would print the value"


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    at: Literal["a", "b"] = "a"
    near: Literal[1, 2] = 1


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("it's SECRET", Colour, "Invalid enum value …"),
        ('SECRET\'s "SECRET" - at `SECRET`', Colour, "Invalid enum value …"),
        (4711, Literal[1, 2], "Invalid enum value …"),
        ({"at": "it's\nSECRET"}, Exact, "Invalid enum value … - at `$.at`"),
        ({"near": 4711}, Exact, "Invalid enum value … - at `$.near`"),
        ({"SECRET": 1}, Exact, "Object contains unknown field …"),
        ([{"SECRET` - at `SECRET": 1}], list[Exact], "Object contains unknown field … - at `$[0]`"),
    ],
)
async def test_whatever_the_value_looks_like_the_message_says_where_and_not_what(
    value: object, kind: Any, said: str
) -> None:
    async with Persist() as persist:
        await persist.set("k", value)
        with pytest.raises(InvalidConversion) as raised:
            await persist.get("k", kind)
    assert str(raised.value) == f"get 'k': {said}"


async def test_a_value_over_max_bytes_is_refused_with_both_sizes() -> None:
    async with Persist(max_bytes=10) as persist:
        with pytest.raises(ValueError, match=r"12 bytes encoded, over max_bytes=10"):
            await persist.set("k", "x" * 10)
        await persist.set("k", "x" * 8)
