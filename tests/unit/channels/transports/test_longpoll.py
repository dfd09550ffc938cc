import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.unit.channels.bus import Bus
from tests.unit.channels.transports import lab
from tests.unit.channels.transports.lab import Browser, Room

from holdfast import events
from holdfast.channels import Channels, Connect, Limits, Refuse, User
from holdfast.channels.transports import sessions
from holdfast.channels.transports.asgi import endpoint
from holdfast.errors import StoreUnavailable

JOIN = '["1","1","room:a","phx_join",{}]'
HEARTBEAT = '[null,"9","phoenix","heartbeat",{}]'
WINDOW = 0.05


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Room], limits=Limits(frame=1000, bytes=100_000)) as channels:
        yield channels


@pytest.fixture
def browser(channels: Channels) -> Browser:
    return Browser(endpoint(channels, window=WINDOW))


async def test_the_first_poll_begins_a_session_and_says_410(channels: Channels, browser: Browser) -> None:
    answer = await browser.get()
    assert answer.http == 200
    assert answer.said["status"] == 410
    assert answer.said["messages"] == []
    assert browser.token is not None
    assert answer.headers == {
        "content-type": "application/json; charset=utf-8",
        "access-control-allow-origin": "*",
        "cache-control": "no-store",
        "content-length": str(len(answer.body)),
    }
    (socket,) = channels.hub.sockets
    assert socket.transport == "longpoll"


async def test_a_client_joins_says_and_hears(channels: Channels, browser: Browser) -> None:
    await browser.get()
    answer = await browser.post(JOIN, '["1","2","room:a","say",{"text":"hello"}]')
    assert answer.said == {"status": 200}
    joined, said, reply = await browser.hear(3)
    assert joined[:4] == ["1", "1", "room:a", "phx_reply"]
    assert said[2:4] == ["room:a", "said"]
    assert reply == ["1", "2", "room:a", "phx_reply", {"status": "ok", "response": {}}]
    answer = await browser.get()
    assert answer.said == {"status": 204, "token": browser.token, "messages": []}


async def test_messages_are_strings_of_json(browser: Browser) -> None:
    await browser.get()
    await browser.post(HEARTBEAT)
    answer = await browser.get()
    assert answer.said["messages"] == ['[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]']


async def test_a_body_of_another_type_is_one_message(browser: Browser) -> None:
    await browser.get()
    assert (await browser.post(HEARTBEAT, kind="application/json")).status == 200
    assert len(await browser.hear(1)) == 1
    assert (await browser.post(f" {HEARTBEAT}\n", kind="application/json")).status == 200
    assert len(await browser.hear(1)) == 1


async def test_a_line_that_is_no_array_is_base64_of_a_binary_push(browser: Browser) -> None:
    await browser.get()
    await browser.post(JOIN)
    await browser.hear(1)
    push = b"\0\1\1\6\5" + b"12room:abytes" + b"\x09\x08"
    assert (await browser.post(base64.b64encode(push), HEARTBEAT)).status == 200
    heard = {each[3]: each for each in await browser.hear(4)}
    assert heard["pushed"][4] == {"_holdfast": {"base64": "CQg="}}
    assert heard["shown"][4] == {"_holdfast": {"base64": "CQg="}}


async def test_a_hundred_messages_are_taken_and_no_more(browser: Browser) -> None:
    await browser.get()
    lines = [f'[null,"{n}","phoenix","heartbeat",{{}}]' for n in range(103)]
    assert (await browser.post(*lines)).status == 200
    heard = await browser.hear(100)
    assert [each[1] for each in heard] == [str(n) for n in range(100)]
    assert (await browser.get()).status == 204


@pytest.mark.parametrize("line", ["[1", "%%%", "AAAA", "[" + "x" * 2000])
async def test_a_malformed_message_ends_the_session(channels: Channels, browser: Browser, line: str) -> None:
    await browser.get()
    assert (await browser.post(line, HEARTBEAT)).said == {"status": 410}
    await asyncio.sleep(0)
    assert not channels.hub.sockets
    assert (await browser.get()).said == {"status": 500}


