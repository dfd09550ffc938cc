import asyncio
from typing import Any

import pytest
from tests.unit.channels.transports.lab import SECONDS, Browser, Connection, Room, Wire, scope_of

from holdfast.channels import Channels, User
from holdfast.channels.hub import Hub
from holdfast.channels.transports.asgi import RAW, endpoint


async def served(channels: Channels, **scope: Any) -> list[dict[str, Any]]:
    """All that a connection that ends by itself is sent."""
    connection = Connection(channels, **scope)
    async with connection as wire:
        async with asyncio.timeout(SECONDS):
            await connection.task
    return wire.sent


async def test_phoenix_is_accepted_as_it_was_offered() -> None:
    async with Channels("memory://", [Room]) as channels:
        for offered, answered in ((["phoenix", "x"], "phoenix"), (["x"], None), ([], None)):
            async with Connection(channels, subprotocols=offered) as wire:
                (accepted,) = await wire.got(1)
                assert accepted["type"] == "websocket.accept"
                assert accepted["subprotocol"] == answered


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"path": "/socket/elsewhere"}, 404),
        ({"path": "/socket/longpoll"}, 404),
        ({"path": ""}, 404),
        ({"query": "&".join(["a=1"] * 300)}, 400),
    ],
)
async def test_who_is_denied_is_told_before_anything_is_accepted(scope: dict[str, Any], status: int) -> None:
    async with Channels("memory://", [Room]) as channels:
        start, end = await served(channels, **scope)
        assert start["type"] == "websocket.http.response.start"
        assert start["status"] == status
        assert end == {"type": "websocket.http.response.body", "body": b"", "more_body": False}
        for extensions in ({}, None):
            (closed,) = await served(channels, **scope, extensions=extensions)
            assert closed["type"] == "websocket.close"


async def test_403_needs_no_extension() -> None:
    async with Channels("memory://", [Room]) as channels:
        (closed,) = await served(channels, query="vsn=1.0.0")
        assert closed["type"] == "websocket.close"


async def test_nothing_is_served_before_it_is_open() -> None:
    channels = Channels("memory://", [Room])
    assert (await served(channels))[0]["status"] == 503
    answer = await Browser(channels).get()
    assert answer.said == {"status": 500}


async def test_a_client_that_went_before_it_was_accepted_is_no_error() -> None:
    class Gone(Wire):
        async def send(self, message: Any) -> None:
            raise OSError("it is gone")

    async with Channels("memory://", [Room]) as channels:
        connection = Connection(channels, wire=Gone())
        async with connection:
            async with asyncio.timeout(SECONDS):
                await connection.task
        assert not channels.hub.sockets


async def test_a_server_that_takes_connections_over_is_given_it_and_left_alone() -> None:
    order: list[Any] = []

    class Taker(Wire):
        async def send(self, message: Any) -> None:
            order.append(message)

    def take(hub: Hub, user: User | None) -> None:
        order.append((hub, user))

    async with Channels("memory://", [Room], connect=lambda _: User("ada")) as channels:
        connection = Connection(
            channels, wire=Taker(), extensions={RAW: {"take": take}}, subprotocols=["phoenix"]
        )
        async with connection:
            async with asyncio.timeout(SECONDS):
                await connection.task
        assert order == [
            (channels.hub, User("ada")),
            {"type": "websocket.accept", "subprotocol": "phoenix", "headers": []},
        ]
        order.clear()
        connection = Connection(
            channels,
            wire=Taker(),
            extensions={RAW: {"take": take}},
            headers=[("origin", "https://m.example")],
        )
        async with connection:
            async with asyncio.timeout(SECONDS):
                await connection.task
        assert [each["type"] for each in order] == ["websocket.close"]


@pytest.mark.parametrize(("path", "status"), [("/socket/websocket", 400), ("/socket/", 404), ("", 404)])
async def test_plain_http_is_answered(path: str, status: int) -> None:
    async with Channels("memory://", [Room]) as channels:
        answer = await Browser(endpoint(channels), path).ask("GET")
        assert (answer.http, answer.body) == (status, b"")


async def test_a_scope_of_another_kind_is_none_of_its_business() -> None:
    async with Channels("memory://", [Room]) as channels:
        with pytest.raises(NotImplementedError, match="lifespan"):
            await channels({"type": "lifespan"}, Wire().receive, Wire().send)


async def test_channels_is_the_app_itself() -> None:
    async with Channels("memory://", [Room]) as channels:
        wire = Wire()
        wire.put({"type": "websocket.connect"})
        task = asyncio.ensure_future(
            channels(scope_of("websocket", "/a/b/websocket"), wire.receive, wire.send)
        )
        (accepted,) = await wire.got(1)
        assert accepted["type"] == "websocket.accept"
        wire.gone()
        await task
