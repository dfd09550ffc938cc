"""How a hub hears of what happened in its topics: by what was written here, and from other processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from holdfast.channels import notes, protocol
from holdfast.channels.driver import Append, Appended, Changed, Clear, Edit, Entry, Erase, Operation, Outcome
from holdfast.channels.room import Room
from holdfast.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub

__all__ = ["Hearing"]


class Hearing:
    """The ears of a `Hub`; for its driver a `driver.Listener`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # --- what was written here ---

    def written(self, batch: Sequence[Operation], outcomes: Sequence[Outcome]) -> None:
        rooms = self._hub.rooms
        for op, outcome in zip(batch, outcomes, strict=False):
            room = rooms.get(op.key)
            if type(outcome) is Appended:
                self._hub.counts.kept += not outcome.repeated
            elif isinstance(outcome, StoreError):
                self._hub.publishing.failed((op,))
            if room is None:
                continue
            if type(op) is Append and type(outcome) is Appended:
                if not outcome.repeated:
                    entry = Entry(outcome.offset, op.id, op.event, op.payload, outcome.at)
                    room.follower.hear(outcome.epoch, outcome.offset, entry)
            elif type(outcome) is Changed and outcome.entry.changed is not None:
                room.follower.hear(outcome.epoch, outcome.entry.changed, outcome.entry, True)
            elif type(op) is Clear and outcome is True:
                room.follower.restart()
            elif isinstance(outcome, StoreUnavailable) and outcome.maybe_applied:
                self._doubted((op,))

    def failed(self, batch: Sequence[Operation], error: BaseException) -> None:
        if not isinstance(error, StoreUnavailable) or error.maybe_applied:
            self._doubted(batch)
        self._hub.publishing.failed(batch)

    def _doubted(self, batch: Sequence[Operation]) -> None:
        for op in batch:
            if isinstance(op, Append | Edit | Erase):
                room = self._hub.rooms.get(op.key)
                if room is not None and room.route.kept:
                    room.follower.catch_up()

    # --- what other processes did: `driver.Listener` ---

    def kept(self, key: str, epoch: str, last: int, entry: Entry | None) -> None:
        room = self._hub.rooms.get(key)
        if room is not None and room.route.kept:
            room.follower.hear(epoch, last, entry, entry is not None and entry.changed == last)

    def sent(self, key: str, data: bytes) -> None:
        note = notes.read(data)
        if note is None or note.node == self._hub.node:
            return
        try:
            if key == self._hub.control:
                self._controlled(note)
            elif (room := self._hub.rooms.get(key)) is not None:
                self._noted(room, note)
        except msgspec.MsgspecError:
            pass  # another version's: not understood here, as in `notes.read`

    def _controlled(self, note: notes.Note) -> None:
        if note.kind == notes.DISCONNECT:
            self._hub.disconnect(msgspec.json.decode(note.first, type=str))
        elif note.kind == notes.PRESENCE:
            self._hub.presence.hear(note.node, note.first)
        elif note.kind == notes.RELAY and self._hub.relayed is not None:
            self._hub.relayed(note)

    def _noted(self, room: Room, note: notes.Note) -> None:
        if note.kind == notes.TELL:
            self._hub.told(room, note.first)
        elif note.kind == notes.BROADCAST:
            event = msgspec.json.decode(note.first, type=str)
            room.show(protocol.broadcast(protocol.tail(room.topic, event, bytes(note.second))))
        elif note.kind == notes.BINARY:
            event = msgspec.json.decode(note.first, type=str)
            data = msgspec.json.decode(note.second, type=bytes)
            room.show(protocol.binary_broadcast(room.topic, event, data))
        elif note.kind == notes.CLEARED and room.route.kept:
            room.follower.catch_up()

    def lost(self) -> None:
        for room in list(self._hub.rooms.values()):
            if room.route.kept:
                room.follower.catch_up()
        self._hub.presence.lost()
