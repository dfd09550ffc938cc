"""A long-poll request that came to another process than its session is in, and its way there and back.

Polls and posts of one client go wherever a load balancer, or the kernel between
workers of one port, sends them. Answering "gone" instead would ask every
deployment for sticky routing, which workers on one port cannot have; so the
process that got the request says so in a note to all, the one that is named
does it, and the answer comes back as another note.

A note may get lost: then the answer is missing when the time is up, the client
is told that its session is gone, and comes back with its position. Whatever
went with the lost answer is sent again from the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

from holdfast.channels import notes
from holdfast.channels.hub import Hub
from holdfast.errors import StoreError

__all__ = ["MAX_BODY", "MAX_RELAYED", "Asked", "Relay"]

MAX_RELAYED: Final = 1_000
"""Requests that one process has under way for others, or at others; one more is answered as if nobody were there."""
MAX_BODY: Final = 256 << 10
"""Bytes of a post that can be relayed: a note has room for a MiB, escaped."""
MARGIN: Final = 3.0
"""Seconds beyond the window that an answer may take."""


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """A request for the process `to`."""

    to: str
    number: int
    token: str
    post: bool
    body: str = ""
    lines: bool = False


class Answered(msgspec.Struct, array_like=True, frozen=True):
    """What came of it."""

    to: str
    number: int
    status: int
    messages: list[str]


Do: TypeAlias = Callable[[Asked], Awaitable[tuple[int, list[str]]]]
_asked = msgspec.json.Decoder(Asked)
_answered = msgspec.json.Decoder(Answered)


class Relay:
    """One process's end; `do` performs a request whose session is here."""

    def __init__(self, hub: Hub, window: float, do: Do) -> None:
        self._hub = hub
        self._patience = window + MARGIN
        self._do = do
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._doing = 0
        hub.relayed = self._hear

    async def ask(
        self, to: str, token: str, *, post: bool, body: bytes = b"", lines: bool = False
    ) -> tuple[int, list[str]]:
        """The other process's answer; 410 where there is none in time."""
        if not self._hub.shared or len(self._waiting) >= MAX_RELAYED or len(body) > MAX_BODY:
            return 410, []
        self._numbers += 1
        number = self._numbers
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._patience):
                await self._hub.listen()
                text = body.decode()
                await self._say(Asked(to, number, token, post, text, lines))
                answer = await waiting
            return answer.status, answer.messages
        except (TimeoutError, StoreError, UnicodeDecodeError):
            return 410, []
        finally:
            del self._waiting[number]

    async def _say(self, what: Asked | Answered) -> None:
        await self._hub.note(None, notes.RELAY, isinstance(what, Asked), what)

    def _hear(self, note: notes.Note) -> None:
        try:
            asks = msgspec.json.decode(note.first, type=bool)
            if asks:
                asked = _asked.decode(note.second)
                if asked.to == self._hub.node and self._doing < MAX_RELAYED:
                    self._doing += 1
                    self._hub.spawn(self._perform(note.node, asked), "holdfast channels relay")
                return
            answer = _answered.decode(note.second)
        except msgspec.MsgspecError:
            return  # of another version of ours
        waiting = self._waiting.get(answer.number)
        if answer.to == self._hub.node and waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _perform(self, back_to: str, asked: Asked) -> None:
        try:
            status, messages = await self._do(asked)
            await self._say(Answered(back_to, asked.number, status, messages))
        except StoreError as exc:
            self._hub.unavailable("relay", exc)  # whoever asked finds out by the clock
        finally:
            self._doing -= 1
