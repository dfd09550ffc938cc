"""Frames, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from holdfast.channels import protocol
from holdfast.channels.protocol import Frame, Malformed


def body(frame: Frame) -> Any:
    return json.loads(frame.body)


# --- vectors: from Phoenix's own tests, and seen on the wire of npm's client ---


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ("0002030505 3132 313233 746f706963 6576656e74 656667", ("12", "123", "topic", "event", b"efg")),
        ("0001020603 36 3137 726f6f6d3a61 62696e 0908", ("6", "17", "room:a", "bin", b"\x09\x08")),
        ("0000000101 74 65", (None, None, "t", "e", b"")),
        ("0000000202 c3a9 c3bc 00", (None, None, "é", "ü", b"\0")),
    ],
)
def test_a_binary_push_of_a_client_is_read(vector: str, said: tuple[object, ...]) -> None:
    frame = protocol.parse_binary(bytes.fromhex(vector))
    assert (frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload) == said


@pytest.mark.parametrize(
    ("frame", "vector"),
    [
        (protocol.binary_push("12", "topic", "event", b"efg"), "00020505 3132 746f706963 6576656e74 656667"),
        (
            protocol.binary_push("6", "room:a", "bin_push", b"\0\1"),
            "00010608 36 726f6f6d3a61 62696e5f70757368 0001",
        ),
        (
            protocol.binary_reply("12", "123", "topic", "ok", b"efg"),
            "0102030502 3132 313233 746f706963 6f6b 656667",
        ),
        (
            protocol.binary_reply("6", "17", "room:a", "ok", b"\x09\x08\x03\x04"),
            "0101020602 36 3137 726f6f6d3a61 6f6b 09080304",
        ),
        (protocol.binary_broadcast("topic", "event", b"efg"), "020505 746f706963 6576656e74 656667"),
        (
            protocol.binary_broadcast("room:a", "bin_bcast", b"\xff\xfe"),
            "020609 726f6f6d3a61 62696e5f6263617374 fffe",
        ),
        (protocol.binary_reply(None, None, "é", "ok", b""), "0100000202 c3a9 6f6b"),
    ],
)
def test_binary_frames_are_written_to_the_byte(frame: Frame, vector: str) -> None:
    assert frame.body == bytes.fromhex(vector)
    assert frame.binary
    assert frame.wire == bytes((0x82, len(frame.body))) + frame.body


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (protocol.broadcast(protocol.tail("room:a", "m", b'{"n":1}')), '[null,null,"room:a","m",{"n":1}]'),
        (protocol.push("6", protocol.tail("room:a", "m", b"{}")), '["6",null,"room:a","m",{}]'),
        (protocol.push(None, protocol.tail("room:a", "m", b"{}")), '[null,null,"room:a","m",{}]'),
        (
            protocol.reply("6", "7", "room:a", "ok", b'{"n":1}'),
            '["6","7","room:a","phx_reply",{"status":"ok","response":{"n":1}}]',
        ),
        (
            protocol.done("6", "7", "room:a"),
            '["6","7","room:a","phx_reply",{"status":"ok","response":{}}]',
        ),
        (
            protocol.done(None, "7", "room:a"),
            '[null,"7","room:a","phx_reply",{"status":"ok","response":{}}]',
        ),
        (protocol.heartbeat("20"), '[null,"20","phoenix","phx_reply",{"status":"ok","response":{}}]'),
        (protocol.heartbeat(None), '[null,null,"phoenix","phx_reply",{"status":"ok","response":{}}]'),
        (protocol.close("6", "room:a"), '["6","6","room:a","phx_close",{}]'),
        (protocol.crashed("6", "room:a"), '["6","6","room:a","phx_error",{"reason":"channel_crash"}]'),
    ],
)
def test_text_frames_are_written_to_the_byte(frame: Frame, text: str) -> None:
    assert frame.body == text.encode()
    assert frame.text == text
    assert not frame.binary


def test_what_has_to_be_quoted_is() -> None:
    topic, ref, event = 'room:"\\\n', '"', "é\t"
    assert body(protocol.reply(ref, ref, topic, event, b"{}")) == [
        ref,
        ref,
        topic,
        "phx_reply",
        {"status": event, "response": {}},
    ]
    assert body(protocol.push(ref, protocol.tail(topic, event, b"{}"))) == [ref, None, topic, event, {}]
    assert body(protocol.done(ref, ref, topic))[:3] == [ref, ref, topic]


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\0\0\0\0\0\1\0\0"),
    ],
)
def test_a_websocket_head_has_the_shortest_length(size: int, head: bytes) -> None:
    text = b"x" * size
    assert Frame(text).wire == head + text
    assert Frame(text, binary=True).wire == b"\x82" + head[1:] + text


# --- what comes in ---


@pytest.mark.parametrize("as_text", [False, True])
def test_a_text_frame_is_read_and_elements_after_the_fifth_are_ignored(as_text: bool) -> None:
    text = '[null,"7","room:a","msg",{"body": "é"},{"more":1}]'
    frame = protocol.parse(text if as_text else text.encode())
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == (None, "7", "room:a", "msg")
    assert msgspec.json.decode(frame.payload) == {"body": "é"}


@pytest.mark.parametrize("payload", ["null", "[1]", "7", '"text"', "{}"])
def test_a_payload_is_any_json_value(payload: str) -> None:
    frame = protocol.parse(f'["1","2","t","e",{payload}]')
    assert bytes(frame.payload) == payload.encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'["1","1","t","e"]',
        b'[1,"1","t","e",{}]',
        b'["1",1,"t","e",{}]',
        b'["1","1",null,"e",{}]',
        b'["1","1","t",null,{}]',
        b'["1","1","t","e",{}',
        b'["1","1","t","e",{}] x',
        b'["1","1","t","e",NaN]',
        b'["1","1","t\xff","e",{}]',
        b'["1","1","t","e",{"a":"\xff"}]',
        b'["1","1","\\ud800","e",{}]',
        b"[" * 100_000,
        b'["1","1","t","e",' + b"[" * 5_000 + b"]" * 5_000 + b"]",
        '["1","1","t\ud800","e",{}]',
    ],
)
def test_what_is_no_frame_is_malformed(text: bytes | str) -> None:
    with pytest.raises(Malformed):
        protocol.parse(text)


@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize("letter", ["x", "é", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("field", range(4))
def test_a_ref_topic_or_event_is_at_most_255_bytes(encode: Any, letter: str, field: int) -> None:
    size = len(letter.encode())
    fields = ["1", "2", "t", "e"]
    fields[field] = letter * (255 // size)
    text = encode(json.dumps([*fields, {}], ensure_ascii=False))
    assert protocol.parse(text).payload
    fields[field] += letter
    with pytest.raises(Malformed, match="longer than 255"):
        protocol.parse(encode(json.dumps([*fields, {}], ensure_ascii=False)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\1\1",
        bytes((1, 0, 0, 1, 1)) + b"te",  # a reply: clients only push
        bytes((2, 0, 0, 1, 1)) + b"te",
        bytes((9, 0, 0, 1, 1)) + b"te",
        bytes((0, 0, 0, 1, 2)) + b"te",  # one byte short
        bytes((0, 0, 0, 1, 1)) + b"\xffe",
        bytes((0, 255, 255, 255, 255)) + b"x" * 1019,
    ],
)
def test_what_is_no_binary_push_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        protocol.parse_binary(data)


def test_a_line_of_long_poll_is_text_or_base64_of_a_binary_push() -> None:
    assert protocol.parse_line(b'["1","2","t","e",{}]').topic == "t"
    assert protocol.parse_line(b"AAAAAQF0ZQk=").payload == b"\t"
    for line in (b"AAAA*QF0ZQk=", b"AAAAAQF0ZQk", b"", b'{"topic":"t"}', b"\xff"):
        with pytest.raises(Malformed):
            protocol.parse_line(line)


@pytest.mark.parametrize("make", [protocol.binary_broadcast, lambda *a: protocol.binary_push("1", *a)])
def test_a_binary_frame_that_cannot_be_written_is_an_error(make: Any) -> None:
    make("t" * 255, "e" * 255, b"")
    with pytest.raises(ValueError, match="255"):
        make("t" * 256, "e", b"")
    with pytest.raises(ValueError, match="255"):
        make("t", "é" * 128, b"")


@pytest.mark.parametrize("payload", [b'{"n":1}', b"{}", b'{ "n" : 1 }', b"{ }", '{"n":1}', '{"é":1}'])
def test_marks_stand_in_a_payload_beside_what_was_there(payload: bytes | str) -> None:
    marked = json.loads(protocol.marked(payload, {"id": "x"}))
    assert marked == {"_holdfast": {"id": "x"}, **json.loads(payload)}
