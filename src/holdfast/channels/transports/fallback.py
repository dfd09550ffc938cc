"""Binary frames for clients that can only be sent text: over long-poll. Pure.

There is no binary from server to client in the long-poll of this protocol. What
would have been goes as the same event, or reply, with the bytes in base64 under
the reserved field: ``{"_holdfast": {"base64": "..."}}``.
"""

from __future__ import annotations

import base64

from holdfast.channels import protocol
from holdfast.channels.protocol import Frame

__all__ = ["as_text"]


def as_text(frame: Frame) -> str:
    """A binary frame of ours as a text frame."""
    data = frame.body
    kind, count = data[0], {0: 3, 1: 4, 2: 2}[data[0]]
    fields: list[str] = []
    at = 1 + count
    for size in data[1 : 1 + count]:
        fields.append(data[at : at + size].decode())
        at += size
    payload = b'{"_holdfast":{"base64":"%b"}}' % base64.b64encode(data[at:])
    if kind == 0:
        join_ref, topic, event = fields
        return protocol.push(join_ref or None, protocol.tail(topic, event, payload)).text
    if kind == 1:
        join_ref, ref, topic, status = fields
        return protocol.reply(join_ref or None, ref or None, topic, status, payload).text
    topic, event = fields
    return protocol.broadcast(protocol.tail(topic, event, payload)).text
