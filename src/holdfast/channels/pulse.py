"""What a process does for its rooms once a second, while it has any, or a connection.

One timer serves all: a timer for each connection would cost more than all the
rest of an idle one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.channels.socket import BAD_FRAME, Socket

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub

__all__ = ["LINGER", "Pulse"]

LINGER: Final = 5
"""Seconds that a room stays after its last member has left: who reloads a page finds it as it was."""
TIDIED: Final = 5
"""Seconds between two looks for who is silent and what is empty."""


class Pulse:
    """One hub's; it counts in `hub.second`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._throttled: dict[Socket, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Somebody is there; it stops by itself."""
        if self._timer is None:
            loop = self._hub.core.loop
            assert loop is not None
            self._timer = loop.call_later(1.0, self._next)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._throttled.clear()

    def throttle(self, socket: Socket) -> None:
        """It has said enough for this second."""
        if socket not in self._throttled:
            self._throttled[socket] = None
            socket.hold_back()

    def _next(self) -> None:
        self._timer = None
        try:
            self.beat()
        finally:
            if self._hub.sockets or self._hub.rooms:
                self.start()

    def beat(self) -> None:
        """A second has passed."""
        hub = self._hub
        hub.second += 1
        throttled, self._throttled = self._throttled, {}
        for socket in throttled:
            socket.go_on()
        if hub.second % TIDIED == 0:
            self._end_the_silent()
            self._drop_the_empty()

    def _end_the_silent(self) -> None:
        late = self._hub.second - self._hub.limits.idle
        for socket in [each for each in self._hub.sockets if each.heard < late and each.idles]:
            if not socket.held_back:  # or nothing was read from it
                socket.close(BAD_FRAME, "idle")

    def _drop_the_empty(self) -> None:
        hub = self._hub
        for room in [each for each in hub.rooms.values() if not each.entering and not len(each)]:
            if hub.second - room.idle_since >= LINGER and room.ready.done():
                hub.drop(room)
