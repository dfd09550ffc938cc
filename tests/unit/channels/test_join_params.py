"""What a join says is a JSON object, or the join is refused and the connection goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.channels import Channel, Channels
from holdfast.testing import ChannelClient
from holdfast.testing.channel_client import ClientReply


class Room(Channel):
    topic = "room:*"


@pytest.mark.parametrize("params", [[], 1, None, b'{"a":"\xff"}', b"\xb9ull", b"", b"[" * 900])
async def test_params_that_are_no_object_are_refused(params: Any) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    async with Channels("memory://", [Room]) as channels, ChannelClient(channels) as client:
        reply = await client._ask("1", "1", "room:a", "phx_join", params)
        assert reply == ClientReply("error", {"reason": "join params are a JSON object"})
        assert (await client.join("room:a")).reply.status == "ok"
    assert complaints == []
