import base64

import msgspec
import pytest

from holdfast.channels import protocol
from holdfast.channels.protocol import Frame
from holdfast.channels.transports.fallback import as_text

DATA = b"\x00\xff\n"
MARKED = {"_holdfast": {"base64": base64.b64encode(DATA).decode()}}


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (protocol.binary_push("6", "room:\u00e9", "bin", DATA), ["6", None, "room:\u00e9", "bin", MARKED]),
        (protocol.binary_push(None, "room:a", "bin", DATA), [None, None, "room:a", "bin", MARKED]),
        (
            protocol.binary_reply("6", "7", "room:a", "ok", DATA),
            ["6", "7", "room:a", "phx_reply", {"status": "ok", "response": MARKED}],
        ),
        (protocol.binary_broadcast("room:a", "bin", DATA), [None, None, "room:a", "bin", MARKED]),
    ],
)
def test_a_binary_frame_says_the_same_as_text(frame: Frame, text: list[object]) -> None:
    assert msgspec.json.decode(as_text(frame)) == text


def test_nothing_at_all_is_empty() -> None:
    said = msgspec.json.decode(as_text(protocol.binary_broadcast("t", "e", b"")))
    assert said[4] == {"_holdfast": {"base64": ""}}
