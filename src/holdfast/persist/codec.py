"""Values to JSON text and back, by msgspec, with pydantic models where pydantic is installed.

Pure. Encoders and decoders are made once a type and kept; messages name the
place in the value (`$.user.age`) and the type expected, never what was stored.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from holdfast.errors import InvalidConversion

__all__ = ["DECODERS", "decoder", "encode", "invalid"]


def _pydantic_model(kind: object) -> bool:
    """Whether this is a pydantic model class; without importing what nobody imported."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _to_builtin(value: Any) -> Any:
    if _pydantic_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=False, round_trip=True).encode())
    raise TypeError(f"values of type {type(value).__name__} cannot be stored")


def _from_builtin(kind: type, value: Any) -> Any:
    if _pydantic_model(kind):
        return _validated(kind, msgspec.json.encode(value))
    raise TypeError(f"values of type {kind.__name__} cannot be read")


def _validated(kind: Any, text: bytes | str) -> Any:
    """By pydantic's JSON mode, where a date is text, and by the names of fields: aliases are for the outside."""
    try:
        return kind.model_validate_json(text, by_alias=False, by_name=True)
    except ValueError as exc:  # pydantic.ValidationError; its own text would quote the value
        errors = getattr(exc, "errors", None)
        details = errors(include_input=False, include_url=False) if errors else ()
        places = "; ".join(f"{'.'.join(map(str, each['loc'])) or '$'}: {each['type']}" for each in details)
        raise msgspec.ValidationError(f"{kind.__name__}: {places or 'invalid'}") from None


_STORED = re.compile(r"((?:Invalid (?:enum )?value|unknown field) ).*?(?= - at `[^`]*`$|$)", re.DOTALL)
"""What msgspec says of the value itself: text, a number, or a field's name that the type does not have."""
_QUOTED = re.compile(r"'.*'", re.DOTALL)
"""What a `__post_init__` may say of it; to the last quote, for a value may hold one."""
_encoder = msgspec.json.Encoder(enc_hook=_to_builtin)
encode: Callable[[Any], bytes] = _encoder.encode
"""The value as JSON text; `TypeError` where neither msgspec nor pydantic knows a way."""

Decode: TypeAlias = Callable[[bytes | str], Any]
DECODERS: Final[dict[Any, Decode]] = {}
"""Those made so far; for the paths where the call of `decoder` would count."""
MAX_DECODERS: Final = 4096


def decoder(kind: Any) -> Decode:
    """The function that reads JSON text as `kind`; it raises what msgspec raises."""
    try:
        return DECODERS[kind]
    except KeyError:
        if len(DECODERS) >= MAX_DECODERS:  # types made at run time; forgetting costs only making again
            DECODERS.clear()
        made = DECODERS[kind] = _make(kind)
        return made
    except TypeError:  # an unhashable annotation
        return _make(kind)


def _make(kind: Any) -> Decode:
    if _pydantic_model(kind):
        return lambda text: _validated(kind, text)
    return msgspec.json.Decoder(kind, dec_hook=_from_builtin).decode


def invalid(operation: str, key: str, exc: Exception) -> InvalidConversion:
    """What a caller is told of a value that is something else; what was stored is cut out."""
    told = _QUOTED.sub("'…'", _STORED.sub(r"\1…", str(exc)))
    return InvalidConversion(f"{operation} {key!r}: {told}")
