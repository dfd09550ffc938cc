"""The writing half of a plain socket, on `send`s that return at once, later, never, and by raising."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.unit.channels.transports.lab import SECONDS, Room

from holdfast import events
from holdfast.channels import Channels, Limits, stepping
from holdfast.channels.protocol import Frame
from holdfast.channels.transports import writer
from holdfast.channels.transports.writer import Writing

named: contextvars.ContextVar[str] = contextvars.ContextVar("named", default="nobody")


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    async with Channels("memory://", [Room], limits=Limits(unread=1000)) as channels:
        yield channels


class Server:
    """Its `send` waits for `gate` where there is one."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gate: asyncio.Event | None = None
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.names: list[str] = []
        self.error: Exception | None = None

    async def send(self, message: Any) -> None:
        self.tasks.append(asyncio.current_task())
        self.names.append(named.get())
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate.wait()
            self.tasks.append(asyncio.current_task())
        self.sent.append(message.get("text") or message.get("bytes") or message["code"])


async def begun(channels: Channels, send: Callable[[Any], Awaitable[None]]) -> Writing:
    """A socket whose task waits for something to do."""
    socket = Writing(channels.hub, None, send)
    channels.hub.admit(socket)
    await until(lambda: socket._idle)
    return socket


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():  # noqa: ASYNC110 - each turn of the loop is looked at
            await asyncio.sleep(0)


def frames(*texts: str) -> list[Frame]:
    return [Frame(text.encode()) for text in texts]


async def test_what_a_server_takes_at_once_is_sent_before_send_all_returns(channels: Channels) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    socket.send_all([*frames("a", "b"), Frame(b"\0c", binary=True)])
    assert server.sent == ["a", "b", b"\0c"]
    await socket._stop()


async def test_what_is_sent_before_the_task_runs_is_sent_all_the_same(channels: Channels) -> None:
    server = Server()
    socket = Writing(channels.hub, None, server.send)
    socket.send_all(frames("a"))
    socket.send_all(frames("b"))
    assert server.sent == []
    await until(lambda: server.sent == ["a", "b"])
    await socket._stop()


async def test_order_is_kept_when_a_send_has_to_wait(channels: Channels) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    socket.send_all(frames("a"))
    server.gate = asyncio.Event()
    socket.send_all(frames("b", "c"))
    socket.send_all(frames("d"))
    assert server.sent == ["a"]
    assert socket.unread == len("cd")
    server.gate.set()
    await until(lambda: socket._idle)
    server.gate = None
    socket.send_all(frames("e"))
    assert server.sent == ["a", "b", "c", "d", "e"]
    assert socket.unread == 0
    await socket._stop()


async def test_a_send_runs_in_the_writer_s_task_from_beginning_to_end(channels: Channels) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    me = asyncio.current_task()
    server.gate = asyncio.Event()
    socket.send_all(frames("a"))
    assert asyncio.current_task() is me
    server.gate.set()
    await until(lambda: server.sent)
    asyncio.get_running_loop().call_soon(socket.send_all, frames("b"))  # where there is no task
    await until(lambda: len(server.sent) == 2)
    assert set(server.tasks) == {socket._task}
    await socket._stop()


@pytest.mark.parametrize("seconds", [0.01, 0])
async def test_a_timeout_inside_a_send_ends_that_send_and_nothing_else(
    channels: Channels, seconds: float
) -> None:
    ended = asyncio.Event()
    never = asyncio.Event()

    async def send(message: Any) -> None:
        try:
            async with asyncio.timeout(seconds):
                await never.wait()
        except TimeoutError:
            ended.set()

    socket = await begun(channels, send)
    async with asyncio.timeout(SECONDS):  # it would be this one's task that is cancelled
        socket.send_all(frames("a"))
        await ended.wait()
    ended.clear()
    socket.send_all(frames("b"))
    async with asyncio.timeout(SECONDS):
        await ended.wait()
    assert not socket._task.done()
    await socket._stop()


async def test_a_send_sees_the_variables_of_its_connection_not_of_who_sends(channels: Channels) -> None:
    server = Server()
    named.set("connection")
    socket = await begun(channels, server.send)
    named.set("sender")
    socket.send_all(frames("a"))
    server.gate = asyncio.Event()
    server.gate.set()
    socket.send_all(frames("b"))
    assert server.names == ["connection", "connection"]
    await socket._stop()


