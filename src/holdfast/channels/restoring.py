"""Messages of an export put back into a topic: with their own ids and times, in their order, and once.

A message whose publisher gave it no id was known by its position. Where it is
put back it gets an id made from that, so that doing it again changes nothing.
In the very log it comes from it still stands there, or was erased or trimmed
there; neither is for an import to undo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from holdfast.channels.driver import Append, Appended, Edit, Find, Found, Log, Read
from holdfast.channels.messages import Message
from holdfast.channels.payloads import encode
from holdfast.channels.publishing import check_event
from holdfast.channels.recovery import Position, is_given

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub
    from holdfast.channels.routing import Route

__all__ = ["restore"]


async def restore(
    hub: Hub, route: Route, key: str, messages: Sequence[Message], *, replace: bool
) -> list[bool | Exception]:
    """For each message whether it was stored or changed (False: it is there as it is), or why it could not be."""
    log: Log | None = None
    if any(Position.parse(message.id) is not None for message in messages):
        log = await hub.run(Read(key, 1))
    # Tasks begin in the order they are made in, and each submits before it first waits: the log keeps that order.
    tasks = (_one(hub, route, key, message, log, replace) for message in messages)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    answers: list[bool | Exception] = []
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, Exception):
            raise each
        answers.append(each)
    return answers


async def _one(hub: Hub, route: Route, key: str, message: Message, log: Log | None, replace: bool) -> bool:
    id: str | None = message.id or None
    position = Position.parse(id)
    if position is not None:
        if log is not None and position.epoch == log.epoch and position.offset <= log.last:
            return False
        id = f"{position.offset}.{position.epoch}"
    if id is not None and not is_given(id):
        raise ValueError(f"message {id[:60]!r}: it is no id")
    check_event(message.event)
    data = encode(message.event, message.payload, max_bytes=hub.limits.message)
    at = round(message.at * 1000)
    op = Append(key, message.event, data, id, at, route.max_messages, route.max_age_ms)
    there: Appended = await hub.core.begin(op, len(data))
    if there.repeated:
        if not replace or not await _differs(hub, key, message, there):
            return False
    elif not message.edited:
        return True
    edit = Edit(key, data, offset=there.offset, epoch=there.epoch)
    return await hub.run(edit, len(data)) is not None


async def _differs(hub: Hub, key: str, message: Message, at: Appended) -> bool:
    found: Found | None = await hub.run(Find(key, offset=at.offset, epoch=at.epoch))
    if found is None:
        return False  # erased here: it stays so
    if message.edited and found.entry.changed is None:
        return True
    return bool(msgspec.json.decode(found.entry.payload or b"{}") != message.payload)
