"""Phoenix Channels V2 on the wire: what a frame says, and the bytes of those that are sent.

Pure: no sockets, no clocks. The rules are in the protocol's sources as of
Phoenix 1.8 (serializer, socket, channel server, long-poll) and the npm client.

A text frame is a JSON array of five, `[join_ref, ref, topic, event, payload]`.
A binary frame has one byte of length for each of these but the payload, so each
is at most 255 bytes of UTF-8; the same bound holds for text, or a topic that
could be joined could not be sent to.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import Final, cast

import msgspec

from holdfast.errors import HoldfastError

__all__ = [
    "HEARTBEAT",
    "LONGEST",
    "Frame",
    "Incoming",
    "Malformed",
    "binary_broadcast",
    "binary_push",
    "binary_reply",
    "broadcast",
    "close",
    "crashed",
    "done",
    "heartbeat",
    "marked",
    "parse",
    "parse_binary",
    "parse_line",
    "push",
    "quoted",
    "reply",
    "tail",
]

LONGEST: Final = 255
"""Bytes of a topic, an event or a ref."""
HEARTBEAT: Final = "phoenix"
"""The topic of heartbeats; nobody may join it."""


class Malformed(HoldfastError):
    """What came in is no frame of this protocol; the connection cannot go on."""


class Incoming(msgspec.Struct, array_like=True, gc=False):
    """One message of a client; elements after the fifth are ignored, as Phoenix does."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: msgspec.Raw  # JSON as it came; of a binary frame `bytes`, see `parse_binary`


_decode = msgspec.json.Decoder(Incoming).decode
_encode = msgspec.json.Encoder().encode


def parse(text: bytes | str) -> Incoming:
    """A text frame. The payload is a `msgspec.Raw` that shares `text`'s memory.

    Raises:
        Malformed: no JSON array of two strings or nulls, two strings and a value, or not UTF-8.
    """
    try:
        frame = _decode(text)
        if type(text) is bytes and not text.isascii():
            text.decode()  # the payload was not looked at yet
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise Malformed("text frame: not [join_ref, ref, topic, event, payload]") from exc
    if len(text) > LONGEST or type(text) is str:  # of which a character may be several bytes
        _bounded(frame.join_ref, frame.ref, frame.topic, frame.event)
    return frame


def _bounded(*fields: str | None) -> None:
    for field in fields:
        if field is not None and 4 * len(field) > LONGEST and len(field.encode()) > LONGEST:
            raise Malformed(f"frame: a topic, event or ref is longer than {LONGEST} bytes")


def parse_binary(data: bytes) -> Incoming:
    """A binary frame of a client, which can only be a push (kind 0); its null refs are empty, its payload is `bytes`.

    Raises:
        Malformed: another kind, too short, or not UTF-8.
    """
    if len(data) < 5 or data[0] != 0:
        raise Malformed("binary frame: not a push")
    a, b, c, d = data[1:5]
    end = 5 + a + b + c + d
    if len(data) < end:
        raise Malformed("binary frame: shorter than its head says")
    try:
        join_ref = data[5 : 5 + a].decode()
        ref = data[5 + a : 5 + a + b].decode()
        topic = data[5 + a + b : end - d].decode()
        event = data[end - d : end].decode()
    except UnicodeDecodeError as exc:
        raise Malformed("binary frame: its head is not UTF-8") from exc
    return Incoming(join_ref or None, ref or None, topic, event, cast("msgspec.Raw", bytes(data[end:])))


def parse_line(line: bytes) -> Incoming:
    """One line of a long-poll body: a text frame, or base64 of a binary one."""
    if line.startswith(b"["):
        return parse(line)
    try:
        return parse_binary(base64.b64decode(line, validate=True))
    except binascii.Error as exc:
        raise Malformed("long-poll: a line is neither a text frame nor base64") from exc


# --- what is sent ---


@lru_cache(maxsize=4096)
def _text_head(size: int) -> bytes:
    return bytes((0x81, size)) if size < 126 else bytes((0x81, 126)) + size.to_bytes(2, "big")


