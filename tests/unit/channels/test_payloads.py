"""Payloads: what goes out is a JSON object, what comes in is what the handler takes, or says where it is not."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

from holdfast.channels.payloads import Invalid, encode, reader_of
from holdfast.errors import MessageTooLarge


class Inner(msgspec.Struct):
    n: int


class Struct(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    inner: list[Inner] = []


@dataclasses.dataclass
class Data:
    name: str
    inner: list[Inner] = dataclasses.field(default_factory=list)


class Typed(TypedDict):
    name: str


class Model(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1)]
    tags: list[int] = []


class Holding(msgspec.Struct):
    model: Model


def reader(kind: Any) -> Any:
    def method(self: Any, payload: Any) -> None: ...

    method.__annotations__["payload"] = kind
    return reader_of(method)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


# --- in ---


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Struct, Struct("Ada", [Inner(1)])),
        (Data, Data("Ada", [Inner(1)])),
        (dict, {"name": "Ada", "inner": [{"n": 1}]}),
        (dict[str, Any], {"name": "Ada", "inner": [{"n": 1}]}),
        (Any, {"name": "Ada", "inner": [{"n": 1}]}),
        (Typed, {"name": "Ada"}),
        (Model, Model(name="Ada")),
    ],
)
def test_a_handler_gets_what_its_annotation_says(kind: Any, value: Any) -> None:
    assert reader(kind)(raw({"name": "Ada", "inner": [{"n": 1}]})) == value


def test_without_an_annotation_it_gets_what_came() -> None:
    def method(self: Any, payload):  # type: ignore[no-untyped-def]
        ...

    assert reader_of(method)(raw({"n": 1})) == {"n": 1}
    assert reader_of(method)(b"\0") == b"\0"


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        (Struct, {}, "$.name"),
        (Struct, {"name": 1}, "$.name"),
        (Struct, {"name": ""}, "$.name"),
        (Struct, {"name": "Ada", "inner": [{"n": 1}, {"n": "x"}]}, "$.inner[1].n"),
        (Struct, {"name": "Ada", "inner": [{}]}, "$.inner[0].n"),
        (Struct, [], "$"),
        (Data, {"inner": []}, "$.name"),
        (Data, {"name": None}, "$.name"),
        (Typed, {}, "$.name"),
        (Typed, {"name": []}, "$.name"),
        (Model, {}, "$.name"),
        (Model, {"name": "Ada", "tags": [1, "x"]}, "$.tags.1"),
        (Model, {"name": ""}, "$.name"),
        (Model, b"nothing", "$"),
        (dict, [1], "$"),
        (dict, b'{"n":\xff}', "$"),
        (dict, b"[" * 5_000 + b"]" * 5_000, "$"),
    ],
)
def test_what_does_not_fit_is_named(kind: Any, value: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        reader(kind)(raw(value))
    assert caught.value.field == field
    assert caught.value.message


def test_the_message_does_not_repeat_what_was_sent() -> None:
    for kind in (Struct, Model):
        with pytest.raises(Invalid) as caught:
            reader(kind)(raw({"name": {"secret": "hunter2"}}))
        assert "hunter2" not in str(caught.value)


def test_a_model_inside_a_struct_is_read_and_refused_by_pydantic() -> None:
    assert reader(Holding)(raw({"model": {"name": "Ada", "tags": [1]}})).model.tags == [1]
    with pytest.raises(Invalid, match="name"):
        reader(Holding)(raw({"model": {"name": ""}}))


@pytest.mark.parametrize("kind", [Struct, Model, dict])
def test_binary_is_not_json(kind: Any) -> None:
    with pytest.raises(Invalid, match="not binary"):
        reader(kind)(b'{"name":"Ada"}')


def test_json_is_not_binary() -> None:
    assert reader(bytes)(b"\0") == b"\0"
    with pytest.raises(Invalid, match="not JSON"):
        reader(bytes)(raw({}))


def test_a_handler_takes_the_payload_and_nothing_else() -> None:
    def none(self: Any) -> None: ...
    def two(self: Any, one: int, two: int) -> None: ...

    for method in (none, two):
        with pytest.raises(TypeError, match="takes the payload and nothing else"):
            reader_of(method)


# --- out ---


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (None, b"{}"),
        ({"n": 1}, b'{"n":1}'),
        (Struct("Ada"), b'{"name":"Ada","inner":[]}'),
        (Data("Ada"), b'{"name":"Ada","inner":[]}'),
        (Model(name="Ada"), b'{"name":"Ada","tags":[]}'),
        ({"model": Model(name="Ada")}, b'{"model":{"name":"Ada","tags":[]}}'),
        ({"at": datetime.date(2026, 1, 2)}, b'{"at":"2026-01-02"}'),
        (msgspec.Raw(b'{"n":1}'), b'{"n":1}'),
        ({"note": 'the word "_holdfast" inside'}, b'{"note":"the word \\"_holdfast\\" inside"}'),
        ({"inner": {"_holdfast": 1}}, b'{"inner":{"_holdfast":1}}'),
    ],
)
def test_a_payload_becomes_a_json_object(payload: Any, text: bytes) -> None:
    assert encode("m", payload) == text


@pytest.mark.parametrize("payload", [[1], "text", 7, True, msgspec.Raw(b"[]"), {"x": object()}, {1j: 1}])
def test_what_is_no_object_is_a_type_error(payload: Any) -> None:
    with pytest.raises(TypeError):
        encode("m", payload)


def test_the_reserved_field_is_refused_however_it_is_spelt() -> None:
    payloads: list[Any] = [{"_holdfast": {}}, {"n": 1, "_holdfast": None}, msgspec.Raw(b'{"_holdfast" : 1}')]
    for payload in payloads:
        with pytest.raises(ValueError, match="reserved"):
            encode("m", payload)


def test_a_payload_may_be_as_long_as_the_limit_and_no_longer() -> None:
    payload = {"x": "y" * 92}  # 100 bytes
    assert len(encode("m", payload, max_bytes=100)) == 100
    with pytest.raises(MessageTooLarge, match="'m': 100 bytes, over the 99"):
        encode("m", payload, max_bytes=99)


def test_pydantic_is_imported_by_nobody_who_does_not_use_it() -> None:
    code = "import sys, holdfast.channels; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
