"""Whose turn it is: due documents are claimed and processed, many at once, few of one host.

A source that never answers holds one of many places, and one of the two of its
host, until its deadline. What is due of a host that has no place free waits in
hand, a little of it; the rest goes back and is due again in a while. So
neither memory nor anybody else's turn depends on how much one host has queued.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from holdfast.errors import StoreError
from holdfast.webmention.driver import Document
from holdfast.webmention.inbox import Inbox, held_of, netloc

__all__ = ["AT_ONCE", "LEASE", "PER_HOST", "Workers"]

AT_ONCE = 32
PER_HOST = 2
IN_HAND = 16  # claimed of one host and waiting for its place
LEASE = 120.0  # seconds; above what one may wait in hand, and then need
PATIENCE = 60.0  # seconds in hand after which a claim is let go: its lease is no longer sure to last
LOOK = 1.0  # seconds after which, while some are under way, it is asked whether others are due
PUT_BACK = 10.0  # seconds at least
PUT_BACK_LONGEST = 600.0
A_LOT = 200  # put back of one host, from which on they wait longer: thousands would be written all the time
GOODBYE = 2.0  # seconds for giving back what was claimed

Process: TypeAlias = Callable[[Document], Awaitable[None]]


class Workers:
    """Runs `process` over what is due. One `run` at a time does all; several share the places."""

    def __init__(
        self, inbox: Inbox, process: Process, *, at_once: int = AT_ONCE, per_host: int = PER_HOST
    ) -> None:
        self._inbox, self._process = inbox, process
        self._at_once, self._per_host = at_once, per_host
        # INVARIANT: a document is in `_busy` while a task of this process looks at it, and its host is counted.
        self._busy: set[str] = set()
        self._hosts: Counter[str] = Counter()

    async def run(self, limit: int | None = None) -> int:
        """Process what is due until nothing is, at most `limit`; how many.

        A failing store ends it, once what is under way has ended: leases run
        out, and nothing is lost. Cancelled, it gives back what is under way,
        so that whoever comes next need not wait for the leases.
        """
        turn = _Turn(self, limit)
        try:
            await turn.go()
        finally:
            await turn.end()
        if turn.error is not None:
            raise turn.error
        return turn.done

    # What follows is for turns.

    @property
    def room(self) -> int:
        return self._at_once - len(self._busy)

    def is_busy(self, ident: str) -> bool:
        return ident in self._busy

    def has_place(self, host: str) -> bool:
        return self._hosts[host] < self._per_host

    async def claim(self, limit: int) -> list[Document]:
        return await self._inbox.driver.claim(self._inbox.kind, lease=round(LEASE * 1000), limit=limit)

    async def put_back(self, document: Document, before: int = 0) -> None:
        """Due again in a while; a longer one the more of its host were put back before."""
        wait = min(PUT_BACK * (1 + before // A_LOT), PUT_BACK_LONGEST)
        at = self._inbox.now() + wait * (1 + random.random())
        await self._inbox.put(msgspec.structs.replace(held_of(document), next_at=at), expect=document.version)

    async def release(self, documents: Sequence[Document]) -> None:
        """Let others have them now; whoever changed one meanwhile has decided when it is due."""
        try:
            async with asyncio.timeout(GOODBYE):
                for document in documents:
                    await self._inbox.put(held_of(document), expect=document.version)
        except (StoreError, TimeoutError):
            pass  # their leases end

    def start(self, document: Document, host: str) -> asyncio.Task[None]:
        self._busy.add(document.id)
        self._hosts[host] += 1
        task = asyncio.ensure_future(self._one(document))
        task.add_done_callback(lambda _: self._ended(document.id, host))
        return task

    async def _one(self, document: Document) -> None:
        await self._process(document)

    def _ended(self, ident: str, host: str) -> None:
        self._busy.discard(ident)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]


class _Turn:
    """One `run`: what it holds in hand, and what it has under way."""

    def __init__(self, workers: Workers, limit: int | None) -> None:
        self._workers, self._limit = workers, limit
        self._running: dict[asyncio.Task[None], Document] = {}
        self._hand: dict[str, deque[tuple[Document, float]]] = {}
        self._put_back: Counter[str] = Counter()  # by host, while it has some in hand
        self.done = 0
        self.error: BaseException | None = None

    async def go(self) -> None:
        while True:
            claimed = 0 if self.error is not None else await self._filled()
            if not self._running:
                if claimed == 0 or self.error is not None:
                    break
                continue
            ended, _ = await asyncio.wait(self._running, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            self._collect(ended)
        for document in self._in_hand():  # another run has the places of these hosts
            await self._workers.put_back(document)
        self._hand.clear()

    async def end(self) -> None:
        """Leave nothing running, and nothing claimed."""
        for task in self._running:
            task.cancel()
        left = self._in_hand()
        if self._running:
            ended, _ = await asyncio.wait(self._running)
            left += [self._running[task] for task in ended if task.cancelled()]
            self._collect(ended)
        if left:
            await self._workers.release(left)

    def _in_hand(self) -> list[Document]:
        return [document for waiting in self._hand.values() for document, _ in waiting]

    async def _filled(self) -> int:
        try:
            return await self._fill()
        except StoreError as exc:  # what is under way ends first
            self.error = exc
            return 0

    async def _fill(self) -> int:
        """Give every free place to somebody; how many were claimed anew."""
        self._from_hand()
        total = 0
        while (room := min(self._workers.room, self._left())) > 0:
            documents = await self._workers.claim(room)
            for document in documents:
                await self._place(document)
            total += len(documents)
            if len(documents) < room:
                break
        return total

    def _left(self) -> int:
        if self._limit is None:
            return self._workers.room
        return self._limit - self.done - len(self._running) - sum(map(len, self._hand.values()))

    async def _place(self, document: Document) -> None:
        if self._workers.is_busy(document.id):
            return  # who looks at it sees at the end that it was asked for again
        try:
            host = netloc(held_of(document).mention.source_url)
        except Exception as exc:  # noqa: BLE001 - told once the others are done
            self.error = self.error or exc
            return
        if self._workers.has_place(host):
            self._start(document, host)
        elif len(self._hand.setdefault(host, deque())) < IN_HAND:
            self._hand[host].append((document, time.monotonic()))
        else:
            self._put_back[host] += 1
            await self._workers.put_back(document, self._put_back[host])

    def _from_hand(self) -> None:
        for host in list(self._hand):
            waiting = self._hand[host]
            while waiting and self._workers.room > 0 and self._workers.has_place(host):
                document, since = waiting.popleft()
                if time.monotonic() - since < PATIENCE and not self._workers.is_busy(document.id):
                    self._start(document, host)
            if not waiting:
                del self._hand[host]
                self._put_back.pop(host, None)

    def _start(self, document: Document, host: str) -> None:
        self._running[self._workers.start(document, host)] = document

    def _collect(self, ended: set[asyncio.Task[None]]) -> None:
        for task in ended:
            del self._running[task]
            if task.cancelled():
                continue
            self.done += 1
            failed = task.exception()
            if failed is not None:
                self.error = self.error or failed
