"""Rooms and connections in the dashboard, without a script: forms as a browser sends them, on memory and on SQLite."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest

from holdfast.channels import Channels, User
from holdfast.errors import StoreUnavailable
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.testing import ChannelClient

from .browser import Browser, Forms
from .conftest import TOKEN, app_of, serving

ROOM = "/room?topic=room%3Aa"


@pytest.fixture
async def browser(store_url: str) -> AsyncIterator[Browser]:
    async with serving(Settings(store=store_url, token=TOKEN, chat=True)) as client:
        browser = Browser(client)
        await browser.sign_in()
        yield browser


@pytest.fixture
def rooms(browser: Browser) -> Channels:
    channels = app_of(browser.client).state.channels
    assert isinstance(channels, Channels)
    return channels


def numbers(browser: Browser) -> list[int]:
    """What the messages on the page say, from the top."""
    return [int(n) for n in re.findall(r"&#34;n&#34;</span>: <span class=\"jn\">(\d+)", browser.page.text)]


async def follow(browser: Browser, name: str) -> bool:
    """Follow the link of this name, if there is one."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>{name}</a>', browser.page.text)
    if found is None:
        return False
    await browser.go(unescape(found[1]))
    return True


async def fill(rooms: Channels, count: int, topic: str = "room:a") -> None:
    for n in range(count):
        await rooms.publish(topic, "said", {"n": n}, id=f"id:{n}" if n % 2 else None)


# --- the list ---


async def test_rooms_are_listed_by_name_narrowed_and_paged(browser: Browser, rooms: Channels) -> None:
    await browser.go("/rooms")
    assert "Nothing was said yet" in browser.text
    for n in range(120):
        await rooms.publish(f"room:{n:03}", "said", {})
    await rooms.publish("other <b>", "said", {})
    await browser.go("/rooms")
    seen = []
    while True:
        seen += re.findall(r'<th scope="row"><a [^>]*><bdi>(.*?)</bdi>', browser.page.text)
        if not await follow(browser, "Next page"):
            break
    assert seen == ["other &lt;b&gt;", *(f"room:{n:03}" for n in range(120))]
    assert await follow(browser, "First page")
    await browser.go("/rooms?prefix=room:11")
    assert re.findall(r"<bdi>(.*?)</bdi>", browser.page.text) == [f"room:{n}" for n in range(110, 120)]
    await browser.go("/rooms?prefix=nowhere")
    assert "No topic with a history starts with nowhere" in browser.text


async def test_a_cursor_that_was_made_up_or_is_of_another_prefix_begins_again(
    browser: Browser, rooms: Channels
) -> None:
    for n in range(60):
        await rooms.publish(f"room:{n:03}", "said", {})
    await browser.go("/rooms")
    sealed = re.search(r"cursor=([^\"&]+)", browser.page.text)
    assert sealed is not None
    for address in (
        f"/rooms?prefix=room&cursor={sealed[1]}",
        "/rooms?cursor=holdfast%3Ac%3Aroom",
        "/rooms?cursor=x",
    ):
        await browser.go(address)
        assert browser.page.status_code == 200
        assert "room:000" in browser.text


async def test_who_is_in_a_room_is_counted_and_a_room_that_keeps_nothing_is_shown(
    browser: Browser, rooms: Channels
) -> None:
    await rooms.publish("chat_room:a", "new_message", {"name": "Ada", "message": "x"})
    await rooms.publish("chat_room:b", "new_message", {"name": "Ada", "message": "x"})
    async with ChannelClient(rooms, user=User("ada")) as ada, ChannelClient(rooms, user=User("bob")) as bob:
        await ada.join("chat_room:a", {"name": "Ada <i>"})
        await bob.join("chat_room:a", {"name": "Bob"})
        await browser.go("/rooms")
        assert re.search(r"chat_room:a \S+ \S+ 1 kept 2 here", browser.text)
        assert re.search(r"chat_room:b \S+ \S+ 1 kept 0 here 0 a second", browser.text)
        await browser.go("/room?topic=chat_room:a")
        assert re.search(r"Members here 2 ", browser.text)
        assert "Present: Ada <i> , Bob" in browser.text
        assert "<i>" not in browser.page.text


