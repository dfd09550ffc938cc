"""The clients that people have: npm's `phoenix` 1.8, 1.7 and 1.6, unmodified, over WebSocket and long-poll."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from tests.acceptance.phoenix_clients.node import VERSIONS, Client, installed
from tests.acceptance.rooms.server import FAST, STOCK, RoomServer
from tests.acceptance.served import Served

from holdfast.testing.processes import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("websocket", "longpoll")


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    installed()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('npm')}/rooms.db"


@pytest.fixture(scope="module", params=[FAST, STOCK], ids=["fast", "plain"])
def server(request: pytest.FixtureRequest, store: str) -> Iterator[RoomServer]:
    server = RoomServer(store, f"npm-{secrets.token_hex(4)}", ws=request.param, window=1.0)
    try:
        yield server.start()
    finally:
        server.discard()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(_packages: None) -> AsyncIterator[list[Client]]:
    """Each version with each transport, one process each for all tests."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(version, transport))
            for version in VERSIONS
            for transport in TRANSPORTS
        ]


@pytest_asyncio.fixture(loop_scope="module")
async def clients(started: list[Client]) -> list[Client]:
    for client in started:
        await client.reset()
    return started


Scenario: TypeAlias = Callable[[Client, RoomServer, str], Coroutine[Any, Any, None]]
Test: TypeAlias = Callable[[RoomServer, list[Client]], Coroutine[Any, Any, None]]


def by_each(*transports: str) -> Callable[[Scenario], Test]:
    """What one client does, as a test: all of these transports do it at once, each in a topic of its own."""

    def test_of(scenario: Scenario) -> Test:
        async def one(client: Client, server: RoomServer) -> None:
            try:
                await scenario(client, server, f"room:{secrets.token_hex(4)}")
            except Exception as exc:
                exc.add_note(str(client))
                raise

        async def test(server: RoomServer, clients: list[Client]) -> None:
            async with asyncio.TaskGroup() as tasks:
                for client in clients:
                    if not transports or client.transport in transports:
                        tasks.create_task(one(client, server))

        test.__name__ = scenario.__name__
        return test

    return test_of