async def test_a_message_may_be_as_large_as_a_frame_and_no_larger(
    channels: Channels, browser: Browser
) -> None:
    def heartbeat(size: int) -> str:
        text = '[null,"9","phoenix","heartbeat",{"a":""}]'
        return text.replace('""', '"' + "x" * (size - len(text)) + '"')

    def binary(size: int) -> bytes:
        return base64.b64encode(b"\0\0\0\7\1phoenixe" + b"x" * (size - 13))

    for large in (heartbeat(1001), binary(1001)):
        browser.token = None
        await browser.get()
        assert (await browser.post(heartbeat(1000), binary(1000))).status == 200
        received = channels.counts().received
        assert (await browser.post(large)).status == 410
        assert channels.counts().received == received


async def test_a_body_that_is_too_large_is_not_read(channels: Channels, browser: Browser) -> None:
    await browser.get()
    assert (await browser.post("x" * 100_001)).said == {"status": 500}
    assert (await browser.post(*["x" * 2000] * 50)).said == {"status": 500}
    assert channels.counts().received == 0


async def test_the_token_may_come_in_a_header_which_goes_first(browser: Browser) -> None:
    await browser.get()
    token, browser.token = browser.token, None
    header = {"X-Phoenix-Longpoll-Token": token or ""}
    body = HEARTBEAT.encode()
    answer = await browser.ask("POST", "vsn=2.0.0", header | {"content-type": "application/x-ndjson"}, body)
    assert answer.status == 200
    answer = await browser.ask("GET", "vsn=2.0.0&token=" + "x" * 12 + "." + "y" * 22 + "." + "z" * 43, header)
    assert answer.status == 200


async def test_an_application_s_own_token_begins_a_session_and_is_connect_s() -> None:
    heard: list[Connect] = []
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.4y1pQzHkd9b2uX3mJc0v8n1aQzHkd9b2uX3mJc0v8n1"

    async def connect(asked: Connect) -> User:
        heard.append(asked)
        return User("ada")

    async with Channels("memory://", [Room], connect=connect) as channels:
        browser = Browser(endpoint(channels, window=WINDOW))
        headers = {"X-Phoenix-AuthToken": "plain"}
        answer = await browser.ask("GET", f"token={jwt}&vsn=2.0.0&", headers)
        assert answer.status == 410
        (asked,) = heard
        assert (asked.params["token"], asked.token) == (jwt, "plain")
        (socket,) = channels.hub.sockets
        assert socket.user == User("ada")
        browser.token = answer.said["token"]
        # npm's client appends its session behind the application's parameter of the same name.
        answer = await browser.ask("GET", f"token={jwt}&vsn=2.0.0&token={browser.token}")
        assert answer.status == 204


async def test_a_session_that_cannot_hear_of_others_is_not_made_and_that_is_counted() -> None:
    told: list[events.Event] = []
    bus = Bus()
    async with Channels(bus.first, [Room]) as channels:

        async def subscribe(listener: Any) -> Any:
            raise StoreUnavailable("away")

        bus.first.subscribe = subscribe  # type: ignore[method-assign]
        stop = events.subscribe(told.append)
        try:
            assert (await Browser(endpoint(channels, window=WINDOW)).get()).said == {"status": 500}
        finally:
            stop()
    assert events.MessageRefused("connect", "StoreUnavailable") in told


async def test_a_poll_for_a_session_that_is_gone_makes_every_client_connect_anew(browser: Browser) -> None:
    await browser.get()
    token = browser.token or ""
    node, id, signature = token.split(".")
    browser.token = f"{node}.{id[::-1]}.{signature}"
    assert (await browser.get()).said == {"status": 500}
    assert (await browser.post(HEARTBEAT)).said == {"status": 410}
    browser.token = f"{'x' * 12}.{id}.{signature}"  # of a process that is none
    assert (await browser.get()).said == {"status": 500}
    assert (await browser.post(HEARTBEAT)).said == {"status": 410}
    browser.token = None
    assert (await browser.post(HEARTBEAT)).said == {"status": 410}