class Frame:
    """An encoded message, and the same behind a WebSocket head: each made once, however many it goes to."""

    __slots__ = ("_text", "_wire", "binary", "body")

    def __init__(self, body: bytes, *, binary: bool = False) -> None:
        self.body = body
        self.binary = binary
        self._wire: bytes | None = None
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The body of a text frame, for those who take no bytes."""
        text = self._text
        if text is None:
            text = self._text = self.body.decode()
        return text

    @property
    def wire(self) -> bytes:
        """An unmasked, whole WebSocket frame (RFC 6455, 5.2)."""
        wire = self._wire
        if wire is None:
            size = len(self.body)
            if self.binary or size > 65535:
                kind = 0x82 if self.binary else 0x81
                if size < 126:
                    start = bytes((kind, size))
                elif size < 65536:
                    start = bytes((kind, 126)) + size.to_bytes(2, "big")
                else:
                    start = bytes((kind, 127)) + size.to_bytes(8, "big")
            else:
                start = _text_head(size)
            wire = self._wire = start + self.body
        return wire


@lru_cache(maxsize=4096)
def quoted(text: str) -> bytes:
    """A topic, event or ref as JSON."""
    return _encode(text)


def _refs(*refs: str | None) -> bytes:
    return b"".join([b"null," if ref is None else _encode(ref) + b"," for ref in refs])


def tail(topic: str, event: str, payload: bytes) -> bytes:
    """What a push and a broadcast of one message have in common; see `broadcast` and `push`."""
    return b"%b,%b,%b]" % (quoted(topic), quoted(event), payload)


def broadcast(tail: bytes) -> Frame:
    """To everyone in a topic: both refs are null, so that one encoding serves all."""
    return Frame(b"[null,null," + tail)


def push(join_ref: str | None, tail: bytes) -> Frame:
    """To one member; dropped by the client if it has joined anew since."""
    return Frame(b"[%bnull,%b" % (_refs(join_ref), tail))


def reply(join_ref: str | None, ref: str | None, topic: str, status: str, response: bytes) -> Frame:
    return Frame(
        b'[%b%b,"phx_reply",{"status":%b,"response":%b}]'
        % (_refs(join_ref, ref), quoted(topic), quoted(status), response)
    )


def done(join_ref: str | None, ref: str | None, topic: str) -> Frame:
    """The most frequent reply: ok, and nothing to say."""
    return Frame(_joined(join_ref) + _encode(ref) + _done(topic))


@lru_cache(maxsize=4096)
def _joined(join_ref: str | None) -> bytes:
    return b"[" + _encode(join_ref) + b","


@lru_cache(maxsize=4096)
def _done(topic: str) -> bytes:
    return b"," + quoted(topic) + b',"phx_reply",{"status":"ok","response":{}}]'


def heartbeat(ref: str | None) -> Frame:
    return Frame(b'[null,%b"phoenix","phx_reply",{"status":"ok","response":{}}]' % _refs(ref))


def close(join_ref: str | None, topic: str) -> Frame:
    """The end of a channel, for good: the client does not rejoin."""
    return Frame(b'[%b%b,"phx_close",{}]' % (_refs(join_ref, join_ref), quoted(topic)))


def crashed(join_ref: str | None, topic: str) -> Frame:
    """The end of a channel, to be joined anew: the client does so with backoff."""
    return Frame(
        b'[%b%b,"phx_error",{"reason":"channel_crash"}]' % (_refs(join_ref, join_ref), quoted(topic))
    )


def _sized(kind: int, data: bytes, *fields: str) -> Frame:
    texts = [field.encode() for field in fields]
    if any(len(text) > LONGEST for text in texts):
        raise ValueError(f"binary frame: a topic, event, ref or status is longer than {LONGEST} bytes")
    return Frame(b"".join([bytes([kind, *map(len, texts)]), *texts, data]), binary=True)


def binary_push(join_ref: str | None, topic: str, event: str, data: bytes) -> Frame:
    return _sized(0, data, join_ref or "", topic, event)


def binary_reply(join_ref: str | None, ref: str | None, topic: str, status: str, data: bytes) -> Frame:
    return _sized(1, data, join_ref or "", ref or "", topic, status)


def binary_broadcast(topic: str, event: str, data: bytes) -> Frame:
    return _sized(2, data, topic, event)


def marked(payload: bytes | str, marks: object) -> bytes:
    """The payload of a kept event with `_holdfast` in front."""
    text = payload.encode() if isinstance(payload, str) else payload
    rest = text[1:]
    return b'{"_holdfast":%b%b%b' % (_encode(marks), b"" if rest.lstrip().startswith(b"}") else b",", rest)