@by_each()
async def test_it_joins_is_refused_pushes_and_is_answered(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(
        server.url, params={"user": "ada", "nested": {"id": 1, "none": None}, "list": [1, 2]}
    )
    joined = await client.join(topic, params={"name": "Ada"})
    assert joined["status"] == "ok"
    marks = {name: joined["response"].pop(name) for name in ("position", "recovered")}
    assert marks == {"position": "0~", "recovered": False}
    assert joined["response"] == {"hello": "Ada", "user": "ada"}
    refused = await client.join(f"{topic}-not", params={"refuse": "full"})
    assert refused == {"status": "error", "response": {"reason": "full"}}
    crashed = await client.join(f"{topic}-crash", params={"crash": 1})
    assert crashed == {"status": "error", "response": {"reason": "join crashed"}}
    unmatched = await client.join("nobody:here")
    assert unmatched == {"status": "error", "response": {"reason": "unmatched topic"}}
    for name in (f"{topic}-not", f"{topic}-crash", "nobody:here"):
        await client.do("leave", name=name)  # or it asks again for ever
    said = {"text": "Grüße, 世界 🌊", "n": [1, None, 2.5]}
    assert await client.push(topic, "echo", said) == {"status": "ok", "response": said}
    assert await client.push(topic, "no") == {"status": "error", "response": {"reason": "no"}}
    teapot = await client.push(topic, "status", {"name": "teapot"})
    assert teapot == {"status": "teapot", "response": {"was": "asked for"}}
    invalid = await client.push(topic, "say", {"id": "a1"})
    assert invalid["status"] == "error"
    assert invalid["response"]["field"] == "$.text"


@by_each()
async def test_it_hears_others_and_itself_in_order_and_the_history_when_it_joins(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(server.url)
    await client.connect(server.url, socket="other")
    await client.join(topic, name="mine")
    await client.join(topic, name="others", socket="other")
    for n in range(12):
        reply = await client.push("mine" if n % 2 else "others", "say", {"id": f"m{n}", "text": f"{n}"})
        assert reply["status"] == "ok"
    await client.push("mine", "others", {"only": "others"})
    await client.push("mine", "shout", {"to": "all"})
    for name, shouted in (("mine", [{"to": "all"}]), ("others", [{"only": "others"}, {"to": "all"}])):
        await client.until_heard(name, "shouted", len(shouted))
        assert client.messages(name, "shouted") == shouted
        said = client.messages(name, "said")
        assert [each["text"] for each in said] == [str(n) for n in range(12)]
        assert [each["_holdfast"]["id"] for each in said] == [f"m{n}" for n in range(12)]
    await client.connect(server.url, socket="late")
    late = await client.join(topic, name="late", socket="late")
    await client.until(lambda: len(client.messages("late", "said")) == 10, "the history")
    assert [each["text"] for each in client.messages("late", "said")] == [str(n) for n in range(2, 12)]
    assert late["response"]["recovered"] is False


@by_each()
async def test_joining_twice_leaves_the_first_and_leaving_is_for_good(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(server.url)
    await client.join(topic, name="first")
    assert (await client.join(topic, name="second"))["status"] == "ok"
    await client.until(lambda: client.all("channel close", name="first"), "the first's end")
    assert await client.do("state", name="first") == "closed"
    assert (await client.push("second", "echo", {"n": 1}))["response"] == {"n": 1}
    assert (await client.do("leave", name="second"))["status"] == "ok"
    assert await client.do("state", name="second") == "closed"
    assert (await client.join(topic, name="third"))["status"] == "ok"
    assert client.all("close") == []


@by_each()
async def test_a_channel_that_crashes_is_joined_again_by_itself(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(server.url)
    await client.join(topic)
    await client.join(f"{topic}-beside")
    await client.do("presence", name=topic)  # so that nothing of the client is left out
    pushed = client.do("push", name=topic, event="crash", payload={})
    await client.until_told(pushed, lambda: len(client.all("joined", name=topic)) == 2, "the second join")
    assert client.all("channel error", name=topic)
    assert (await client.push(topic, "echo", {"n": 1}))["response"] == {"n": 1}
    assert client.all("channel error", name=f"{topic}-beside") == []
    assert client.all("close") == []


@by_each()
async def test_binary_goes_both_ways_and_over_long_poll_comes_back_as_text(
    client: Client, server: RoomServer, topic: str
) -> None:
    if (client.version, client.transport) == ("1.6", "longpoll"):
        return  # it cannot send binary
    await client.connect(server.url)
    await client.connect(server.url, socket="other")
    await client.join(topic, name="mine")
    await client.join(topic, name="others", socket="other")
    reply = await client.push("mine", "bin", hex="0908ff00")
    await client.until(lambda: client.messages("others", "bin_cast"), "the broadcast")
    found = [reply["response"]]
    found += client.messages("mine", "bin_push") + client.messages("mine", "bin_cast")
    found += client.messages("others", "bin_cast")
    wanted = ["0908ff000908ff00", "00ff0809", "ff0908ff00", "ff0908ff00"]
    if client.transport == "websocket":
        assert found == [{"hex": each} for each in wanted]
    else:
        assert [each["_holdfast"]["base64"] for each in found] == [_base64(each) for each in wanted]


def ended(client: Client) -> bool:
    return bool(client.all("close") or client.all("error"))


def _base64(hex: str) -> str:
    return base64.b64encode(bytes.fromhex(hex)).decode()


@by_each()
async def test_its_presence_class_sees_who_comes_changes_and_goes(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(server.url, params={"user": "ada"})
    await client.connect(server.url, socket="ben", params={"user": "ben"})
    await client.do("channel", name="mine", topic=topic)
    await client.do("presence", name="mine")
    await client.do("join", name="mine")

    def sees(who: dict[str, list[str]]) -> bool:
        return (
            bool(client.all("presence", name="mine"))
            and client.all("presence", name="mine")[-1]["who"] == who
        )

    await client.until(lambda: sees({"ada": ["here"]}), "ada alone")
    await client.join(topic, name="bens", socket="ben")
    await client.until(lambda: sees({"ada": ["here"], "ben": ["here"]}), "both")
    await client.push("bens", "update", {"status": "away"})
    await client.until(lambda: sees({"ada": ["here"], "ben": ["away"]}), "ben away")
    assert client.all("presence leave", key="ben", left=0) == [], "he was gone for a moment"
    await client.do("disconnect", socket="ben")
    await client.until(lambda: sees({"ada": ["here"]}), "ada alone again")
    assert [each["key"] for each in client.all("presence join", name="mine")].count("ben") == 2
    assert client.all("presence leave", key="ben", left=0)


@by_each("websocket")
async def test_heartbeats_are_answered(client: Client, server: RoomServer, topic: str) -> None:
    await client.connect(server.url, heartbeat=40)
    await client.until(lambda: len(client.all("heartbeat")) >= 3, "three heartbeats")
    for each in client.all("heartbeat"):
        assert (each["event"], each["payload"], each["ref"]) == (
            "phx_reply",
            {"status": "ok", "response": {}},
            "string",
        )
    assert client.all("close") == []


@by_each()
async def test_who_is_disconnected_comes_back_and_joins(
    client: Client, server: RoomServer, topic: str
) -> None:
    await client.connect(server.url, params={"user": topic})
    await client.join(topic)
    await client.connect(server.url, socket="admin")
    await client.join(topic, name="admin", socket="admin")
    await client.push("admin", "disconnect", {"name": topic})
    await client.until(lambda: len(client.all("joined", name=topic)) == 2, "it has joined again")
    if client.transport == "websocket":
        assert [each["code"] for each in client.all("close")] == [1001]
    assert len(client.all("open", socket="main")) == 2
    assert (await client.push(topic, "echo", {"n": 1}))["response"] == {"n": 1}


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_over_a_restart_of_the_server_nobody_misses_anything_or_gets_it_twice(
    server: RoomServer, clients: list[Client], how: str
) -> None:
    topic = f"room:{secrets.token_hex(4)}"
    async with Client("1.8") as other:
        for client in clients:
            await client.connect(server.url)
            await client.join(topic, since=True)
        for n, client in enumerate(clients):
            await client.push(topic, "say", {"id": f"before-{n}", "text": f"{n}"})
        await asyncio.to_thread(server.stop if how == "stop" else server.kill)
        for client in clients:
            await client.until(partial(ended, client), f"{client} notices")
        await asyncio.to_thread(server.start)
        await other.connect(server.url)
        await other.join(topic)
        for n in range(6, 30):
            await other.push(topic, "say", {"id": f"after-{n}", "text": f"{n}"})
        for client in clients:
            words = str(client)
            await client.until_heard(topic, "said", 30)
            said = [each["text"] for each in client.messages(topic, "said")]
            assert said == [str(n) for n in range(30)], words
            assert client.all("joined")[-1]["response"]["recovered"] is True, words
            if client.transport == "websocket":
                assert client.all("close")[0]["code"] == (1012 if how == "stop" else 1006), words


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_auth_token_of_1_8_arrives_by_either_transport(server: RoomServer, transport: str) -> None:
    async with Client("1.8", transport) as client:
        await client.connect(server.url, token="token-of->>>x")
        joined = await client.join("room:token")
        assert joined["response"]["user"] == ">>>x"  # in base64 with a plus, and without its padding
        await client.do("connect", socket="bad", url=server.url, transport=transport, token="wrong")
        await client.until(lambda: client.all("error", socket="bad"), "it is not let in")
        await client.do("disconnect", socket="bad")
        assert client.all("open", socket="bad") == []


async def test_the_chat_of_holdfast_serve_is_a_room_like_any_other(
    tmp_path: Path, clients: list[Client]
) -> None:
    port = free_port()
    store = f"sqlite:///{tmp_path}/chat.db"
    chat = f"ws://127.0.0.1:{port}/socket"
    topic = "chat_room:lobby"
    async with Client("1.8") as late:
        with Served(store, tmp_path, "--chat", "--port", str(port)) as served:
            for n, client in enumerate(clients):
                await client.connect(chat)
                await client.join(topic, since=True, params={"name": client.version})
                for at in (2 * n, 2 * n + 1):
                    reply = await client.push(topic, "new_message", {"name": "Ada", "message": f"{at}"})
                    assert reply["status"] == "ok"
            await late.connect(chat)
            await late.join(topic, since=True)
            await late.until_heard(topic, "new_message", 10)
            incomplete = await late.push(topic, "new_message", {"name": "Ada"})
            assert incomplete["response"]["field"] == "$.message"
            served.kill()
        with Served(store, tmp_path, "--chat", "--port", str(port)):
            # Who joined later has seen less of it: the ten latest, and what came then.
            firsts = [0, 0, 0, 0, 0, 0, 2]
            for client in [*clients, late]:
                await client.until(partial(joined_again, client), f"{client} is back")
            await late.push(topic, "new_message", {"name": "Ada", "message": "12"})
            for client, first in zip([*clients, late], firsts, strict=True):
                await client.until_heard(topic, "new_message", 13 - first)
                found = [said["message"] for said in client.messages(topic, "new_message")]
                assert found == [str(n) for n in range(first, 13)], str(client)


def joined_again(client: Client) -> bool:
    return len(client.all("joined")) == 2
