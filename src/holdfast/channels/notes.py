"""What processes tell each other and no log holds: broadcasts, `tell`, who is there, that a log is gone. Pure.

A note is a JSON array: its kind, the node that wrote it, and what it says.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any, Final

import msgspec

__all__ = [
    "BINARY",
    "BROADCAST",
    "CLEARED",
    "DISCONNECT",
    "PRESENCE",
    "RELAY",
    "TELL",
    "Note",
    "new_node",
    "read",
    "write",
]

BROADCAST: Final = "b"
"""event, payload: an object"""
BINARY: Final = "B"
"""event, payload: base64"""
TELL: Final = "t"
"""message"""
CLEARED: Final = "c"
"""nothing: the log that was there is gone"""
DISCONNECT: Final = "d"
"""user id"""
PRESENCE: Final = "p"
"""what `presence` makes of it"""
RELAY: Final = "r"
"""what `transports.relay` makes of it: a long-poll request that came to another process than its session is in"""


class Note(msgspec.Struct, array_like=True, frozen=True):
    """A note as it was read."""

    kind: str
    node: str
    first: msgspec.Raw = msgspec.Raw(b"null")
    second: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(Note)
_encode = msgspec.json.Encoder().encode


def new_node() -> str:
    """A process's name among its like, for as long as it is open."""
    return secrets.token_urlsafe(9)


def write(kind: str, node: str, *says: Any) -> bytes:
    """The note's bytes; what it says may be encoded already, as `msgspec.Raw`."""
    return _encode(
        [kind, node, *[base64.b64encode(each).decode() if type(each) is bytes else each for each in says]]
    )


def read(data: bytes) -> Note | None:
    """The note; None: it is none of this version's, and whoever wrote it is not understood here."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError:
        return None
