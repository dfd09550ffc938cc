"""Frames for the fuzz: what clients send, what they should not, and bytes that are nothing at all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

__all__ = ["VECTORS", "chunks", "masked", "messages", "mutated", "said", "stream"]

VECTORS: Sequence[bytes | str] = (
    '["6","6","room:a","phx_join",{}]',
    '["6","7","room:a","say",{"id":"a","text":"hi"}]',
    '["6","8","room:a","echo",{"n":[1,2.5,null,true,"\\u00fc\\ud83c\\udf0a"]}]',
    '["6","9","room:a","shout",{"x":{}}]',
    '["6","10","room:a","others",{}]',
    '["6","11","room:a","update",{"status":"away"}]',
    '["6","12","room:a","present",{}]',
    '["6","13","room:a","tell",{"a":1}]',
    '["6","14","room:a","phx_leave",{}]',
    '["16","16","room:b","phx_join",{"since":"0~"}]',
    '["16","17","room:b","say",{"id":"b","text":""}]',
    '["16","18","room:b","say",{"text":1}]',
    '["16","19","room:b","status",{"name":"teapot"}]',
    '["20","20","room:a","phx_join",{"refuse":"full"}]',
    '["21","21","nobody:a","phx_join",{}]',
    '[null,"22","phoenix","heartbeat",{}]',
    '[null,null,"room:a","say",{}]',
    '["6","23","room:a","phx_join",{"since":"12~abc","_holdfast":{}}]',
    '["6","24","room:a","echo",{"_holdfast":{"id":"x"}}]',
    bytes.fromhex("00020305053132313233746f7069636576656e74656667"),
    bytes.fromhex("000102060336 3137 726f6f6d3a61 62696e 0908"),
    bytes.fromhex("00000006 03 726f6f6d3a61 62696e"),
)
"""The protocol notes' own, and one of every kind that the small application knows."""
REFUSED: Sequence[bytes | str] = (
    bytes.fromhex("01 02 03 05 02 3132 313233 746f706963 6f6b 656667"),
    bytes.fromhex("02 05 05 746f706963 6576656e74 656667"),
    "[]",
    "null",
    "",
    b"",
)
"""Well-formed, and nothing that a client may say."""
_TOKENS = [b'"', b"[", b"]", b"{", b"}", b",", b"null", b"\\u0000", b"\\ud800", b"\xff", b"\xc3", b"1e999", b"-0",
           b'"phx_join"', b'"phx_leave"', b'"phoenix"', b"\0", b"\x80", b'"room:*"', b"9" * 40, b"[" * 40]  # fmt: skip


def mutated(source: random.Random, data: bytes) -> bytes:
    """The same with something wrong with it, in most cases."""
    changed = bytearray(data)
    for _ in range(source.choice((0, 1, 1, 1, 2, 4))):
        at = source.randrange(len(changed) + 1)
        match source.randrange(6):
            case 0:
                changed[at : at + 1] = bytes((source.randrange(256),))
            case 1:
                del changed[at : at + source.randrange(1, 8)]
            case 2:
                changed[at:at] = source.choice(_TOKENS)
            case 3:
                changed[at:at] = source.randbytes(source.randrange(1, 6))
            case 4:
                end = at + source.randrange(1, 20)
                changed[at:at] = changed[at:end]
            case _:
                other = source.choice(VECTORS)
                piece = other.encode() if isinstance(other, str) else other
                start = source.randrange(len(piece))
                changed[at:at] = piece[start : start + source.randrange(1, 20)]
    return bytes(changed)


def messages(source: random.Random) -> Iterator[tuple[bytes, bool]]:
    """Payloads without end, and whether they go as binary. What is wrong ends most connections: some have little."""
    wrong = source.choice((0.0, 0.02, 0.1, 0.6))
    while True:
        vector = source.choice(VECTORS if source.random() >= wrong / 10 else REFUSED)
        data = vector.encode() if isinstance(vector, str) else vector
        if source.random() < wrong:
            data = mutated(source, data)
        if source.random() < wrong / 50:
            data = data * source.randrange(1, 2000)
        yield data, isinstance(vector, bytes) ^ (source.random() < wrong / 20)


def masked(source: random.Random, data: bytes, opcode: Opcode, *, fin: bool = True) -> bytes:
    """A frame as clients send it."""
    wire = bytearray(Frame(opcode, data, fin=fin).serialize(mask=True))
    if source.random() < 0.3 and wire[1] < 254:  # a mask of nothing: the payload as it is
        wire[2:6] = bytes(4)
        wire[6:] = data
    return bytes(wire)


def stream(source: random.Random, count: int) -> bytes:
    """So many frames, control frames and fragments among them; in every third stream some that are broken."""
    found = bytearray()
    broken = source.random() < 0.35
    payloads = messages(source)
    for _ in range(count):
        data, binary = next(payloads)
        kind = Opcode.BINARY if binary else Opcode.TEXT
        match source.randrange(40):
            case 0 | 1:
                found += masked(source, source.randbytes(source.randrange(126)), Opcode.PING)
            case 2:
                found += masked(source, source.randbytes(source.randrange(126)), Opcode.PONG)
            case 3 | 4:
                half = source.randrange(len(data) + 1)
                found += masked(source, data[:half], kind, fin=False)
                if source.random() < 0.5:
                    found += masked(source, b"between", Opcode.PING)
                found += masked(source, data[half:], Opcode.CONT, fin=not broken or source.random() < 0.9)
            case 5 if broken:
                found += _long_headed(source, data)
            case 6 if broken and source.random() < 0.3:
                found += masked(
                    source, source.choice((b"", b"\3\xe8", b"\3\xe9bye", b"\0", b"\3\xed")), Opcode.CLOSE
                )
            case 7 if broken and source.random() < 0.6:
                found += Frame(kind, data).serialize(mask=False)
            case 8 if broken and source.random() < 0.3:
                found += source.randbytes(source.randrange(1, 30))
            case 9 if broken and source.random() < 0.6:
                wire = bytearray(masked(source, data, kind))
                wire[source.randrange(min(len(wire), 4))] ^= 1 << source.randrange(8)
                found += wire
            case _:
                found += masked(source, data, kind)
    return bytes(found)


def _long_headed(source: random.Random, data: bytes) -> bytes:
    """A length written longer than it has to be, which is forbidden, and sometimes a lie."""
    size = len(data) + source.choice((0, 0, 0, 1, 70000, 1 << 40))
    head = (
        b"\x81\xff" + size.to_bytes(8, "big")
        if source.random() < 0.5
        else b"\x81\xfe" + (size & 65535).to_bytes(2, "big")
    )
    return head + bytes(4) + data


def chunks(source: random.Random, data: bytes) -> Iterator[bytes]:
    """The same bytes as a network hands them over: torn anywhere."""
    longest = source.choice((1, 3, 50, 1500, 65536))
    at = 0
    while at < len(data):
        end = at + source.randrange(1, longest + 1)
        yield data[at:end]
        at = end


def said(data: bytes) -> list[Frame]:
    """What a server wrote, as a client reads it; raises where that is no WebSocket."""
    parser = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    parser.receive_data(data)
    found = [event for event in parser.events_received() if isinstance(event, Frame)]
    if parser.parser_exc is not None:
        raise parser.parser_exc
    return found