async def test_a_server_whose_send_is_no_coroutine_is_waited_for(channels: Channels) -> None:
    waiting: list[tuple[str, asyncio.Future[None]]] = []

    def send(message: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        waiting.append((message["text"], future))
        return future

    socket = await begun(channels, send)
    socket.send_all(frames("a", "b"))
    assert [text for text, _ in waiting] == ["a"]
    waiting[0][1].set_result(None)
    await until(lambda: len(waiting) == 2)
    waiting[1][1].set_result(None)
    await until(lambda: socket._idle)
    socket.send_all(frames("c"))
    assert [text for text, _ in waiting] == ["a", "b", "c"]
    await socket._stop()


async def test_a_send_that_waits_for_nothing_in_particular_goes_on(channels: Channels) -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sent.append(message["text"])

    socket = await begun(channels, send)
    socket.send_all(frames("a", "b"))
    await until(lambda: sent == ["a", "b"])
    await socket._stop()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_connection_that_cannot_be_written_to_is_lost(channels: Channels, waits: bool) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    if waits:
        server.gate = asyncio.Event()
        socket.send_all(frames("a", "b"))
        server.error = OSError("it is gone")
        server.gate.set()
    else:
        server.error = RuntimeError("transport closed")
        socket.send_all(frames("a"))
        socket.send_all(frames("b"))
    await until(lambda: socket.closed and socket._task.done())
    assert len(server.sent) == waits
    assert socket not in channels.hub.sockets


async def test_a_reader_that_is_too_slow_is_let_go_and_nobody_waits(channels: Channels) -> None:
    heard: list[Any] = []
    stop = events.subscribe(heard.append)
    server = Server()
    socket = await begun(channels, server.send)
    server.gate = asyncio.Event()
    socket.send_all(frames("first"))
    socket.send_all(frames("x" * 600))
    assert channels.counts().dropped == 0
    assert socket.unread == 600
    socket.send_all(frames("y" * 600))
    stop()
    assert channels.counts().dropped == 1
    assert heard == [events.ReaderDropped(1200)]
    assert socket.unread == 0
    assert not socket.closed  # not within the room's turn
    await until(lambda: socket.closed)
    socket.send_all(frames("z"))
    server.gate.set()
    await until(socket._task.done)
    assert server.sent == ["first", 1013]


async def test_frames_are_counted_too_however_small(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_FRAMES", 10)
    server = Server()
    socket = await begun(channels, server.send)
    server.gate = asyncio.Event()
    socket.send_all(frames(*"abcdefghijk"))
    assert channels.counts().dropped == 0
    socket.send_all(frames("l"))
    assert channels.counts().dropped == 1
    await socket._stop()


async def test_a_send_that_does_not_return_is_given_up(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.02)
    monkeypatch.setattr(writer, "CLOSING", 0.02)
    server = Server()
    socket = await begun(channels, server.send)
    server.gate = asyncio.Event()
    socket.send_all(frames("a"))
    await until(lambda: socket.closed and socket._task.done())
    assert server.sent == []
    assert channels.counts().dropped == 1


async def test_a_slow_server_that_gets_on_is_not_given_up(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.05)
    looked: list[int] = []
    look = Writing._look
    monkeypatch.setattr(Writing, "_look", lambda self, sent: (looked.append(sent), look(self, sent)))

    async def send(message: Any) -> None:
        await asyncio.sleep(0.002)

    socket = await begun(channels, send)

    async with asyncio.timeout(SECONDS):
        while len(looked) < 3:
            socket.send_all(frames("a"))
            await until(lambda: socket._idle)
    assert channels.counts().dropped == 0
    await socket._stop()


async def test_what_was_sent_goes_before_the_close(channels: Channels) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    server.gate = asyncio.Event()
    socket.send_all(frames("a", "b"))
    socket.close(1001, "expired")
    socket.close(1002, "again")
    socket.send_all(frames("c"))
    server.gate.set()
    await until(socket._task.done)
    assert server.sent == ["a", "b", 1001]


@pytest.mark.parametrize("busy", [False, True])
async def test_lost_is_called_once_after_a_close_in_any_state(channels: Channels, busy: bool) -> None:
    server = Server()
    socket = await begun(channels, server.send)
    forgotten: list[Any] = []
    channels.hub.forget = forgotten.append  # type: ignore[method-assign]
    if busy:
        server.gate = asyncio.Event()
        socket.send_all(frames("a"))
    socket.close(1001)
    assert forgotten == []
    await until(lambda: socket.closed)
    socket.close(1012)
    socket.lost()
    if server.gate is not None:
        server.gate.set()
    await until(socket._task.done)
    assert forgotten == [socket]


async def test_a_close_that_the_server_does_not_take_is_left(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CLOSING", 0.02)
    server = Server()
    socket = await begun(channels, server.send)
    server.gate = asyncio.Event()
    socket.close(1001)
    await until(socket._task.done)
    assert server.sent == []


async def test_a_reason_is_cut_to_what_a_close_frame_can_hold(channels: Channels) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    socket = await begun(channels, send)
    socket.close(1007, "\u00e9" * 100)
    await until(socket._task.done)
    assert said[0]["reason"] == "\u00e9" * 61


async def test_as_many_drivers_as_were_needed_at_one_time_are_used_again(channels: Channels) -> None:
    server = Server()
    sockets = [await begun(channels, server.send) for _ in range(5)]
    server.gate = asyncio.Event()
    for socket in sockets:
        socket.send_all(frames("a"))
    server.gate.set()
    await until(lambda: all(socket._idle for socket in sockets))
    there = len(stepping._spare)
    assert there >= 5
    for socket in sockets:
        socket.send_all(frames("b"))
    await until(lambda: all(socket._idle for socket in sockets))
    assert len(stepping._spare) == there
    for socket in sockets:
        await socket._stop()
