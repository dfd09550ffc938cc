"""The connection that comes back: what is sent while it is up, held while it is coming, refused while it is not.

==========  ===========================================================================
up          commands go to the wire at once, in the order of `send`
reaching    an attempt to connect is under way: commands wait, in order; where it fails
            they fail, `maybe_applied` false
resting     the time between two attempts (0.05 s, doubling to 2 s, jittered):
            commands fail at once, `maybe_applied` false
closed      before `open`, after `close`
==========  ===========================================================================

What was on the wire when a connection was lost fails with `maybe_applied` true
and is never sent again. A connection that did not live for a second counts as
an attempt that failed, so a server that accepts and refuses is not stormed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Self, TypeVar, cast

import hiredis
import msgspec
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast import events
from holdfast.engines.redis.address import Address, address_of
from holdfast.engines.redis.greeting import Server, introduced, wanted
from holdfast.engines.redis.listening import Ear, Listening, Lost
from holdfast.engines.redis.refusals import LEAVE, Refusal, as_error, connect_error, refusal_word
from holdfast.engines.redis.subscribed import SubscribedWire
from holdfast.engines.redis.wire import Flight, Wire
from holdfast.errors import (
    Closed,
    HoldfastError,
    Overloaded,
    StoreError,
    StoreUnavailable,
    again,
)
from holdfast.store import StoreURL

__all__ = ["RedisEngine", "Script", "pack"]

TIMEOUT: Final = 5.0
FIRST_REST: Final = 0.05
LONGEST_REST: Final = 2.0
STEADY: Final = 1.0  # seconds a connection must live to have been one
MAX_WAITING: Final = 4096  # flights that may wait for a connection or for the socket

_W = TypeVar("_W", bound=Wire)

pack = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", hiredis.pack_command)
"""One command as bytes."""


class Script(msgspec.Struct, frozen=True):
    """A Lua script and the name the server knows it by."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisEngine:
    """One connection for commands to one Redis, for as long as it is open.

    Args:
        address: where, and how redis-py makes a connection there.
        timeout: seconds that an attempt to connect may take, and that the
            server may be silent while it owes an answer.
        name: what events and errors call the store.
    """

    def __init__(self, address: Address, *, timeout: float = TIMEOUT, name: str = "redis") -> None:
        self.address = address
        self.timeout = timeout
        self.server = Server()
        self._name = name
        self._scripts: dict[str, Script] = {}
        self._state: Literal["up", "reaching", "resting", "closed"] = "closed"
        self._why: StoreError = Closed(f"{name}: not open")  # what a refused command is told
        # INVARIANT: set exactly while "up"; a wire that is retiring is `_leaving` instead.
        self._wire: Wire | None = None
        self._leaving: Wire | None = None
        self._spent: Wire | None = None  # lost; redis-py is yet to be told
        # INVARIANT: empty unless "reaching", or "up" with a wire that is paused.
        self._waiting: deque[tuple[bytes, Flight]] = deque()
        self._failures = 0
        self._since = 0.0
        self._reconnecting: asyncio.Task[None] | None = None
        self._slow: set[asyncio.Task[None]] = set()  # flights that need another round trip to be settled
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: Listening | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """The engine for a store URL; no I/O."""
        timeout = url.number("timeout", TIMEOUT, least=0.001)
        return cls(address_of(url, timeout), timeout=timeout)

    async def open(self) -> None:
        """Connect, once.

        Raises:
            StoreMisconfigured: wrong credentials, a server that is too old, a node of a cluster.
            StoreUnavailable: it does not answer now.
        """
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        try:
            wire = await self._reach(Wire, self._lost)
        except BaseException:
            await self.address.close()  # a Sentinel that was asked
            raise
        if wire.dead:
            await wire.close()
            await self.address.close()
            raise StoreUnavailable(f"{self._name}: the server closed the connection")
        self._arrived(wire, 1)

    async def close(self) -> None:
        """Drop the connection and whoever still waits. Twice is once; a client that was passed in stays open."""
        if self._state == "closed":
            return
        self._state = "closed"
        self._why = Closed(f"{self._name}: closed")
        self._refuse_waiting()
        tasks = [task for task in (self._reconnecting, *self._slow) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.close()
        wires = (self._wire, self._leaving, self._spent)
        self._wire = self._leaving = self._spent = None
        for wire in wires:
            if wire is not None:
                await wire.close()
        await self.address.close()

    # --- commands ---

    def send(
        self, data: bytes, replies: int, read: Callable[[list[Any]], Any] | None = None
    ) -> asyncio.Future[Any]:
        """Write packed commands now, or hold them for the connection that is coming.

        Args:
            data: the packed commands.
            replies: how many replies they have.
            read: makes the future's result of the replies (an error reply is an
                instance of `Refusal` among them); without it, the replies. It
                may answer with a coroutine, for which the future then waits.
        """
        loop = self._loop or asyncio.get_running_loop()  # before `open`: to be refused
        flight = Flight(loop.create_future(), replies, read)
        wire = self._wire
        if wire is not None and not wire.paused:
            wire.send(data, flight)
        else:
            self._hold(data, flight)
        return flight.future

    async def call(self, *command: str | bytes | int) -> Any:
        """The reply to one command; an error reply is raised."""
        (reply,) = await self.send(pack(command), 1)
        if type(reply) is Refusal:
            self.refused(reply)
            raise as_error(str(command[0]), reply)
        return reply

    async def load(self, *scripts: Script) -> None:
        """Have the server know these scripts, on this connection and every later one."""
        for script in scripts:
            self._scripts[script.sha] = script
        data = b"".join(pack(("SCRIPT", "LOAD", script.text)) for script in scripts)
        for reply in await self.send(data, len(scripts)):
            if type(reply) is Refusal and refusal_word(reply) in LEAVE:
                self.refused(reply)
                raise as_error("load", reply)
        # Refused for another reason: EVAL says why, where the script is needed.

    def refused(self, reply: Exception) -> None:
        """Note an error reply: where this server cannot serve, look for one that can."""
        word = refusal_word(reply)
        if word in LEAVE and self._wire is not None:
            wire, self._wire = self._wire, None
            self._leaving = wire
            self._state = "reaching"  # what comes now waits for the next connection
            wire.retire(f"the server answers {word}")

    async def ping(self) -> float:
        """Seconds of one round trip, which has at most two.

        Raises:
            StoreUnavailable: it does not answer now.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(min(self.timeout, 2.0)):
                await self.call("PING")
        except TimeoutError:
            raise StoreUnavailable(f"{self._name}: no answer to PING") from None
        return time.perf_counter() - began

    # --- what is published ---

    @property
    def database(self) -> int:
        """The number of the database. Channels know no databases: put it into their names."""
        return self.address.database

    def listen(self, heard: Callable[[bytes, bytes], None], lost: Callable[[], None]) -> Ear:
        """An ear on this engine's one subscribing connection; see `listening`.

        Raises:
            Closed: before `open`, after `close`.
        """
        if self._state == "closed":
            raise again(self._why)
        if self._listening is None:
            self._listening = Listening(self._reach_to_listen, _rest, steady=STEADY, name=self._name)
        return self._listening.ear(heard, lost)

    async def _reach_to_listen(self, lost: Lost) -> SubscribedWire:
        return await self._reach(SubscribedWire, lost)

    # --- what waits ---

    def _hold(self, data: bytes, flight: Flight) -> None:
        if self._state in ("closed", "resting"):
            flight.fail(again(self._why))
        elif len(self._waiting) >= MAX_WAITING:
            flight.fail(Overloaded(f"{self._name}: {MAX_WAITING} batches wait for the connection already"))
        else:
            self._waiting.append((data, flight))

    def _flush(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        waiting = self._waiting
        while waiting and not wire.paused and not wire.dead:
            data, flight = waiting.popleft()
            if not flight.future.cancelled():  # given up before anything left
                wire.send(data, flight)

    def _refuse_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, flight in waiting:
            flight.fail(again(self._why))

    def _settle(self, flight: Flight) -> None:
        future = flight.future
        if future.done():
            return  # given up in flight; its replies are taken off the wire all the same
        try:
            result = flight.replies if flight.read is None else flight.read(flight.replies)
        except Exception as exc:  # noqa: BLE001 - a reader's fault is its own caller's
            flight.fail(exc)
            return
        if asyncio.iscoroutine(result):
            task = asyncio.get_running_loop().create_task(self._settle_slowly(future, result))
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)
        else:
            future.set_result(result)

    async def _settle_slowly(self, future: asyncio.Future[Any], reading: Coroutine[Any, Any, Any]) -> None:
        try:
            result = await reading
        except asyncio.CancelledError:
            if not future.done():
                future.set_exception(StoreUnavailable(f"{self._name}: closed", maybe_applied=True))
            raise
        except Exception as exc:  # noqa: BLE001 - told to whoever waits
            if not future.done():
                future.set_exception(exc)
        else:
            if not future.done():
                future.set_result(result)

    # --- connections ---

    async def _reach(self, kind: type[_W], lost: Lost) -> _W:
        """A connection that has been greeted. Raises a `StoreError` and leaves nothing behind."""
        try:
            connection: Any = self.address.connection()
            connection.retry = Retry(
                NoBackoff(), 0
            )  # redis-py may try ten times: whoever waits is told instead
        except Exception as exc:
            raise connect_error(exc) from exc
        wire: _W | None = None
        try:
            async with asyncio.timeout(self.timeout):
                await connection.connect()
                wire = kind(connection, self.timeout, lost=lost, resumed=self._flush, settle=self._settle)
                await wire.take_over()
                await self._greet(wire)
        except BaseException as exc:
            if wire is not None:
                wire.fail("it was not greeted")  # at once: close() may wait for a peer that is gone
            await _discard(connection)
            if isinstance(exc, HoldfastError) or not isinstance(exc, Exception):
                raise
            if isinstance(exc, TimeoutError):
                raise StoreUnavailable(f"{self._name}: no connection within {self.timeout:g} s") from exc
            raise connect_error(exc) from exc
        return wire

    async def _greet(self, wire: Wire) -> None:
        """One round trip: is this the server we want, and does it know the scripts?"""
        scripts = [pack(("SCRIPT", "LOAD", script.text)) for script in self._scripts.values()]
        flight = Flight(asyncio.get_running_loop().create_future(), 1 + len(scripts), None)
        wire.send(b"".join([pack(("HELLO",)), *scripts]), flight)
        hello, *loaded = await flight.future
        for reply in (hello, *loaded):
            if type(reply) is Refusal and refusal_word(reply) in (*LEAVE, "NOAUTH"):
                raise as_error("connect", reply)
        self.server = introduced(hello)
        wanted(self.server, master=self.address.master, cluster=self.address.cluster)

    def _arrived(self, wire: Wire, attempts: int) -> None:
        self._wire, self._state, self._since = wire, "up", time.monotonic()
        if events.listeners:
            events.publish(events.Connected(self._name, attempts))
        self._flush(wire)
        if self._listening is not None:
            self._listening.moved(wire.peer)

    def _lost(self, wire: Wire, reason: str) -> None:
        if wire is not self._wire and wire is not self._leaving:
            return  # it never arrived: `_reach` tells
        self._wire = self._leaving = None
        if self._state == "closed":
            return
        if time.monotonic() - self._since >= STEADY:
            self._failures = 0
        self._failures += 1
        self._why = StoreUnavailable(f"{self._name}: not connected: {reason}")
        self._state = "reaching"
        if events.listeners:
            events.publish(events.Disconnected(self._name, reason))
        self._spent = wire
        self._reconnecting = asyncio.get_running_loop().create_task(
            self._reconnect(), name=f"holdfast {self._name} reconnect"
        )

    async def _reconnect(self) -> None:
        if self._spent is not None:
            await self._spent.discard()
            self._spent = None
        attempts = 0
        while True:
            rest = _rest(self._failures)
            if rest:
                self._state = "resting"
                self._refuse_waiting()
                await asyncio.sleep(rest)
            self._state = "reaching"
            attempts += 1
            try:
                wire = await self._reach(Wire, self._lost)
            except StoreError as fault:
                self._failures += 1
                self._why = fault
                continue
            if wire.dead:
                self._failures += 1
                await wire.discard()
                continue
            self._arrived(wire, attempts)
            return


def _rest(failures: int) -> float:
    """Seconds before the next attempt: none after a first loss, then 0.05 doubling to 2, each times 0.5 to 1."""
    if failures <= 1:
        return 0.0
    return min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures - 2, 16)) * random.uniform(0.5, 1.0)


async def _discard(connection: Any) -> None:
    try:
        await connection.disconnect(nowait=True)
    except Exception:  # noqa: BLE001, S110 - it never was one
        pass
