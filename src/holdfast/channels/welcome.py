"""What a client gets when it joins: the reply, then the past, then the present, with no gap and nothing twice.

The room shows everything above the offset `at` to its members, in order. A
joiner becomes a member at some `at` and is given everything up to it: from what
the room has at hand, within one turn of the loop; or, where that does not reach,
from the store, while what is shown meanwhile is put aside for it.

The reply says the position *before* all that follows it: whoever loses the
connection between the two comes back with it and gets the same once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.channels import protocol
from holdfast.channels.driver import Log, Read
from holdfast.channels.protocol import Frame
from holdfast.channels.recovery import Position, steps
from holdfast.channels.room import Room, change_tail, said, unstored
from holdfast.errors import StoreUnavailable

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub
    from holdfast.channels.joined import Joined

__all__ = ["welcome"]

BEFORE_ALL: Final = Position(0, "")
"""Where a client is that came before there was a log."""
_encode = msgspec.json.Encoder().encode


async def welcome(hub: Hub, joined: Joined, room: Room, ref: str | None, own: bytes, since: object) -> bool:
    """Answer the join and make the client a member; false where it has gone meanwhile.

    `own` is the application's part of the reply, `since` what the client says
    it saw last; None: it has seen nothing.

    Raises:
        StoreError: the past could not be read; the client is no member.
    """
    position = None if since is None else Position.parse(since) or Position(-1, "")
    try:
        if position is not None and room.route.kept and room.follower.is_before(position):
            await room.follower.reach(position)
    finally:
        room.entering -= 1
    if joined.ended is not None:
        return False
    if hub.rooms.get(room.key) is not room:
        raise StoreUnavailable(f"channels: {joined.topic!r} had to be looked up anew meanwhile")
    if not room.route.kept:
        frames = [protocol.reply(joined.join_ref, ref, joined.topic, "ok", own)]
        _enter(hub, joined, room, frames + _presence(hub, joined))
        return True
    found = _at_hand(room, position)
    if found is not None:
        before, tails = found
        frames = [_reply(joined, before, ref, own, None if position is None else True)]
        frames += [protocol.push(joined.join_ref, tail) for tail in (*tails, *_unstored(room))]
        _enter(hub, joined, room, frames + _presence(hub, joined))
        room.follower.wake()
        return True
    here = room.position
    shown = _unstored(room)
    room.add(joined, hold=True)
    joined.room = room
    room.follower.wake()
    recovered, before, tails = await _from_store(hub, room, position, here)
    there = joined.room is room
    if there:
        hub.counts.joins += 1
        frames = [_reply(joined, before, ref, own, recovered)]
        frames += [protocol.push(joined.join_ref, tail) for tail in (*tails, *shown)]
        room.release(joined.socket, frames + _presence(hub, joined))
    return there


def _unstored(room: Room) -> list[bytes]:
    """What was shown already, is in no log yet, and is not shown again."""
    return [unstored(room.topic, op, room.position) for op in room.follower.behind.values()]


def _enter(hub: Hub, joined: Joined, room: Room, frames: list[Frame]) -> None:
    hub.counts.joins += 1
    room.add(joined)
    joined.room = room
    joined.socket.send_past(frames)


def _presence(hub: Hub, joined: Joined) -> list[Frame]:
    """Who is here, which the client waits for after every join before it takes any difference."""
    if not joined.route.kind.presence:
        return []
    state = _encode(hub.presence.list(joined.topic))
    return [protocol.push(joined.join_ref, protocol.tail(joined.topic, "presence_state", state))]


def _reply(joined: Joined, before: Position, ref: str | None, own: bytes, recovered: bool | None) -> Frame:
    marks: dict[str, object] = {"position": str(before), "recovered": recovered is True}
    if recovered is False:
        marks["reason"] = "history_lost"
    head = _encode(marks)
    response = head if own == b"{}" else own[:-1] + b"," + head[1:]
    return protocol.reply(joined.join_ref, ref, joined.topic, "ok", response)


def _at_hand(room: Room, since: Position | None) -> tuple[Position, list[bytes]] | None:
    """What the joiner gets, and the position before it, where the room knows it all; else None."""
    ring = room.ring
    if since is None:
        wanted = room.route.history
        if wanted == 0:
            return room.position, []
        if room.whole or len(ring) >= wanted:
            last = list(ring)[-wanted:]
            before = Position(last[0].offset - 1, room.epoch) if last else room.position
            return before, [message.tail for message in last]
        return None
    if since.epoch != room.epoch and since != BEFORE_ALL:
        return None
    if not max(room.floor, room.changed) <= since.offset <= room.last:
        return None
    tails = [message.tail for message in ring if message.offset > since.offset]
    return since if tails else room.position, tails


async def _from_store(
    hub: Hub, room: Room, since: Position | None, here: Position
) -> tuple[bool | None, Position, list[bytes]]:
    """Whether all since then is there (None: nobody asked), the position before what the joiner gets, and that."""
    if since is not None and since.offset >= 0:
        log = await room.follower.since(since, here.offset)
        if log is not None:
            tails = _since(room, log, since, here.offset)
            return True, since if tails else here, tails
    return None if since is None else False, *await _last(hub, room, here)


def _since(room: Room, log: Log, since: Position, at: int) -> list[bytes]:
    topic, epoch = room.topic, log.epoch or ""
    return [
        change_tail(topic, epoch, step) if step.change else said(topic, epoch, step.entry).tail
        for step in steps(log.entries, since.offset)
        if step.offset <= at
    ]


async def _last(hub: Hub, room: Room, here: Position) -> tuple[Position, list[bytes]]:
    wanted = room.route.history
    if wanted == 0:
        return here, []
    log: Log = await hub.run(Read(room.key, wanted, before=here.offset + 1))
    if log.epoch != here.epoch or not log.entries:
        return here, []  # perhaps another log has begun meanwhile, all of which comes
    before = Position(log.entries[0].offset - 1, here.epoch)
    return before, [said(room.topic, here.epoch, entry).tail for entry in log.entries]