async def test_who_is_refused_hears_403_in_the_body() -> None:
    def refuse(asked: Connect) -> User:
        raise Refuse

    async with Channels("memory://", [Room], connect=refuse) as channels:
        answer = await Browser(endpoint(channels)).get()
        assert (answer.http, answer.said) == (200, {"status": 403})


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_request_is_asked_whose_page_it_comes_from(
    channels: Channels, browser: Browser, method: str
) -> None:
    await browser.get()
    query = f"vsn=2.0.0&token={browser.token}"
    answer = await browser.ask(method, query, {"origin": "https://mallory.example"}, HEARTBEAT.encode())
    assert (answer.http, answer.said) == (200, {"status": 403})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert channels.counts().received == 0


async def test_an_unknown_version_is_refused(browser: Browser) -> None:
    assert (await browser.ask("GET", "vsn=1.0.0")).said == {"status": 403}
    assert (await browser.ask("GET", "&".join(["a=1"] * 300))).said == {"status": 403}


async def test_a_preflight_is_answered(browser: Browser) -> None:
    answer = await browser.ask("OPTIONS", headers={"access-control-request-headers": "content-type, x-a"})
    assert (answer.http, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-headers"] == "content-type, x-a"
    assert answer.headers["access-control-allow-methods"] == "get, post, options"
    assert answer.headers["access-control-max-age"] == "3600"
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_other_methods_are_not_known(browser: Browser) -> None:
    assert (await browser.ask("PUT")).http == 400


async def test_a_client_that_leaves_while_it_polls_misses_nothing(channels: Channels) -> None:
    browser = Browser(endpoint(channels, window=60.0))
    await browser.get()
    polling = asyncio.ensure_future(browser.get())
    await asyncio.sleep(0.01)
    browser.leave()
    assert (await polling).http == 0
    await browser.post(HEARTBEAT)
    assert len(await browser.hear(1)) == 1


async def test_a_client_that_leaves_while_it_posts_says_nothing(browser: Browser, channels: Channels) -> None:
    await browser.get()
    query = f"vsn=2.0.0&token={browser.token}"
    scope = lab.scope_of("http", "/socket/longpoll", query, method="POST")
    wire = lab.Wire()
    wire.put({"type": "http.request", "body": HEARTBEAT.encode(), "more_body": True})
    wire.put({"type": "http.disconnect"})
    await browser._app(scope, wire.receive, wire.send)
    assert wire.sent == []
    assert channels.counts().received == 0


async def test_sessions_of_one_address_are_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PER_ADDRESS", 1)
    assert (await browser.get()).status == 410
    browser.token = None
    assert (await browser.get()).said == {"status": 500}


async def test_the_end_of_the_server_ends_a_poll(channels: Channels) -> None:
    browser = Browser(endpoint(channels, window=60.0))
    await browser.get()
    polling = asyncio.ensure_future(browser.get())
    await asyncio.sleep(0.01)
    await channels.close()
    assert (await polling).said == {"status": 500}


async def test_a_client_that_comes_back_gets_what_it_missed(channels: Channels, browser: Browser) -> None:
    await browser.get()
    await browser.post(JOIN, '["1","2","room:a","say",{"n":1}]')
    _, said, _ = await browser.hear(3)
    position = said[4]["_holdfast"]["position"]
    (socket,) = channels.hub.sockets
    socket.close(1001, "disconnected")
    assert (await browser.get()).said == {"status": 500}
    await channels.publish("room:a", "said", {"n": 2})
    browser.token = None
    await browser.get()
    await browser.post(f'["7","7","room:a","phx_join",{msgspec.json.encode({"since": position}).decode()}]')
    reply, missed = await browser.hear(2)
    assert reply[4]["response"]["recovered"] is True
    assert missed[4]["n"] == 2
