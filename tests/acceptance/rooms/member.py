"""Clients that come back: what each saw, in the order in which it saw it, over however many connections."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

__all__ = ["BEGINNING", "Kept", "Member", "Refused", "Reply", "all_until", "until"]

BEGINNING = "0~"
"""The position before a log that does not exist yet."""
FIRST_REST = 0.05
LONGEST_REST = 1.0
_decode = msgspec.json.Decoder(tuple[str | None, str | None, str, str, Any]).decode


class Kept(msgspec.Struct, frozen=True):
    """A kept message as a client saw it."""

    position: str
    id: str
    text: str


class Reply(msgspec.Struct, frozen=True):
    status: str
    response: Any


class Refused(AssertionError):
    """A join was answered with an error."""


class Member:
    """One client in one topic: joins with the position it saw last, and again whenever it is thrown out.

    `urls` are tried in turn. `seen` has the kept messages, `heard` everything
    else that came in the topic. A frame of the topic before the reply to its
    join, a history that was lost, and a position that came before are failures:
    `run` raises them.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        topic: str,
        name: str,
        *,
        since: str | None = BEGINNING,
        narrow: bool = False,
        **params: Any,
    ) -> None:
        self.urls = [urls] if isinstance(urls, str) else list(urls)
        self.topic = topic
        self.name = name
        self.params = params
        self.narrow = narrow  # little room on the way to it, so that it counts soon when it does not read
        self.position = since
        self.seen: list[Kept] = []
        self.heard: list[tuple[str, Any]] = []
        self.acknowledged: dict[str, str] = {}  # id: position
        self.replies: list[Reply] = []  # to joins
        self.refused = 0  # messages that could not be kept, or perhaps not
        self.codes: list[int | None] = []  # with which connections ended
        self.joined = asyncio.Event()
        self.changed = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self.ending = False
        self.ws: ClientConnection | None = None
        self._ref = 0
        self._join_ref: str | None = None
        self.asked: dict[str, asyncio.Future[Reply | None]] = {}  # by ref

    # --- its life ---

    async def run(self) -> None:
        """Until `end`; comes back from whatever ends a connection."""
        tries, rest = 0, FIRST_REST
        while not self.ending:
            url = self.urls[tries % len(self.urls)]
            tries += 1
            try:
                async with connect(
                    f"{url}/websocket?vsn=2.0.0&user={self.name}",
                    sock=await _narrow(url) if self.narrow else None,
                    max_queue=1 if self.narrow else 16,
                    compression=None,
                    ping_interval=None,
                    proxy=None,
                    max_size=None,
                    open_timeout=60,
                    close_timeout=5,
                ) as ws:
                    rest = FIRST_REST
                    await self._connected(ws)
            except (OSError, WebSocketException, TimeoutError, EOFError):
                await asyncio.sleep(rest * random.uniform(0.5, 1.5))
                rest = min(rest * 1.3, LONGEST_REST)
            finally:
                if self.ws is not None:
                    self.codes.append(self.ws.close_code)
                self._gone()

    async def _connected(self, ws: ClientConnection) -> None:
        self.ws = ws
        if self.ending:
            return
        await self.join()
        async for frame in ws:
            await self.reading.wait()
            self._take(frame)
            if self._join_ref is None:
                await self.join()

    async def join(self) -> None:
        """Say that it wants in, from where it was."""
        params = self.params if self.position is None else {"since": self.position, **self.params}
        ref = self._join_ref = self._next()
        await self._send(ref, "phx_join", params)

    async def _send(self, ref: str, event: str, payload: Any) -> None:
        assert self.ws is not None
        await self.ws.send(msgspec.json.encode([self._join_ref, ref, self.topic, event, payload]), text=True)

    def _next(self) -> str:
        self._ref += 1
        return str(self._ref)

    def _gone(self) -> None:
        self.ws = None
        self.joined.clear()
        self._join_ref = None
        asked, self.asked = self.asked, {}
        for each in asked.values():
            if not each.done():
                each.set_result(None)
        self.changed.set()

    async def end(self) -> None:
        """Go, for good."""
        self.ending = True
        self.reading.set()
        if self.ws is not None:
            await self.ws.close()

    # --- what comes in ---

    def _take(self, frame: str | bytes) -> None:
        join_ref, ref, topic, event, payload = _decode(frame)
        assert topic == self.topic, topic
        if join_ref is not None and join_ref != self._join_ref:
            return
        if ref is not None and event == "phx_reply" and ref == self._join_ref:
            self._admitted(Reply(**payload))
        elif event == "phx_reply" and ref in self.asked:
            asked = self.asked.pop(ref)
            if not asked.done():
                asked.set_result(Reply(**payload))
        elif event == "phx_error":
            self.joined.clear()
            self._join_ref = None
        else:
            assert self.joined.is_set(), f"{event} came before the reply to the join"
            self._told(event, payload)
        self.changed.set()

    def _admitted(self, reply: Reply) -> None:
        self.replies.append(reply)
        if reply.status != "ok":
            if reply.response == {"reason": "store unavailable"}:
                self._join_ref = None  # and again
                return
            raise Refused(reply)
        asked_for = self.position
        if "position" in reply.response:
            if asked_for is not None and not reply.response["recovered"]:
                raise AssertionError(f"{self.name}: since {asked_for}: {reply.response}")
            if asked_for is None:  # else what was missed follows, and says itself how far it goes
                self.position = reply.response["position"]
        self.joined.set()

    def _told(self, event: str, payload: Any) -> None:
        marks = payload.get("_holdfast")
        if event != "said" or marks is None:
            self.heard.append((event, payload))
            return
        kept = Kept(marks["position"], marks["id"], payload["text"])
        if self.seen:
            before, now = _offset(self.seen[-1].position), _offset(kept.position)
            assert now == before + 1, (
                f"{self.name}: {kept.position} after {self.seen[-1].position}; "
                f"connections ended {self.codes}, joined {self.replies[-2:]}"
            )
        self.seen.append(kept)
        self.position = kept.position

    # --- what it says ---

    async def ask(self, event: str, payload: Any) -> Reply | None:
        """Push and wait for the reply; None: the connection went meanwhile."""
        await self.joined.wait()
        ref = self._next()
        answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self.asked[ref] = answer
        try:
            await self._send(ref, event, payload)
        except WebSocketException:
            return None
        return await answer

    async def say(self, id: str, text: str) -> str:
        """Have it kept, however often that takes; its position."""
        while True:
            reply = await self.ask("say", {"id": id, "text": text})
            if reply is not None and reply.status == "ok":
                position: str = reply.response["position"]
                self.acknowledged[id] = position
                return position
            if reply is not None:
                self.refused += 1
                assert reply.response == {"reason": "store unavailable"}, reply
            await asyncio.sleep(0.02)

    async def until(self, so: Callable[[], bool], seconds: float = 30) -> None:
        """Until that is so, which can only change when something comes in."""
        async with asyncio.timeout(seconds):
            while not so():
                self.changed.clear()
                await self.changed.wait()


async def all_until(members: Iterable[Member], so: Callable[[Member], bool], seconds: float = 30) -> None:
    """Until that is so of each."""
    for member in members:
        await member.until(partial(so, member), seconds)


async def until(so: Callable[[], bool], seconds: float = 30) -> None:
    """Until that is so, for what no one event tells."""
    async with asyncio.timeout(seconds):
        while not so():  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0.005)


async def _narrow(url: str) -> socket.socket:
    """A connection with segments as on a network and a small window; loopback alone would take megabytes."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        made.setblocking(False)
        place = urlsplit(url)
        await asyncio.get_running_loop().sock_connect(made, (place.hostname, place.port))
    except BaseException:
        made.close()
        raise
    return made


def _offset(position: str) -> int:
    return int(position.partition("~")[0])