# --- one room ---


async def test_a_history_is_paged_in_both_directions_and_every_message_comes_once(
    browser: Browser, rooms: Channels
) -> None:
    await fill(rooms, 60)
    await browser.go(ROOM)
    assert numbers(browser) == list(range(59, 34, -1))
    assert "Newer" not in browser.text
    assert await follow(browser, "Older")
    assert numbers(browser) == list(range(34, 9, -1))
    assert await follow(browser, "Older")
    assert numbers(browser) == list(range(9, -1, -1))
    assert "Older" not in browser.text
    assert await follow(browser, "Newer")
    assert numbers(browser) == list(range(34, 9, -1))
    assert await follow(browser, "Newer")
    assert numbers(browser) == list(range(59, 34, -1))
    assert str(browser.page.url).endswith("/room?topic=room%3Aa")


async def test_what_is_said_meanwhile_moves_no_page(browser: Browser, rooms: Channels) -> None:
    await fill(rooms, 40)
    await browser.go(ROOM)
    await rooms.publish("room:a", "said", {"n": 99})
    await rooms.remove("room:a", "id:15")
    assert await follow(browser, "Older")
    assert numbers(browser) == [14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("query", ["before=x", "after=x", "after=9~other", "before=9~other", "after=99999~x"])
async def test_a_position_that_is_none_is_no_fault(browser: Browser, rooms: Channels, query: str) -> None:
    await fill(rooms, 3)
    await browser.go(f"{ROOM}&{query}")
    assert browser.page.status_code == 200


async def test_what_others_wrote_is_shown_and_never_obeyed(browser: Browser, rooms: Channels) -> None:
    evil = "<script>alert(1)</script>\u202e"
    await rooms.publish(f"room:{evil}", evil, {"m": evil, evil: 1})
    await browser.go("/rooms")
    assert await follow(browser, r"<bdi>room:.*?</bdi>")
    page, here = browser.page.text, str(browser.page.url)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\u202e" in page
    for link in ("Edit", "Remove"):
        await browser.go(here)
        assert await follow(browser, link)
        assert browser.page.status_code == 200
        assert "<script>alert" not in browser.page.text


async def test_a_room_without_a_history_says_so_and_a_bad_topic_is_a_problem(browser: Browser) -> None:
    await browser.go("/room?topic=nobody")
    assert "Nothing is kept here" in browser.text
    for topic in ("", "x" * 256, "nul%00", "phoenix"):
        assert (await browser.go(f"/room?topic={topic}")).status_code == 400


# --- saying ---


async def test_a_message_is_sent_changed_and_removed(browser: Browser, rooms: Channels) -> None:
    await browser.go("/room/new?topic=room:a")
    await browser.send("/room/save", event="said", text='{"n": 1}')
    assert "Sent." in browser.text
    (message,) = await rooms.history("room:a")
    assert (message.event, message.payload) == ("said", {"n": 1})
    assert await follow(browser, "Edit")
    await browser.send("/room/save", text='{"n": 2}')
    assert "Changed." in browser.text
    assert "edited" in browser.text
    assert await follow(browser, "Remove")
    assert "Remove this message?" in browser.text
    await browser.send("/room/remove")
    assert "Removed." in browser.text
    assert await rooms.history("room:a") == []


async def test_the_form_starts_with_the_event_that_was_said_last(browser: Browser, rooms: Channels) -> None:
    await rooms.publish("room:a", "said", {})
    await browser.go("/room/new?topic=room:a")
    assert browser.form("/room/save")["event"] == "said"


@pytest.mark.parametrize(
    ("changes", "trouble", "field"),
    [
        ({"text": '{"n":'}, "This is not JSON", "text"),
        ({"text": "[1]"}, "A message is a JSON object", "text"),
        ({"text": '{"_holdfast": 1}'}, "reserved", "text"),
        ({"text": '{"x": "' + "x" * 66_000 + '"}'}, "over the 65536", "text"),
        ({"event": "phx_join"}, "protocol", "event"),
        ({"event": "x" * 300}, "255 bytes", "event"),
        ({"topic": "phoenix"}, "not phoenix", "topic"),
        ({"topic": ""}, "255 bytes", "topic"),
    ],
)
async def test_what_cannot_be_sent_says_why_and_nothing_typed_is_lost(
    browser: Browser, rooms: Channels, changes: dict[str, str], trouble: str, field: str
) -> None:
    await browser.go("/room/new?topic=room:a")
    fields = {"event": "said", "text": '{"n": 1}'} | changes
    await browser.send("/room/save", **fields)
    assert browser.page.status_code == 400
    assert trouble in browser.text
    assert re.search(rf'<(input|textarea) id="{field}"[^>]*aria-invalid="true"', browser.page.text)
    assert {name: browser.form("/room/save")[name] for name in fields} == fields
    assert [each async for each in rooms.topics()] == []


async def test_a_form_that_is_sent_twice_says_it_once(browser: Browser, rooms: Channels) -> None:
    await browser.go("/room/new?topic=room:a")
    fields = browser.form("/room/save") | {"event": "said", "text": '{"n": 1}'}
    for _ in range(2):
        await browser.client.post("/room/save", data=fields)
    assert len(await rooms.history("room:a")) == 1


async def test_a_change_over_somebody_elses_shows_both_and_is_then_a_decision(
    browser: Browser, rooms: Channels
) -> None:
    await rooms.publish("room:a", "said", {"n": 1}, id="x")
    await browser.go("/room/edit?topic=room:a&id=x")
    await rooms.edit("room:a", "x", {"n": 2})
    await browser.send("/room/save", text='{"n": 3}')
    assert browser.page.status_code == 409
    assert "Somebody else changed this message" in browser.text
    assert (await rooms.message("room:a", "x")).payload == {"n": 2}  # type: ignore[union-attr]
    assert browser.form("/room/save")["text"] == '{"n": 3}'
    await browser.send("/room/save")
    assert (await rooms.message("room:a", "x")).payload == {"n": 3}  # type: ignore[union-attr]


async def test_a_change_that_somebody_made_alike_is_no_conflict(browser: Browser, rooms: Channels) -> None:
    await rooms.publish("room:a", "said", {"n": 1}, id="x")
    await browser.go("/room/edit?topic=room:a&id=x")
    await rooms.edit("room:a", "x", {"n": 2})
    await browser.send("/room/save", text='{ "n": 2 }')
    assert "Changed." in browser.text


async def test_a_message_that_went_meanwhile_can_be_said_anew(browser: Browser, rooms: Channels) -> None:
    await rooms.publish("room:a", "said", {"n": 1}, id="x")
    await browser.go("/room/edit?topic=room:a&id=x")
    await rooms.remove("room:a", "x")
    await browser.send("/room/save", text='{"n": 2}')
    assert (browser.page.status_code, "This message is gone" in browser.text) == (409, True)
    await browser.send("/room/save")
    assert [each.payload for each in await rooms.history("room:a")] == [{"n": 2}]


@pytest.mark.parametrize("page", ["/room/edit", "/room/remove"])
@pytest.mark.parametrize("id", ["gone", "1~other", "no id", ""])
async def test_a_message_that_is_not_there_is_said_to_be_gone(browser: Browser, page: str, id: str) -> None:
    await browser.go(f"{page}?topic=room:a&id={id}")
    assert "That message is gone" in browser.text


async def test_a_history_is_forgotten_only_after_asking(browser: Browser, rooms: Channels) -> None:
    await fill(rooms, 3)
    await browser.go(ROOM)
    assert await follow(browser, "Forget history")
    assert "About 3 messages" in browser.text
    assert len(await rooms.history("room:a")) == 3
    await browser.send("/room/clear")
    assert "The history is forgotten." in browser.text
    assert await rooms.history("room:a") == []
    await browser.go("/room/clear?topic=room:a")
    assert "There is no history to forget." in browser.text


@pytest.mark.parametrize("action", ["/room/save", "/room/remove", "/room/clear", "/connections/close"])
async def test_a_form_that_did_not_come_from_here_does_nothing(
    browser: Browser, rooms: Channels, action: str
) -> None:
    await rooms.publish("room:a", "said", {"n": 1}, id="x")
    fields = {"room": "room:a", "topic": "room:a", "id": "x", "event": "said", "text": "{}", "number": "1"}
    for csrf in ({}, {"csrf": "guess"}):
        assert (await browser.client.post(action, data=fields | csrf)).status_code == 403
    assert [each.payload for each in await rooms.history("room:a")] == [{"n": 1}]


@pytest.mark.parametrize(
    "page", ["/rooms", "/room?topic=a", "/room/new", "/room/clear?topic=a", "/connections"]
)
async def test_whoever_is_not_signed_in_is_sent_to_the_door(browser: Browser, page: str) -> None:
    browser.client.cookies.clear()
    await browser.go(page)
    assert browser.page.url.path == "/sign-in"


@pytest.mark.parametrize("maybe", [True, False])
async def test_a_store_that_went_away_loses_no_text(
    browser: Browser, rooms: Channels, monkeypatch: pytest.MonkeyPatch, maybe: bool
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away", maybe_applied=maybe)

    await browser.go("/room/new?topic=room:a")
    monkeypatch.setattr(Channels, "publish", away)
    await browser.send("/room/save", event="said", text='{"n": 1}')
    assert browser.page.status_code == 503
    assert ("nobody can say" in browser.text) == maybe
    monkeypatch.undo()
    await browser.send("/room/save")
    assert [each.payload for each in await rooms.history("room:a")] == [{"n": 1}]


async def test_what_was_written_outlives_the_session(browser: Browser, rooms: Channels) -> None:
    await browser.go("/room/new?topic=room:a")
    form = browser.form("/room/save")
    cookies = dict(browser.client.cookies)
    browser.client.cookies.clear()
    browser.page = await browser.client.post("/room/save", data=form | {"event": "said", "text": '{"n": 1}'})
    assert (browser.page.status_code, "Your session has ended" in browser.text) == (401, True)
    assert browser.form("/sign-in")["text"] == '{"n": 1}'
    assert "csrf" not in browser.form("/sign-in")
    await browser.send("/sign-in", token=TOKEN)
    assert "what you wrote is below" in browser.text
    assert await rooms.history("room:a") == []
    await browser.send("/room/save")
    assert [each.payload for each in await rooms.history("room:a")] == [{"n": 1}]
    assert cookies


# --- connections ---


async def test_connections_are_listed_and_closed_one_by_one(browser: Browser, rooms: Channels) -> None:
    await browser.go("/connections")
    assert "Nobody is connected" in browser.text
    async with (
        ChannelClient(rooms, user=User("ada <b>")) as ada,
        ChannelClient(rooms) as nobody,
        ChannelClient(rooms, user=User("bob")) as bob,
    ):
        for name in "abcdefg":
            await ada.join(f"chat_room:{name}")
        await browser.go("/connections")
        assert (
            "ada <b> chat_room:a , chat_room:b , chat_room:c , chat_room:d , chat_room:e and 2 more"
            in browser.text
        )
        assert "nobody in particular none" in browser.text
        await browser.go("/connections?user=bob")
        assert "1 of such a user" in browser.text
        fields = browser.form("/connections/close")
        browser.page = await browser.client.post("/connections/close", data=fields)
        assert "Closed." in browser.text
        assert (ada.closed, nobody.closed, bob.closed) == (None, None, 1001)
        browser.page = await browser.client.post("/connections/close", data=fields)
        assert "had ended already" in browser.text
        browser.page = await browser.client.post("/connections/close", data=fields | {"number": "x"})
        assert "had ended already" in browser.text


async def test_a_connection_of_another_worker_is_not_taken_for_one_of_this(
    browser: Browser, rooms: Channels
) -> None:
    async with ChannelClient(rooms, user=User("ada")) as ada:
        await browser.go("/connections")
        fields = browser.form("/connections/close")
        browser.page = await browser.client.post("/connections/close", data=fields | {"process": "another"})
        assert browser.page.status_code == 409
        assert "Another worker has this connection" in browser.text
        _, again = Forms(browser.page.text).forms[-1]
        assert again == fields | {"process": "another"}
        assert ada.closed is None


async def test_many_connections_are_paged(browser: Browser, rooms: Channels) -> None:
    clients = [ChannelClient(rooms, user=User(f"user{n:03}")) for n in range(120)]
    for client in clients:
        await client.__aenter__()
    try:
        await browser.go("/connections")
        seen = re.findall(r"<bdi>(user\d+)</bdi>", browser.page.text)
        assert await follow(browser, "Next page")
        seen += re.findall(r"<bdi>(user\d+)</bdi>", browser.page.text)
        assert seen == [f"user{n:03}" for n in range(120)]
    finally:
        for client in clients:
            await client.disconnect()


# --- the overview, and servers that are not like this one ---


async def test_the_overview_has_the_figures_of_rooms(browser: Browser, rooms: Channels) -> None:
    async with ChannelClient(rooms) as client:
        await client.join("chat_room:a")
        await browser.go("/")
        assert re.search(r"Connections 1 .*Rooms with members 1 ", browser.text)
        figures = (await browser.client.get("/live.json")).json()
        assert (figures["connections"], figures["topics"], figures["unread"]) == (1, 1, "0 bytes")
        assert "heard" in figures
        assert "said" in figures


async def test_figures_of_one_process_say_so_where_there_are_several(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path}/s.db", token=TOKEN, chat=True, workers=4)
    async with serving(settings) as client:
        browser = Browser(client)
        await browser.sign_in()
        await app_of(client).state.channels.publish("room:a", "said", {})
        for page in ("/", "/rooms", ROOM, "/connections"):
            await browser.go(page)
            assert re.search(r"worker \d+ ?,? (one )?of 4", browser.text), page


async def test_without_the_chat_rooms_are_read_and_nobody_is_counted(tmp_path: Path) -> None:
    async with serving(Settings(store=f"sqlite:///{tmp_path}/s.db", token=TOKEN)) as client:
        browser = Browser(client)
        await browser.sign_in()
        await app_of(client).state.channels.publish("room:a", "said", {"n": 7})
        await browser.go("/rooms")
        assert "room:a" in browser.text
        assert "here" not in browser.text.replace("Who is in", "")
        assert 'href="/connections"' not in browser.page.text
        await browser.go(ROOM)
        assert numbers(browser) == [7]
        await browser.go("/connections")
        assert "This server serves no sockets" in browser.text
        assert "connections" not in (await client.get("/live.json")).json()


async def test_a_store_that_cannot_have_channels_has_no_rooms_in_its_dashboard() -> None:
    settings = Settings(store="redis+cluster://localhost:1", token=TOKEN)
    async with serving(settings, persist=Persist("memory://")) as client:
        browser = Browser(client)
        await browser.sign_in()
        await browser.go("/")
        assert "/rooms" not in browser.page.text
        assert (await browser.go("/rooms")).status_code == 404
        metrics = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert "holdfast_channels" not in metrics.text


async def test_a_store_whose_tables_for_rooms_nobody_made_serves_values_and_says_what_helps(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    await Persist(url).migrate()
    async with serving(Settings(store=url, token=TOKEN, auto_migrate=False)) as client:
        assert app_of(client).state.channels is None
        browser = Browser(client)
        await browser.sign_in()
        assert 'href="/rooms"' not in browser.page.text
        assert (await browser.go("/rooms")).status_code == 503
        assert "holdfast migrate" in browser.text


async def test_below_a_root_path_everything_stays_there(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path}/s.db", token=TOKEN, chat=True, root_path="/store")
    async with serving(settings, base="http://localhost:8000/store") as client:
        browser = Browser(client)
        await browser.sign_in()
        await app_of(client).state.channels.publish("room:a", "said", {})
        for page in ("rooms", "room?topic=room:a", "room/new", "connections"):
            await browser.go(page)
            assert browser.page.status_code == 200, page
            links = re.findall(r'(?:href|action|src)="(/[^"]*)"', browser.page.text)
            assert links
            assert all(link.startswith("/store/") for link in links), page
