"""How a message becomes kept, shown, or both."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.channels import notes, protocol
from holdfast.channels.behind import Behind
from holdfast.channels.channel import Keep
from holdfast.channels.core import NOTHING
from holdfast.channels.driver import Append, Appended, Operation
from holdfast.channels.payloads import Invalid, encode
from holdfast.channels.recovery import is_given
from holdfast.channels.room import unstored
from holdfast.channels.routing import Route
from holdfast.errors import Closed

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub
    from holdfast.channels.joined import Joined

__all__ = ["Publishing", "check_event"]


async def _position(storing: asyncio.Future[Appended]) -> str:
    outcome = await storing
    return f"{outcome.offset}~{outcome.epoch}"


class Publishing:
    """The publishing half of a `Hub`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._behind = Behind(hub)

    def publish(
        self,
        route: Route,
        topic: str,
        event: str,
        payload: Any,
        *,
        keep: Keep | None,
        id: str | None,
        but: Joined | None = None,
    ) -> Awaitable[str | None]:
        """The position where the message was kept, else None; see `Channel.broadcast`.

        It is under way when this returns: what is published later comes later.
        """
        if keep is None:
            keep = route.keep
        check_event(event)
        key = self._hub.prefix + topic
        if keep is False:
            says = self._show(key, topic, event, payload, but)
            return self._hub.note(key, *says)
        op = self._append(route, key, event, payload, keep, id)
        if keep == "behind":
            self._first_show(topic, op)
            return NOTHING
        if self._behind.lines and key in self._behind.lines:
            return _position(self._behind.keep(op))
        return _position(self._hub.core.begin(op, len(op.payload)))

    def _append(
        self, route: Route, key: str, event: str, payload: Any, keep: object, id: str | None
    ) -> Append:
        """The operation that stores it; raises where it cannot be stored."""
        if not route.kept:
            raise ValueError(
                f"{route.kind.__name__}: keep = {keep!r} needs a history; history = 0 replays none"
            )
        if keep is not True and keep != "behind":
            raise ValueError(f"keep = {keep!r}: True, False, or 'behind'")
        if type(payload) is bytes:
            raise TypeError(f"publish {event!r}: binary is sent, never kept; keep=False")
        if id is not None and not (isinstance(id, str) and is_given(id)):
            raise Invalid(None, f"publish {event!r}: an id is 1 to 128 letters, digits and -_.:@/+=")
        data = encode(event, payload, max_bytes=self._hub.limits.message)
        return Append(key, event, data, id, None, route.max_messages, route.max_age_ms)

    # --- shown, not kept ---

    def _show(
        self, key: str, topic: str, event: str, payload: Any, but: Joined | None
    ) -> tuple[str, str, Any]:
        """To the members here; what to say of it to other processes."""
        if type(payload) is bytes:
            frame = protocol.binary_broadcast(topic, event, payload)
            kind, says = notes.BINARY, payload
        else:
            says = encode(event, payload)
            frame = protocol.broadcast(protocol.tail(topic, event, says))
            kind = notes.BROADCAST
        room = self._hub.rooms.get(key)
        if room is not None:
            room.show(frame, but=None if but is None else but.socket)
        return kind, event, payload if kind is notes.BINARY else msgspec.Raw(says)

    # --- shown first, kept soon ---

    def _first_show(self, topic: str, op: Append) -> None:
        hub = self._hub
        if not hub.core.is_open:
            raise Closed("channels: not open; use it inside `async with`")
        self._behind.check()
        if op.id is None:
            op = msgspec.structs.replace(op, id=secrets.token_urlsafe(12))
        assert op.id is not None
        room = hub.rooms.get(op.key)
        if room is not None:
            if op.id in room.follower.behind or any(said.id == op.id for said in room.ring):
                return  # the same message once more
            room.follower.behind[op.id] = op
            room.show(protocol.broadcast(unstored(topic, op, room.position)))
        self._behind.shown(op)

    def failed(self, batch: Iterable[Operation]) -> None:
        """The store did not do these, as is known before anything else leaves its queue."""
        if self._behind.lines:
            for op in batch:
                if type(op) is Append:
                    self._behind.failed(op)

    def forget(self) -> None:
        """What waited on an event loop that has ended."""
        self._behind = Behind(self._hub)

    async def drain(self) -> None:
        """Wait until everything that was shown is stored, or cannot be."""
        await self._behind.drain()


@lru_cache(maxsize=1024)
def check_event(event: str) -> None:
    """Raises `TypeError` or `ValueError` where it cannot be an event's name."""
    if not isinstance(event, str):
        raise TypeError(f"an event is a str, not {type(event).__name__}")
    if not 0 < len(event.encode()) <= protocol.LONGEST or "\0" in event or event.startswith("phx_"):
        raise ValueError(
            f"event {event[:60]!r}: 1 to {protocol.LONGEST} bytes without NUL, not the protocol's own (phx_)"
        )
