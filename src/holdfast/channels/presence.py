"""Who is where, over all processes of a store.

Every process keeps its own entries and a copy of everybody else's. What changes
here is told to the others as a numbered difference; who misses a number, or is
new, asks for all of it. A process that has entries says so thrice a lease; one
that was not heard of for a lease is dead, and its people leave everywhere.
Nothing of this is stored.

Members are told by the two events that npm's phoenix knows: `presence_state`
after each join, `presence_diff` from then on. A difference goes out at once,
and those of the next moments together, so that a thousand joins are not a
million messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec

from holdfast.channels import notes, protocol
from holdfast.channels.channel import Refuse
from holdfast.channels.payloads import Invalid
from holdfast.errors import StoreError

if TYPE_CHECKING:
    from holdfast.channels.hub import Hub

__all__ = ["Presence"]

GATHER: Final = 0.1
"""Seconds between two differences in one topic."""
PART: Final = 128 << 10
"""Bytes of one note, roughly: what is more goes in several."""
ASK_AGAIN: Final = 1.0
"""Seconds between two questions to one process: an answer may be on its way."""
_PROTOTYPE: Final = frozenset(
    [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    ]
)
"""Keys that clients before npm phoenix 1.8.9 take for something else (CVE-2026-56812)."""

T = TypeVar("T")
Entries: TypeAlias = dict[str, tuple[str, dict[str, Any]]]
"""phx_ref: key, meta"""


class _Says(msgspec.Struct, omit_defaults=True):
    """One note. `state` comes in parts: the first (0) clears, the `last` completes."""

    kind: str  # "diff", "state", "ask", "beat", "bye"
    number: int = 0  # of the sender's latest difference
    to: str = ""  # of "ask" and "state": whom it is for; empty: everybody
    joins: list[tuple[str, str, str, dict[str, Any]]] = []  # topic, ref, key, meta
    leaves: list[tuple[str, str]] = []  # topic, ref
    part: int = 0
    last: bool = True


class _Node:
    """What is known of another process."""

    def __init__(self) -> None:
        self.number = -1  # of the latest difference that is in `topics`; -1: its state is still to come
        self.heard = 0.0
        self.topics: dict[str, Entries] = {}
        self.coming: dict[str, Entries] | None = None  # a state of which parts are still to come
        self.part = 0  # the next of them
        self.asked = -ASK_AGAIN  # when it was asked for its state


class Presence:
    """The entries of one `Hub`. `list` is what `Channels.presence.list` answers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._refs = count(1)
        self._own: dict[str, Entries] = {}
        self._nodes: dict[str, _Node] = {}
        self._number = 0
        self._ever = False  # whether there is anything that others may have heard of
        self._diffs: dict[
            str, tuple[Entries, Entries]
        ] = {}  # by topic: joins and leaves that members do not know yet
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._shown_at = 0.0
        self._outgoing = _Says("diff")

    # --- what the application does ---

    def list(self, topic: str) -> dict[str, Any]:
        """Everybody in the topic: ``{key: {"metas": [{"phx_ref": ..., ...}, ...]}}``."""
        found: dict[str, Any] = {}
        for entries in self._everywhere(topic):
            _group(entries, found)
        return found

    def track(self, topic: str, key: str, meta: Mapping[str, Any]) -> str:
        """Add an entry of this process; its `phx_ref`.

        Raises:
            Refuse: the topic has as many entries as `Limits.presences` allows.
            ValueError: the key is no key.
        """
        _check(key)
        if sum(map(len, self._everywhere(topic))) >= self._hub.limits.presences:
            raise Refuse({"reason": "too many present"})
        ref = f"{self._hub.node}.{next(self._refs)}"
        self._join(topic, ref, key, dict(meta))
        return ref

    def update(self, topic: str, ref: str, meta: Mapping[str, Any], *, key: str | None = None) -> str:
        """Replace an entry, under another key if one is given; its new `phx_ref`."""
        before, _ = self._own[topic][ref]
        key = before if key is None else key
        _check(key)
        known = {**meta, "phx_ref_prev": ref} if key == before else dict(meta)
        msgspec.json.encode(known)  # raises before anything is changed
        self._leave(topic, ref)
        new = f"{self._hub.node}.{next(self._refs)}"
        self._join(topic, new, key, known)
        return new

    def untrack(self, topic: str, ref: str) -> None:
        """Take an entry away, if it is there."""
        if ref in self._own.get(topic, ()):
            self._leave(topic, ref)

    def _everywhere(self, topic: str) -> Sequence[Entries]:
        found = [node.topics[topic] for node in self._nodes.values() if topic in node.topics]
        return [self._own[topic], *found] if topic in self._own else found

    def _join(self, topic: str, ref: str, key: str, meta: dict[str, Any]) -> None:
        msgspec.json.encode(meta)  # raises here, where the caller is, what no member could be sent
        self._own.setdefault(topic, {})[ref] = key, meta
        self._ever = True
        self._outgoing.joins.append((topic, ref, key, meta))
        self._differs(topic, {ref: (key, meta)}, {})

    def _leave(self, topic: str, ref: str) -> tuple[str, dict[str, Any]]:
        entries = self._own[topic]
        gone = entries.pop(ref)
        if not entries:
            del self._own[topic]
        self._outgoing.leaves.append((topic, ref))
        self._differs(topic, {}, {ref: gone})
        return gone

    # --- what members are told ---

    def _differs(self, topic: str, joins: Entries, leaves: Entries) -> None:
        known = self._diffs.setdefault(topic, ({}, {}))
        for ref, entry in leaves.items():
            if known[0].pop(ref, None) is None:
                known[1][ref] = entry
        for ref, entry in joins.items():  # the same once more: who was thought dead, and is not
            if known[1].pop(ref, None) is None:
                known[0][ref] = entry
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._shown_at + GATHER), self._show)

    def _show(self) -> None:
        self._timer = None
        self._shown_at = asyncio.get_running_loop().time()
        diffs, self._diffs = self._diffs, {}
        for topic, (joins, leaves) in diffs.items():
            room = self._hub.rooms.get(self._hub.prefix + topic)
            if room is not None and (joins or leaves):
                diff = msgspec.json.encode({"joins": _group(joins, {}), "leaves": _group(leaves, {})})
                room.show(protocol.broadcast(protocol.tail(topic, "presence_diff", diff)))
        says, self._outgoing = self._outgoing, _Says("diff")
        if self._hub.shared:
            # Who came and went meanwhile is in both: the joins go first.
            for came in _parts(says.joins):
                self._tell_diff(_Says("diff", joins=came))
            for went in _parts(says.leaves):
                self._tell_diff(_Says("diff", leaves=went))

    def _tell_diff(self, says: _Says) -> None:
        self._number += 1
        says.number = self._number
        self._say(says)

    # --- what processes tell each other ---

    async def begin(self) -> None:
        """Ask who is there, and say from now on that this process is."""
        self._say(_Says("ask"))
        self._hub.spawn(self._beat(), "holdfast channels presence")

    async def close(self) -> None:
        """Tell the others that everybody here has left."""
        ever = self._ever
        self.forget()
        if self._hub.shared and ever:
            await self._hub.note(None, notes.PRESENCE, _Says("bye"))

    def forget(self) -> None:
        """Everybody, here and elsewhere."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ever, self._shown_at = False, 0.0
        self._number, self._outgoing = 0, _Says("diff")
        self._nodes.clear()
        self._own.clear()
        self._diffs.clear()

    def lost(self) -> None:
        """Others may have said what was not heard here."""
        self._say(_Says("ask"))

    def _say(self, says: _Says) -> None:
        self._hub.spawn(self._said(says), "holdfast channels presence note")

    async def _said(self, says: _Says) -> None:
        try:
            await self._hub.note(None, notes.PRESENCE, says)
        except StoreError:
            pass  # numbers tell the others that they missed something, and a beat tells them the number

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        lease = self._hub.lease
        while True:
            await asyncio.sleep(lease / 3)
            if self._ever:
                self._say(_Says("beat", self._number))
            for name, node in list(self._nodes.items()):
                if loop.time() - node.heard > lease:
                    self._forget(name)

    def hear(self, name: str, raw: bytes | msgspec.Raw) -> None:
        """Another process said something."""
        says = msgspec.json.decode(raw, type=_Says)
        if says.kind == "ask":
            if says.to in ("", self._hub.node) and self._ever:
                self._tell_state(name)
            return
        if says.kind == "bye":
            self._forget(name)
            return
        if says.to not in ("", self._hub.node):
            return
        node = self._nodes.setdefault(name, _Node())
        node.heard = asyncio.get_running_loop().time()
        if says.kind == "state":
            self._state(node, says)
        elif says.kind == "diff" and node.number == says.number - 1:
            node.number = says.number
            self._differ(node, says)
        elif says.number > node.number and node.heard - node.asked >= ASK_AGAIN:
            node.asked = node.heard
            self._say(_Says("ask", to=name))

    def _tell_state(self, to: str) -> None:
        entries = [
            (topic, ref, key, meta) for topic, own in self._own.items() for ref, (key, meta) in own.items()
        ]
        # What waits to be told as a difference is in it: its number is the next one's, which then changes nothing.
        parts = _parts(entries) or [[]]
        for at, part in enumerate(parts):
            self._say(_Says("state", self._number, to, part, [], at, at == len(parts) - 1))

    def _state(self, node: _Node, says: _Says) -> None:
        if says.number < node.number:
            return  # of before what is known: it was asked for twice, or delayed
        if says.part == 0:
            node.coming, node.part = {}, 0
        if node.coming is None or says.part != node.part:
            node.coming = None
            return  # one before it was lost; a beat will tell that something is missing
        node.part += 1
        for topic, ref, key, meta in says.joins:
            node.coming.setdefault(topic, {})[ref] = key, meta
        if says.last:
            before, node.topics, node.coming = node.topics, node.coming, None
            node.number = says.number
            for topic in before.keys() | node.topics.keys():
                old, new = before.get(topic, {}), node.topics.get(topic, {})
                joins = {ref: new[ref] for ref in new.keys() - old.keys()}
                leaves = {ref: old[ref] for ref in old.keys() - new.keys()}
                if joins or leaves:
                    self._differs(topic, joins, leaves)

    def _differ(self, node: _Node, says: _Says) -> None:
        for topic, ref in says.leaves:
            gone = node.topics.get(topic, {}).pop(ref, None)
            if gone is not None:
                self._differs(topic, {}, {ref: gone})
                if not node.topics[topic]:
                    del node.topics[topic]
        for topic, ref, key, meta in says.joins:
            if ref not in node.topics.get(topic, ()):
                node.topics.setdefault(topic, {})[ref] = key, meta
                self._differs(topic, {ref: (key, meta)}, {})

    def _forget(self, name: str) -> None:
        node = self._nodes.pop(name, None)
        if node is not None:
            for topic, entries in node.topics.items():
                self._differs(topic, {}, entries)


def _check(key: str) -> None:
    if not isinstance(key, str) or not key or key in _PROTOTYPE:
        said = str(key)[:60]
        raise Invalid(None, f"track {said!r}: a key is text, and none of JavaScript's own properties")


def _parts(what: list[T]) -> list[list[T]]:
    """As many lists as it takes for each to be small enough for one note."""
    parts: list[list[T]] = []
    room = 0
    for each in what:
        size = len(msgspec.json.encode(each))
        if size > room:
            parts.append([])
            room = PART
        room -= size
        parts[-1].append(each)
    return parts


def _group(entries: Entries, into: dict[str, Any]) -> dict[str, Any]:
    """Entries by key, as the client wants them."""
    for ref, (key, meta) in entries.items():
        into.setdefault(key, {"metas": []})["metas"].append({**meta, "phx_ref": ref})
    return into
