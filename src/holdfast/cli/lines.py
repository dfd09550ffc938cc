"""The format of an export: JSON lines, in UTF-8, gzipped where the file's name ends with `.gz`.

::

    {"holdfast":"export","format":1,"namespace":"app","made_at":1763664000000}
    {"key":"user:1","value":{"name":"Ada"},"expires_at":1763667600000}
    {"key":"motto","value":"hold fast","expires_at":null}
    {"topic":"room:a","event":"said","payload":{"n":1},"at":1763664000000,"id":null,"position":"7~c0ffee","edited":false}
    {"mention":"r","id":"8c1f","data":{"kind":"block","pattern":"spam.example"},"tags":["block"],"due":null}
    {"holdfast":"end","rows":4}

`value` is the stored JSON as it is. `expires_at` is milliseconds since 1970, or
null for a value that never expires; a row may leave it out for null.

A line with `topic` is a message. `id` is what its publisher gave, or null; `at`
is milliseconds since 1970; `position` is where it stood in the store that the
export is of. Messages of a topic stand in their order. `id`, `position` and
`edited` may be left out.

A line with `mention` is a document about mentions: one that goes out (`o`), one
that came in (`i`), a rule of who is let in (`r`), a photo (`p`). `id`, `data`
and `tags` are as the store has them; `due` is milliseconds since 1970, when
there is something to do about it, or null.

The first
line names the format; a file without it (made by hand) is read as the newest.
The last line tells a whole export from one that was cut short. Fields that are
not named here are ignored, so that a later minor change stays readable.

Pure: no files, no clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

if TYPE_CHECKING:
    from holdfast.webmention import Archived

__all__ = [
    "FORMAT",
    "FRAME",
    "Broken",
    "End",
    "Head",
    "Row",
    "Said",
    "TooNew",
    "end",
    "head",
    "mention",
    "message",
    "read",
    "row",
]

FORMAT: Final = 1
FRAME: Final = b'{"holdfast":'
"""How the first and the last line begin."""
_MESSAGE: Final = b'{"topic":'
_MENTION: Final = b'{"mention":'


class Broken(ValueError):
    """A line that is no row; the message says why, and nothing of what it holds but its key."""


class TooNew(ValueError):
    """The export was made by a newer Holdfast, in a format that this one does not know."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One value; `value` is its JSON text."""

    key: str
    value: msgspec.Raw
    expires_at: int | None = None


class Said(msgspec.Struct, frozen=True):
    """One message of a topic."""

    topic: str
    event: str
    payload: dict[str, Any]
    at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    id: str | None = None
    position: str | None = None
    edited: bool = False


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    format: int
    namespace: str = ""


class End(msgspec.Struct, frozen=True):
    """The last line of a whole export."""

    rows: int


_row = msgspec.json.Decoder(Row).decode
_said = msgspec.json.Decoder(Said).decode
_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def head(namespace: str, made_at: int) -> bytes:
    return (
        _encode({"holdfast": "export", "format": FORMAT, "namespace": namespace, "made_at": made_at}) + b"\n"
    )


def end(rows: int) -> bytes:
    return _encode({"holdfast": "end", "rows": rows}) + b"\n"


def row(key: str, value: bytes, expires_at: int | None) -> bytes:
    """The line of one value.

    Raises:
        Broken: the stored text is not JSON: somebody else wrote it.
    """
    try:
        _any(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Broken(f"{key!r}: what is stored is not JSON ({exc})") from None
    if b"\n" in value or b"\r" in value:  # between tokens: inside a string they must be escaped
        value = value.replace(b"\n", b" ").replace(b"\r", b" ")
    ends = b"null" if expires_at is None else b"%d" % expires_at
    return b'{"key":%b,"value":%b,"expires_at":%b}\n' % (_encode(key), value, ends)


def message(said: Said) -> bytes:
    """The line of one message."""
    return _encode(said) + b"\n"


def mention(archived: Archived) -> bytes:
    """The line of one document about mentions."""
    data = bytes(archived.data)
    if b"\n" in data or b"\r" in data:  # between tokens, as for values
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    due = b"null" if archived.due is None else b"%d" % archived.due
    parts = (_encode(archived.mention), _encode(archived.id), data, _encode(archived.tags), due)
    return b'{"mention":%b,"id":%b,"data":%b,"tags":%b,"due":%b}\n' % parts


def read(line: bytes) -> Row | Said | Archived | Head | End | None:
    """What a line says; None: it is blank.

    Raises:
        Broken: it is none of these.
        TooNew: it is the first line of a format that this version does not know.
    """
    try:
        if line.startswith(_MESSAGE):
            return _said(line)
        if line.startswith(_MENTION):
            return _archived(line)
        found = _row(line)
        _any(found.value)  # Row skips over the value: numbers out of range and bad UTF-8 show only here
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        if not line.strip():
            return None
        return _other(line, exc)
    return found


def _archived(line: bytes) -> Archived:
    from holdfast.webmention import Archived

    return msgspec.json.decode(line, type=Archived)


def _other(line: bytes, exc: Exception) -> Said | Archived | Head | End:
    try:
        found: Any = _any(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        raise Broken(f"not JSON: {why}") from None
    match found:
        case {"key": _}:
            raise Broken(str(exc)) from None
        case {"topic": _}:
            return _as_said(found)
        case {"mention": _}:
            return _as_archived(line)
        case {"holdfast": "export", "format": int(number)}:
            if number > FORMAT:
                raise TooNew(f"export format {number}; this version reads up to {FORMAT}: upgrade holdfast")
            return Head(number)
        case {"holdfast": "end", "rows": int(rows)}:
            return End(rows)
        case dict():
            raise Broken("no `key`, no `topic` and no `mention`")
    raise Broken("not an object with `key` and `value`")


def _as_said(found: Any) -> Said:
    """A message whose fields stand in another order, or one that is none."""
    try:
        return msgspec.convert(found, Said)
    except msgspec.ValidationError as exc:
        raise Broken(str(exc)) from None


def _as_archived(line: bytes) -> Archived:
    try:
        return _archived(line)
    except msgspec.ValidationError as exc:
        raise Broken(str(exc)) from None
