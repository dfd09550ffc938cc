"""Two processes' worth of `Channels` on one store, and a client whose requests go to either."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from tests.unit.channels.transports.lab import Browser, Room

from holdfast.channels import Channels, notes
from holdfast.channels.transports import relay
from holdfast.channels.transports.longpoll import LongPoll

WINDOW = 1.0
JOIN = '["1","1","room:a","phx_join",{}]'
HEARTBEAT = '[null,"9","phoenix","heartbeat",{}]'


class Pair:
    """`here` has the session; `there` is the other process."""

    def __init__(self, here: Channels, there: Channels) -> None:
        self.channels = here, there
        self.polls = LongPoll(here, window=WINDOW), LongPoll(there, window=WINDOW)
        self.here, self.there = map(Browser, self.polls)

    async def begin(self) -> None:
        await self.here.get()
        self.there.token = self.here.token


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(Channels(f"sqlite:///{tmp_path}/app.db", [Room]))
            for _ in range(2)
        ]
        yield Pair(*both)


async def test_requests_may_arrive_at_either_process(pair: Pair) -> None:
    await pair.begin()
    assert (await pair.there.post(JOIN, '["1","2","room:a","say",{"n":"\u00e9"}]')).said == {"status": 200}
    heard = await pair.there.hear(3)
    assert [each[3] for each in heard] == ["phx_reply", "said", "phx_reply"]
    assert heard[1][4]["n"] == "\u00e9"
    await pair.channels[1].publish("room:a", "said", {"n": 2})
    (said,) = await pair.here.hear(1)
    assert said[4]["n"] == 2
    assert len(pair.channels[0].hub.sockets) == 1
    assert not pair.channels[1].hub.sockets


async def test_a_poll_elsewhere_waits_for_what_comes(pair: Pair) -> None:
    await pair.begin()
    polling = asyncio.ensure_future(pair.there.hear(1))
    await pair.here.post(HEARTBEAT)
    (heard,) = await polling
    assert heard[1] == "9"


async def test_a_poll_elsewhere_that_nothing_comes_for_says_so(pair: Pair) -> None:
    await pair.begin()
    assert (await pair.there.get()).said == {"status": 204, "token": pair.here.token, "messages": []}


async def test_a_forged_token_is_not_honoured_elsewhere_either(pair: Pair) -> None:
    await pair.begin()
    node, id, _ = (pair.here.token or "").split(".")
    pair.there.token = f"{node}.{id}.{'A' * 43}"
    assert (await pair.there.post(HEARTBEAT)).said == {"status": 410}
    assert (await pair.there.get()).said == {"status": 500}


async def test_a_process_that_is_dead_does_not_answer_and_the_client_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.begin()
    pair.channels[0].hub.relayed = None
    pair.polls[1]._relay._patience = 0.05
    assert (await pair.there.post(HEARTBEAT)).said == {"status": 410}
    assert (await pair.there.get()).said == {"status": 500}
    assert not pair.polls[1]._relay._waiting


async def test_requests_under_way_for_others_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.begin()
    monkeypatch.setattr(relay, "MAX_RELAYED", 1)
    polling = asyncio.ensure_future(pair.there.get())
    while not pair.polls[1]._relay._waiting:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    assert (await pair.there.post(HEARTBEAT)).said == {"status": 410}
    assert pair.polls[1]._relay._numbers == 1, "it was asked all the same"
    assert (await polling).status == 204


async def test_a_body_that_no_note_has_room_for_is_refused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.begin()
    monkeypatch.setattr(relay, "MAX_BODY", 10)
    assert (await pair.there.post(HEARTBEAT)).said == {"status": 410}
    assert (await pair.here.post(HEARTBEAT)).said == {"status": 200}


async def test_notes_for_others_and_of_other_versions_are_nobody_s_here(pair: Pair) -> None:
    await pair.begin()
    hub = pair.channels[0].hub

    def note(*says: object) -> notes.Note:
        found = notes.read(notes.write(notes.RELAY, "elsewhere", *says))
        assert found is not None
        return found

    tasks = asyncio.all_tasks()
    for each in (
        note(True, ["somebody else", 1, "token", True]),
        note(False, [hub.node, 77, 200, []]),
        note(False, ["somebody else", 1, 200, []]),
        note({"new": "shape"}),
        note(True, {"new": "shape"}),
    ):
        hub.hearing.sent(hub.control, msgspec.json.encode(each))
    assert asyncio.all_tasks() == tasks
    waiting = pair.polls[0]._relay._waiting[1] = asyncio.get_running_loop().create_future()
    hub.hearing.sent(hub.control, msgspec.json.encode(note(False, ["somebody else", 1, 200, []])))
    assert not waiting.done()
    hub.hearing.sent(hub.control, msgspec.json.encode(note(False, [hub.node, 1, 200, []])))
    assert waiting.result().status == 200


async def test_a_store_for_one_process_asks_nobody() -> None:
    async with Channels("memory://", [Room]) as channels:
        poll = LongPoll(channels, window=WINDOW)
        browser = Browser(poll)
        browser.token = f"{'x' * 12}.{'y' * 22}.{'z' * 43}"
        assert (await browser.post(HEARTBEAT)).said == {"status": 410}
        assert poll._relay._numbers == 0
