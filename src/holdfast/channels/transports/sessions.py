"""Long-poll sessions of this process: connections whose frames wait until they are fetched."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import Counter, deque
from typing import Any, ClassVar, Final

from holdfast import events
from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.protocol import Frame
from holdfast.channels.socket import AWAY, BAD_DATA, SMALLEST, TOO_BIG, TOO_SLOW, Socket
from holdfast.channels.transports.fallback import as_text

__all__ = ["MAX_LINES", "MAX_QUEUE", "PER_ADDRESS", "TOKEN", "Session", "Sessions"]

MAX_QUEUE: Final = 10_000
"""Messages that may wait for one client, however small, beside those of a past."""
MAX_LINES: Final = 100
"""Messages in one request of a client; those above are not looked at, as Phoenix does."""
PER_ADDRESS: Final = 1_000
"""Sessions of one client address; behind a proxy that does not say whom it speaks for, that is everybody's."""
TOKEN: Final = re.compile(r"[\w-]{12}\.[\w-]{22}\.[\w-]{43}", re.ASCII)
"""What a session's token looks like; an application's own parameter of that name, even a JWT, does not."""
MAX_ANSWER: Final = 512 << 10
"""Bytes of messages in one answer, if there is more than one."""


class Session(Socket):
    """One client's. It lives while it is polled, and 1.5 windows after.

    Once it was closed, what waits may be fetched still; then it is gone, and the
    client, told so, connects anew.
    """

    __slots__ = (
        "_first",
        "_loop",
        "_poll",
        "_queue",
        "_resumed",
        "_sessions",
        "_timer",
        "_waiting",
        "address",
        "ended",
        "id",
        "posting",
    )
    transport: ClassVar[str] = "longpoll"
    idles: ClassVar[bool] = False

    def __init__(self, hub: Hub, user: User | None, sessions: Sessions, address: str | None) -> None:
        super().__init__(hub, user)
        self.id = secrets.token_urlsafe(16)
        self.address = address
        self.ended = False
        self.posting = asyncio.Lock()  # what a client posts is taken in order
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._queue: deque[str] = deque()
        self._waiting = 0  # characters in the queue
        self._poll: asyncio.Future[bool] | None = None  # of the latest request; False: there is a later one
        self._resumed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rest()

    # --- what goes out ---

    def send_all(self, frames: list[Frame]) -> None:
        if self.ended:
            return
        for frame in frames:
            text = as_text(frame) if frame.binary else frame.text
            self._queue.append(text)
            self._waiting += len(text)
        granted = self.granted
        if (
            self._waiting > self.hub.limits.unread + granted
            or len(self._queue) > MAX_QUEUE + granted // SMALLEST
        ):
            self._stalled()
        self._call()

    @property
    def unread(self) -> int:
        return self._waiting

    async def poll(self) -> tuple[int, list[str]]:
        """What waits, or what comes within the window: 200; nothing did: 204; the session is gone: 410.

        A second request takes the place of one that waits, which gets nothing.
        """
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(False)
        if self._timer is not None:
            self._timer.cancel()
        mine = self._poll = self._loop.create_future()
        try:
            if not self._queue and not self.ended:
                await asyncio.wait({mine}, timeout=self._sessions.window)
            if mine.done() and not mine.result():
                return 204, []
            if self._queue:
                return 200, self._taken()
            return (410 if self.ended else 204), []
        finally:
            if self._poll is mine:
                self._poll = None
                self._rest()

    def _taken(self) -> list[str]:
        taken: list[str] = []
        size = 0
        while self._queue and size <= MAX_ANSWER:
            taken.append(self._queue.popleft())
            size += len(taken[-1])
        self._waiting -= size
        if not self._queue:
            self.granted = 0
        return taken

    def _call(self) -> None:
        """Let the request that waits go on."""
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(True)

    # --- what comes in ---

    async def post(self, body: bytes, lines: bool) -> int:
        """Take what the client says: 200; 408, not all of it was taken within the window; 410, the session is gone."""
        try:
            async with asyncio.timeout(self._sessions.window), self.posting:
                for line in body.split(b"\n", MAX_LINES)[:MAX_LINES] if lines else [body]:
                    while self._resumed is not None:
                        await asyncio.wait({self._resumed})
                    if self.ended:
                        break
                    if line:
                        self._receive(line, lines)
        except TimeoutError:
            return 408
        return 410 if self.ended else 200

    def _receive(self, line: bytes, lines: bool) -> None:
        limit = self.hub.limits.frame
        if line.startswith(b"[") or not lines:
            if len(line) > limit:
                self.close(TOO_BIG, "frame too big")
            else:
                self.receive(line)
            return
        try:
            data = base64.b64decode(line, validate=True)
        except binascii.Error:
            self.close(BAD_DATA, "neither a text frame nor base64")
            return
        if len(data) > limit:
            self.close(TOO_BIG, "frame too big")
        else:
            self.receive_binary(data)

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = self._loop.create_future()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # --- its end ---

    def close(self, code: int, reason: str = "") -> None:
        """The client is told with the answer after the last message; it connects anew, whatever the code."""
        if self.ended:
            return
        self.ended = True
        self.resume()
        self._call()
        if self._poll is None:
            self._rest()
        self._loop.call_soon(self.lost)

    def _stalled(self) -> None:
        self.hub.counts.dropped += 1
        if events.listeners:
            events.publish(events.ReaderDropped(self._waiting))
        self._queue.clear()
        self._waiting = 0
        self.close(TOO_SLOW, "too slow")

    def _rest(self) -> None:
        """Nobody polls."""
        if self.ended and not self._queue:
            self._sessions.drop(self)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(1.5 * self._sessions.window, self._forgotten)

    def _forgotten(self) -> None:
        self._queue.clear()
        self.close(AWAY, "not polled")
        self._sessions.drop(self)  # if it was closed before, and nobody came for the rest

    def gone(self) -> None:
        """It is in the table no more."""
        if self._timer is not None:
            self._timer.cancel()


class Sessions:
    """All of them, and the tokens that name them.

    A token is the process, the session and a signature by a secret that is made
    with this object and kept nowhere: whoever knows it is the session's client.
    """

    def __init__(self, hub: Hub, window: float) -> None:
        self.hub = hub
        self.window = window
        self._secret = secrets.token_bytes(32)
        self._all: dict[str, Session] = {}
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def has_room(self, address: str | None) -> bool:
        """Whether one more may come from this address."""
        return address is None or self._addresses[address] < PER_ADDRESS

    def make(self, user: User | None, address: str | None) -> Session:
        session = Session(self.hub, user, self, address)
        self._all[session.id] = session
        if address is not None:
            self._addresses[address] += 1
        self.hub.admit(session)
        return session

    def drop(self, session: Session) -> None:
        if self._all.pop(session.id, None) is None:
            return
        session.gone()
        if session.address is not None:
            self._addresses[session.address] -= 1
            if not self._addresses[session.address]:
                del self._addresses[session.address]

    def token(self, session: Session) -> str:
        return f"{self.hub.node}.{session.id}.{self._signed(self.hub.node, session.id)}"

    def find(self, token: str) -> Session | None:
        """The session that a token names, if the token is ours and the session lives."""
        if TOKEN.fullmatch(token) is None:
            return None
        node, id, signature = token.split(".")
        if not hmac.compare_digest(signature, self._signed(node, id)):
            return None
        return self._all.get(id)

    def _signed(self, *said: Any) -> str:
        digest = hmac.digest(self._secret, ".".join(said).encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
