"""The chat's pages and its authors' cookies: what a browser gets before any script runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from holdfast.channels import Channels, Connect, User
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.testing.channel_client import ChannelClient
from holdfast.web.chat import pages
from holdfast.web.chat.authors import Authors, cookie_name
from holdfast.web.chat.pages import LONGEST, ago_words

from .conftest import BASE, TOKEN, app_of, serving, store_of


@pytest.fixture
async def visitor(store_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings(store=store_url, token=TOKEN, chat=True)) as client:
        client.headers["Accept"] = "text/html"
        yield client


def channels_of(client: httpx.AsyncClient) -> Channels:
    channels = app_of(client).state.channels
    assert isinstance(channels, Channels)
    return channels


def rooms(page: httpx.Response) -> list[tuple[str, str, str]]:
    """Address, what is said of the latest message, and how many are here, of each room."""
    return re.findall(
        r'<li>\s*<a href="([^"]+)">.*?<span class="hint">([^<]+)</span>\s*<span [^>]*>([^<]+)<',
        page.text,
        re.S,
    )


def asked(cookie: str | None, host: str = "localhost:8000") -> Connect:
    headers = {"host": host} if cookie is None else {"host": host, "cookie": cookie}
    return Connect({}, headers, None, None, {})


# --- the rooms ---


async def test_an_empty_store_offers_the_lobby(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/chat")
    assert page.status_code == 200
    assert 'href="/chat/lobby"' in page.text
    assert rooms(page) == []


async def test_rooms_are_listed_the_latest_first_with_who_is_there(visitor: httpx.AsyncClient) -> None:
    channels = channels_of(visitor)
    for name in ("early", "a/b <i>", "late"):
        await channels.publish(f"chat_room:{name}", "new_message", {"name": "Ada", "message": "Hello"})
    await channels.publish("another:topic", "new_message", {"name": "Ada", "message": "Hello"})
    async with ChannelClient(channels, user=User("a")) as one, ChannelClient(channels, user=User("b")) as two:
        for client, name in ((one, "early"), (two, "early"), (two, "fresh")):
            room = await client.join(f"chat_room:{name}", {"name": "Ada"})
            await room.receive("presence_diff")  # from here on it is present
        gone = await two.join("chat_room:gone")
        await gone.leave()
        heard = channels.tail("another:topic", since="0~")
        async with asyncio.timeout(10):
            await anext(heard)  # somebody of this process is in there
        assert {"another:topic", "chat_room:gone"} < {room.topic for room in channels.rooms()}
        async with asyncio.timeout(10):
            page = await visitor.get("/chat")
        await heard.aclose()  # type: ignore[attr-defined]
    assert rooms(page)[0] == ("/chat/fresh", "nothing said yet", "1 here")
    assert sorted(rooms(page)[1:]) == [
        ("/chat/a%2Fb%20%3Ci%3E", "just now", "0 here"),
        ("/chat/early", "just now", "2 here"),
        ("/chat/late", "just now", "0 here"),
    ]
    assert "a/b &lt;i&gt;" in page.text


async def test_of_many_rooms_those_of_late_are_listed(
    visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LISTED", 2)
    monkeypatch.setattr(pages, "LOOKED_AT", 3)
    for name in "abcd":
        await channels_of(visitor).publish(f"chat_room:{name}", "new_message", {"name": "A", "message": "B"})
    listed = [address for address, _, _ in rooms(await visitor.get("/chat"))]
    assert len(listed) == 2
    assert set(listed) < {"/chat/a", "/chat/b", "/chat/c"}


async def test_a_room_is_opened_by_its_name(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/chat", params={"room": "  Kelp   & <wrack>/ü "})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/chat/" + quote("Kelp & <wrack>/ü", safe=""),
    )
    page = await visitor.get(answer.headers["location"])
    assert page.status_code == 200
    assert 'data-topic="chat_room:Kelp &amp; &lt;wrack&gt;/ü"' in page.text
    assert 'data-socket="/socket/websocket"' in page.text


@pytest.mark.parametrize("name", ["", "   ", ".", "..", "ü" * (LONGEST // 2 + 1)])
async def test_a_name_that_can_be_none_is_refused_in_words(visitor: httpx.AsyncClient, name: str) -> None:
    answer = await visitor.get("/chat", params={"room": name})
    assert answer.status_code == 400
    assert "A room&#39;s name has" in answer.text


async def test_a_name_as_long_as_a_topic_allows_is_one_and_a_longer_is_not(
    visitor: httpx.AsyncClient,
) -> None:
    assert (await visitor.get("/chat/" + "x" * LONGEST)).status_code == 200
    assert (await visitor.get("/chat/" + "x" * (LONGEST + 1))).status_code == 404
    client = ChannelClient(channels_of(visitor))
    async with client:
        await client.join("chat_room:" + "x" * LONGEST)


async def test_a_room_says_what_it_needs_where_there_is_no_script(visitor: httpx.AsyncClient) -> None:
    page = (await visitor.get("/chat/lobby")).text
    assert "takes JavaScript" in page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "<script>" not in page
    assert 'style="' not in page


async def test_without_the_option_there_is_no_chat_and_no_link_to_it(store_url: str) -> None:
    for chat in (False, True):
        async with serving(Settings(store=store_url, token=TOKEN, chat=chat)) as client:
            client.headers["Accept"] = "text/html"
            client.follow_redirects = True
            assert (await client.get("/chat")).status_code == (200 if chat else 404)
            assert (await client.get("/chat/lobby")).status_code == (200 if chat else 404)
            door = await client.get("/sign-in")
            stamp = re.search(r'name="stamp" value="([^"]+)"', door.text)
            assert stamp is not None
            overview = await client.post("/sign-in", data={"stamp": stamp[1], "next": "/", "token": TOKEN})
            assert ('href="/chat"' in overview.text) is chat


async def test_below_a_root_path_everything_leads_there(store_url: str) -> None:
    settings = Settings(
        store=store_url, token=TOKEN, chat=True, root_path="/store", site="https://alice.example"
    )
    async with serving(settings, base="https://alice.example") as client:
        page = await client.get("/store/chat/lobby")
        assert 'data-socket="/store/socket/websocket"' in page.text
        cookie = page.headers["set-cookie"]
        assert "Path=/store" in cookie
        assert "Secure" in cookie
        for address in (*re.findall(r'(?:href|src)="([^"#]+)"', page.text), "/store/chat"):
            assert address.startswith("/store/"), address
            assert (await client.get(address.replace("&amp;", "&"))).status_code in (200, 303)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (59.9, "just now"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago"),
     (86399, "23 h ago"), (86400, "1 day ago"), (200_000, "2 days ago"), (-5, "just now")],
)  # fmt: skip
def test_how_long_ago_is_said_in_one_unit(seconds: float, words: str) -> None:
    assert ago_words(seconds) == words


# --- authors ---


async def test_a_browser_gets_one_author_that_no_script_reads_and_keeps_it(
    visitor: httpx.AsyncClient,
) -> None:
    first = await visitor.get("/chat/lobby")
    cookie = first.headers["set-cookie"]
    for part in ("holdfast_author_8000=", "HttpOnly", "SameSite=strict", "Path=/", "Max-Age=31536000"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "set-cookie" not in (await visitor.get("/chat/lobby")).headers
    visitor.cookies.clear()
    assert (await visitor.get("/chat/lobby")).headers["set-cookie"] != cookie


async def test_the_socket_knows_the_author_of_the_page(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/chat/lobby")
    cookie = page.headers["set-cookie"].partition(";")[0]
    connect: Any = channels_of(visitor).connect
    user = await connect(asked(f"theme=dark; {cookie}"))
    assert user == User(cookie.partition("=")[2].partition(".")[0])
    assert await connect(asked(cookie, "localhost:9000")) is None  # another server's browser
    assert await connect(asked(None)) is None


@pytest.mark.parametrize(
    "forged", ["", ".", "abc", "abc.", ".abc", "abc.def", "{author}.", "{author}x.{rest}", "é.é"]
)
async def test_an_author_that_was_not_made_here_is_nobody(visitor: httpx.AsyncClient, forged: str) -> None:
    page = await visitor.get("/chat/lobby")
    author, _, rest = page.headers["set-cookie"].partition(";")[0].partition("=")[2].partition(".")
    connect: Any = channels_of(visitor).connect
    value = forged.format(author=author, rest=rest)
    assert await connect(asked(f"holdfast_author_8000={value}")) is None
    assert await connect(asked(f"holdfast_author_8000={author}.{rest}")) == User(author)


async def test_all_processes_of_a_store_believe_each_other_and_no_other_store(tmp_path: Any) -> None:
    async with serving(Settings(store=f"sqlite:///{tmp_path}/a.db", token=TOKEN, chat=True)) as client:
        cookie = (await client.get("/chat/lobby")).headers["set-cookie"].partition(";")[0]
        author = cookie.partition("=")[2].partition(".")[0]
        async with Persist(f"sqlite:///{tmp_path}/a.db") as same, Persist("memory://") as other:
            assert await Authors(same, path="").connect(asked(cookie)) == User(author)
            assert await Authors(other, path="").connect(asked(cookie)) is None
        assert [key async for key in store_of(client).keys("")] == []  # the secret is no value of anybody's


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost:8000", "holdfast_author_8000"), ("alice.example", "holdfast_author_0"),
     ("[::1]:81", "holdfast_author_81"), ("a:b:c", "holdfast_author_0"), ("", "holdfast_author_0")],
)  # fmt: skip
def test_a_cookie_is_for_one_port(host: str, name: str) -> None:
    assert cookie_name(host) == name
    assert BASE.endswith(":8000")
