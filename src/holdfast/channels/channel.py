"""`Channel`: what happens in the topics of one pattern; a subclass is an application's room.

An instance is one client in one topic. Its callbacks and handlers run one at a
time, in the order in which the client's messages came, and beside those of
other instances.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from holdfast.channels.api import Channels
    from holdfast.channels.joined import Joined

__all__ = ["AnyTopic", "Channel", "Connect", "Keep", "Refuse", "Reply", "User", "event"]

Keep: TypeAlias = bool | Literal["behind"]


class Refuse(Exception):
    """Raised in `join` or a handler: the client gets an error reply with this payload.

    In `joined` and `info`, which nobody waits for, it ends the callback; the
    client stays. Raised in `connect`, it is a 403 without words; browsers do not even tell
    their page that. Where somebody can act on the reason, refuse the join.

    A refused client of npm's phoenix tries to join again and again, ever more
    slowly, unless it leaves when it hears so (and not where the reason is "store
    unavailable", which passes):
    ``join().receive("error", ({reason}) => { if (reason === "refused") channel.leave() })``.
    """

    def __init__(self, payload: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.payload: Mapping[str, Any] = {"reason": "refused"} if payload is None else payload

    def __str__(self) -> str:
        return f"refused: {', '.join(map(str, self.payload))}"


class User(msgspec.Struct, frozen=True):
    """Who a connection belongs to, as `connect` says.

    `expires` (seconds from now, or a `timedelta`) ends the connection with a
    code upon which the client comes back and is asked again; None: never.
    `data` is the application's own.
    """

    id: str
    expires: float | timedelta | None = None
    data: Any = None


class Connect(msgspec.Struct, frozen=True):
    """What a client says when it connects."""

    params: Mapping[str, Any]  # of the query, nested as the client sent them; all values are strings
    headers: Mapping[str, str]  # names in lower case; of several of one name the last
    token: str | None  # npm's `authToken`
    client: str | None  # its address
    scope: Mapping[str, Any]  # ASGI's, with whatever middleware put there


class Reply(msgspec.Struct, frozen=True):
    """An answer with a status of one's own: npm's ``push(...).receive(status, callback)``."""

    status: str
    payload: Any = None  # a JSON object, None for an empty one, or `bytes`


F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def event(name: str) -> Callable[[F], F]:
    """The method handles what clients push as `name`.

    Its argument's annotation is the payload's type: a `Struct`, dataclass,
    `TypedDict`, pydantic model, `dict`, or `bytes` for a binary push; what does
    not fit gets an error reply that names the field. What it returns is the
    reply: None (an empty "ok"), a JSON object ("ok"), `bytes`, or a `Reply`.
    """
    if not name or name.startswith("phx_"):
        raise ValueError(
            f"event {name!r}: an event has a name, and those of the protocol itself begin with phx_"
        )

    def mark(method: F) -> F:
        method.__dict__["__holdfast_event__"] = name
        return method

    return mark


class Channel:
    """Subclass it, say which topics it serves, and override what it should do.

    Class attributes:
        topic: an exact topic, or one that ends in ``*`` and serves what starts so.
        history: how many messages are replayed to whoever joins, oldest first;
            0: none, but messages are kept and a returning client gets what it
            missed; None: nothing is kept.
        max_messages: how many are kept at least; up to an eighth more may stay
            for a while. None: all.
        max_age: seconds or a `timedelta` after which a message goes, with the
            next one in its topic or within a minute or two. None: never.
        keep: whether `broadcast` keeps what it sends: True where `history` is set.
        presence: whether members are told who is there; see `track`.
    """

    topic: str  # of the class a pattern, of an instance the topic
    history: ClassVar[int | None] = None
    max_messages: ClassVar[int | None] = 10_000
    max_age: ClassVar[float | timedelta | None] = None
    keep: ClassVar[Keep | None] = None
    presence: ClassVar[bool] = False

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self.topic = joined.topic

    # --- to override ---

    async def join(self, params: dict[str, Any]) -> Any:
        """May this client join? Raise `Refuse`, or return what the reply shall carry: a JSON object or None."""
        return None

    async def joined(self) -> None:
        """The client has its reply and the history; from here on it can be pushed to."""

    async def info(self, message: Any) -> None:
        """What `channels.tell(topic, message)` sent, from any process."""

    async def left(self, reason: str) -> None:
        """The client is gone; called once wherever `join` has returned. Nothing can be sent to it.

        `reason` is "leave", "closed", "slow" (it did not read), "rejoined",
        "crash", "shutdown", "lost" (it must join anew, because what it missed is
        no longer all in the store), or "refused" (the store failed behind
        `join`, or what it returned is no reply). Not called where what was at work before it had to be cancelled.
        """

    # --- to use ---

    @property
    def user(self) -> User | None:
        """Who `connect` said this is."""
        return self._joined.socket.user

    @property
    def channels(self) -> Channels:
        """The `Channels` that this is part of: its history, its other topics."""
        return self._joined.hub.channels

    @property
    def state(self) -> dict[str, Any]:
        """The application's own, for as long as this client is in this topic."""
        state: dict[str, Any] | None = self.__dict__.get("_state")
        if state is None:
            state = self.__dict__["_state"] = {}
        return state

    async def push(self, event: str, payload: Any) -> None:
        """Send to this client alone. A JSON object, or `bytes`; nothing is kept."""
        self._joined.push(event, payload)

    def broadcast(
        self, event: str, payload: Any, *, keep: Keep | None = None, id: str | None = None
    ) -> Awaitable[str | None]:
        """Send to everyone in the topic, this client included; the position where it was kept, else None.

        With `keep=True` (the default where `history` is set) the message is
        stored first, and shown once it is. With ``"behind"`` it is shown first
        and stored as soon as can be, in the order shown: what waited is lost
        with the process. With False it is only shown. `id` is the message's own, so that one
        published twice is kept and shown once; with ``"behind"`` nobody asks the
        store first, so that one that is no longer among the latest of its topic
        (32 at least) is shown again, though it is kept once.

        Raises:
            StoreUnavailable: it was not stored, or `maybe_applied` says that this is not known; nothing was shown.
            MessageTooLarge, TypeError, ValueError: the payload, or the id, is none. Too large, with the
                reserved field `_holdfast`, or with a wrong id, it may be the client's doing: a handler
                that lets it pass answers with an error, and the channel goes on.
        """
        joined = self._joined
        return joined.hub.publishing.publish(joined.route, self.topic, event, payload, keep=keep, id=id)

    async def broadcast_from(self, event: str, payload: Any) -> None:
        """Send to everyone else in the topic; nothing is kept."""
        joined = self._joined
        await joined.hub.publishing.publish(
            joined.route, self.topic, event, payload, keep=False, id=None, but=joined
        )

    async def close(self) -> None:
        """Put this client out of the topic, for good: npm's client does not join again by itself. `left` follows."""
        self._joined.put_out()

    async def track(self, meta: Mapping[str, Any] | None = None, *, key: str | None = None) -> None:
        """Say that this client is here, as `key` (the user's id), with what others shall know of it.

        Tracked already, it is known by what is said now: under the same key where
        none is given, else under the new one.

        Needs `presence = True`. Ends when the client leaves, or its process dies.

        Raises:
            Refuse: `Limits.presences` are here already, ``{"reason": "too many present"}``.
                In `join` it refuses the client, in a handler it is the reply; in
                `joined`, where it ends the callback, the client stays and is not tracked.
            ValueError: there is no key.
        """
        self._joined.track(key, meta)

    async def update(self, meta: Mapping[str, Any]) -> None:
        """Replace what others know of it."""
        self._joined.track(None, meta)

    async def untrack(self) -> None:
        """Say that it is gone, though it stays."""
        self._joined.untrack()

    def present(self) -> dict[str, Any]:
        """Who is here: ``{key: {"metas": [{"phx_ref": ..., ...}]}}``."""
        return self._joined.hub.presence.list(self.topic)


class AnyTopic(Channel):
    """Every topic, for tools that read and write what an application's classes serve; no client may join."""

    topic = "*"
    history = 0
    max_messages = None

    async def join(self, params: dict[str, Any]) -> Any:
        raise Refuse({"reason": "unmatched topic"})
