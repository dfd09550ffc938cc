import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.channels.transports.lab import SECONDS, Room

from holdfast import events
from holdfast.channels import Channels, Limits, protocol
from holdfast.channels.protocol import Frame
from holdfast.channels.transports import sessions as sessions_file
from holdfast.channels.transports.sessions import Session, Sessions

WINDOW = 0.05


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    async with Channels("memory://", [Room], limits=Limits(unread=1000)) as channels:
        yield Sessions(channels.hub, WINDOW)


def long(channels: Sessions) -> Sessions:
    channels.window = 60.0
    return channels


def frames(*texts: str) -> list[Frame]:
    return [Frame(text.encode()) for text in texts]


async def waiting(session: Session) -> asyncio.Future[tuple[int, list[str]]]:
    """A poll that has nothing to deliver yet."""
    task = asyncio.ensure_future(session.poll())
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def until_gone(sessions: Sessions) -> None:
    async with asyncio.timeout(SECONDS):
        while len(sessions):  # noqa: ASYNC110 - the loop's clock decides
            await asyncio.sleep(0.001)


async def test_a_poll_gets_what_waits_in_order_and_once(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    session.send_all(frames("a", "b"))
    session.send_all([*frames("c"), protocol.binary_broadcast("t", "e", b"\0")])
    assert session.unread > 3
    status, messages = await session.poll()
    assert (status, messages[:3], len(messages)) == (200, ["a", "b", "c"], 4)
    assert "base64" in messages[3]
    assert session.unread == 0
    task = await waiting(session)
    session.send_all(frames("d"))
    assert await task == (200, ["d"])


async def test_a_poll_that_nothing_comes_for_says_so_after_the_window(sessions: Sessions) -> None:
    session = sessions.make(None, None)
    assert await session.poll() == (204, [])


async def test_a_second_poll_takes_the_place_of_the_first(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    first = await waiting(session)
    second = await waiting(session)
    assert await first == (204, [])
    session.send_all(frames("a"))
    assert await second == (200, ["a"])


async def test_a_poll_that_is_cancelled_takes_nothing_with_it(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    first = await waiting(session)
    session.send_all(frames("a"))
    first.cancel()
    await asyncio.wait({first})
    assert await session.poll() == (200, ["a"])


async def test_a_session_that_is_not_polled_ends(sessions: Sessions) -> None:
    session = sessions.make(None, "192.0.2.1")
    token = sessions.token(session)
    session.send_all(frames("a"))
    await until_gone(sessions)
    await asyncio.sleep(0)
    assert session.closed
    assert sessions.find(token) is None
    assert not sessions.hub.sockets


async def test_a_session_that_is_polled_lives(sessions: Sessions) -> None:
    session = sessions.make(None, None)
    for _ in range(4):
        await session.poll()
    assert not session.ended
    assert sessions.find(sessions.token(session)) is session


async def test_a_poll_that_waits_is_no_absence(sessions: Sessions) -> None:
    session = sessions.make(None, None)
    await asyncio.sleep(1.2 * WINDOW)
    assert await session.poll() == (204, [])  # longer than the absence may have lasted
    assert not session.ended


async def test_what_waits_when_it_is_closed_is_fetched_before_it_is_gone(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    session.send_all(frames("a"))
    session.close(1001, "expired")
    session.close(1002)
    session.send_all(frames("b"))
    assert not session.closed
    await asyncio.sleep(0)
    assert session.closed
    assert await session.poll() == (200, ["a"])
    assert len(sessions) == 0
    assert await session.poll() == (410, [])


async def test_what_nobody_fetches_of_a_closed_session_is_forgotten(sessions: Sessions) -> None:
    session = sessions.make(None, None)
    session.send_all(frames("a"))
    session.close(1001)
    assert len(sessions) == 1
    await until_gone(sessions)


async def test_a_poll_that_waits_hears_of_the_end(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    task = await waiting(session)
    session.close(1012)
    assert await task == (410, [])
    assert len(sessions) == 0


async def test_a_client_that_does_not_fetch_is_let_go(sessions: Sessions) -> None:
    heard: list[Any] = []
    stop = events.subscribe(heard.append)
    session = long(sessions).make(None, None)
    session.send_all(frames("x" * 600))
    assert not session.ended
    session.send_all(frames("x" * 600))
    stop()
    assert heard == [events.ReaderDropped(1200)]
    assert sessions.hub.counts.dropped == 1
    assert session.ended
    assert session.unread == 0
    assert len(sessions) == 0


async def test_messages_are_counted_too_however_small(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_file, "MAX_QUEUE", 3)
    session = long(sessions).make(None, None)
    session.send_all(frames("a", "b", "c"))
    assert not session.ended
    session.send_all(frames("d"))
    assert session.ended


async def test_an_answer_is_bounded_and_the_rest_is_for_the_next(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_file, "MAX_ANSWER", 10)
    session = long(sessions).make(None, None)
    session.send_all(frames("x" * 8, "y" * 8, "z" * 8))
    assert await session.poll() == (200, ["x" * 8, "y" * 8])
    assert session.unread == 8
    assert await session.poll() == (200, ["z" * 8])


async def test_a_client_that_may_not_be_read_is_not(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    heartbeat = b'[null,"9","phoenix","heartbeat",{}]'
    session.pause()
    sessions.window = WINDOW
    assert await session.post(heartbeat, True) == 408
    assert await session.post(heartbeat, True) == 408
    assert session.unread == 0
    long(sessions)
    posting = asyncio.ensure_future(session.post(heartbeat, True))
    await asyncio.sleep(0)
    session.resume()
    assert await posting == 200
    assert session.unread > 0


async def test_a_paused_session_that_is_closed_answers(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    session.pause()
    posting = asyncio.ensure_future(session.post(b"[]", True))
    await asyncio.sleep(0)
    session.close(1001)
    assert await posting == 410


async def test_a_token_is_of_this_process_this_session_and_nobody_else_s_making(sessions: Sessions) -> None:
    session = long(sessions).make(None, None)
    other = sessions.make(None, None)
    token = sessions.token(session)
    assert sessions.find(token) is session
    node, id, signature = token.split(".")
    assert node == sessions.hub.node
    for forged in (
        f"{node}.{other.id}.{signature}",
        f"{'x' * 12}.{id}.{signature}",
        f"{node}.{id}.{'A' * 43}",
        f"{node}.{id}",
        f"{node}.{id}.{signature}.x",
        f"{node}.{id}.\u00e9{signature[1:]}",
        "",
        "..",
    ):
        assert sessions.find(forged) is None
    assert Sessions(sessions.hub, WINDOW).find(token) is None


async def test_sessions_of_one_address_are_bounded_and_counted(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_file, "PER_ADDRESS", 2)
    long(sessions)
    first = sessions.make(None, "192.0.2.1")
    sessions.make(None, "192.0.2.1")
    assert not sessions.has_room("192.0.2.1")
    assert sessions.has_room("192.0.2.2")
    assert sessions.has_room(None)
    first.close(1001)
    assert sessions.has_room("192.0.2.1")
