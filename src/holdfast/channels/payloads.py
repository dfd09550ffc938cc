"""Payloads: JSON objects out, typed and validated values in. Pure.

A pydantic model is read by pydantic in JSON mode and written by its own fields;
everything else by msgspec. pydantic is imported by nobody but its users.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias, get_type_hints

import msgspec

from holdfast.errors import MessageTooLarge

__all__ = ["RESERVED", "Invalid", "Reader", "encode", "reader_of"]

RESERVED: Final = "_holdfast"
_MARK: Final = b'"_holdfast"'


class Invalid(ValueError):
    """What a client may have said cannot be taken, or not be passed on: in a handler an error reply, and no crash.

    `field` is where in what it sent: `$.message`; None: the message says it.
    Wrong arguments that no client can be to blame for are other `ValueError`s.
    """

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field
        self.message = message


def _is_model(kind: object) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _to_builtin(value: Any) -> Any:
    if _is_model(type(value)):
        return msgspec.Raw(value.model_dump_json().encode())
    raise TypeError(f"a payload cannot hold a {type(value).__name__}")


_encode = msgspec.json.Encoder(enc_hook=_to_builtin).encode


def encode(event: str, payload: Any, *, max_bytes: int | None = None) -> bytes:
    """The payload as JSON text, which is an object; errors name the event.

    Raises:
        TypeError: it is something else.
        Invalid: it has a field `_holdfast`, which is where position and id go.
        MessageTooLarge: above `max_bytes`.
    """
    data = _encode({} if payload is None else payload)
    if data[:1] != b"{":
        raise TypeError(f"{event!r}: a payload is a JSON object, not {type(payload).__name__}")
    if max_bytes is not None and len(data) > max_bytes:
        raise MessageTooLarge(
            f"{event!r}: {len(data)} bytes, over the {max_bytes} that a kept message may have"
        )
    if _MARK in data and RESERVED in msgspec.json.decode(data):
        raise Invalid(
            None, f"{event!r}: the field {RESERVED!r} is reserved; what came with it is not sent back"
        )
    return data


Reader: TypeAlias = Callable[[Any], Any]
"""Makes a handler's argument of a frame's payload: JSON text (`msgspec.Raw`), or `bytes` of a binary push."""


def reader_of(method: Callable[..., Any]) -> Reader:
    """How the payload of this handler is read: by the annotation of its one argument; none: as it comes.

    Raises:
        TypeError: the method takes something else than one argument beside `self`.
    """
    names = list(inspect.signature(method).parameters)
    if len(names) != 2:
        raise TypeError(f"{method.__qualname__}: a handler takes the payload and nothing else")
    kind = get_type_hints(method).get(names[1], Any)
    if kind is bytes:
        return _binary
    if _is_model(kind):
        return lambda payload: _by_pydantic(kind, _text(payload))
    decode = msgspec.json.Decoder(kind, dec_hook=_from_builtin).decode
    whole = kind is Any

    def read(payload: Any) -> Any:
        if type(payload) is bytes:
            if whole:
                return payload
            raise Invalid("$", "a JSON object is expected, not binary")
        try:
            return decode(payload)
        except msgspec.ValidationError as exc:
            raise _invalid(exc) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            raise Invalid("$", "not JSON") from exc

    return read


def _binary(payload: Any) -> bytes:
    if type(payload) is bytes:
        return payload
    raise Invalid("$", "binary is expected, not JSON")


def _text(payload: Any) -> bytes:
    if type(payload) is bytes:
        raise Invalid("$", "a JSON object is expected, not binary")
    return bytes(payload)


_FIELD = re.compile(r"missing required field `([^`]*)`")
_PLACE = re.compile(r"(.*?)(?: - at `([^`]*)`)?", re.DOTALL)


def _invalid(exc: Exception) -> Invalid:
    """msgspec's words: "Object missing required field `message`", "Expected `str`, got `int` - at `$.name`"."""
    told = _PLACE.fullmatch(str(exc))
    assert told is not None
    message, place = told[1], told[2] or "$"
    missing = _FIELD.search(message)
    return Invalid(f"{place}.{missing[1]}" if missing else place, message)


def _from_builtin(kind: type, value: Any) -> Any:
    if _is_model(kind):
        return _by_pydantic(kind, msgspec.json.encode(value))
    raise TypeError(f"a payload cannot be read as {kind.__name__}")


def _by_pydantic(kind: Any, text: bytes) -> Any:
    try:
        return kind.model_validate_json(text)
    except ValueError as exc:  # pydantic.ValidationError
        errors = getattr(exc, "errors", None)
        if errors is None:
            raise Invalid("$", str(exc)) from None
        first = errors(include_input=False, include_url=False, include_context=False)[0]
        raise Invalid(".".join(["$", *map(str, first["loc"])]), first["msg"]) from None
