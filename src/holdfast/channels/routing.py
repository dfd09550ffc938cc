"""Which `Channel` serves a topic, and what of each class is worked out once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec

from holdfast.channels.channel import Channel, Keep
from holdfast.channels.payloads import Reader, reader_of
from holdfast.channels.protocol import HEARTBEAT, LONGEST
from holdfast.errors import TopicRefused

__all__ = ["Route", "Routes", "check_topic"]

Handler = Callable[[Any, Any], Awaitable[Any]]


class Route(msgspec.Struct, frozen=True, eq=False):
    """One `Channel` class, checked."""

    kind: type[Channel]
    pattern: str
    prefix: str | None  # of a pattern that ends in `*`
    handlers: dict[str, tuple[Handler, Reader]]
    keep: Keep
    history: int
    max_messages: int | None
    max_age_ms: int | None

    @classmethod
    def of(cls, kind: type[Channel]) -> Route:
        """Raises `TypeError` or `ValueError` for a class that cannot serve."""
        name = kind.__name__
        if not (isinstance(kind, type) and issubclass(kind, Channel)):
            raise TypeError(f"channels: {kind!r} is no subclass of Channel")
        pattern = getattr(kind, "topic", None)
        if not isinstance(pattern, str) or not pattern:
            raise TypeError(f'{name}: say which topics it serves: topic = "room:*"')
        if "*" in pattern[:-1]:
            raise ValueError(f"{name}: topic {pattern!r}: a * stands at the end or nowhere")
        check_topic(pattern)
        keep: Keep = kind.keep if kind.keep is not None else kind.history is not None
        if keep not in (True, False, "behind"):
            raise ValueError(f"{name}: keep = {keep!r}: True, False, or 'behind'")
        if keep and kind.history is None:
            raise ValueError(f"{name}: keep = {keep!r} needs a history: history = 0 replays none, and keeps")
        if kind.history is not None and not 0 <= kind.history <= 1000:
            raise ValueError(f"{name}: history = {kind.history!r}: from 0 to 1000 messages, or None")
        if kind.max_messages is not None and kind.max_messages < max(1, kind.history or 0):
            raise ValueError(f"{name}: max_messages = {kind.max_messages!r}: at least what history replays")
        return cls(
            kind,
            pattern,
            pattern[:-1] if pattern.endswith("*") else None,
            _handlers(kind),
            keep,
            kind.history or 0,
            kind.max_messages,
            _age(name, kind.max_age),
        )

    @property
    def kept(self) -> bool:
        """Whether its topics have a history."""
        return self.kind.history is not None


def _age(name: str, age: float | timedelta | None) -> int | None:
    if age is None:
        return None
    seconds = age.total_seconds() if isinstance(age, timedelta) else float(age)
    if not 0 < seconds < 1e11:
        raise ValueError(f"{name}: max_age = {age!r}: more than no time at all, or None")
    return max(1, round(seconds * 1000))


def _handlers(kind: type[Channel]) -> dict[str, tuple[Handler, Reader]]:
    found: dict[str, tuple[Handler, Reader]] = {}
    for name in dir(kind):
        method = getattr(kind, name)
        event = getattr(method, "__holdfast_event__", None)
        if event is None:
            continue
        if event in found:
            raise ValueError(f"{kind.__name__}: two handlers for {event!r}")
        found[event] = (method, reader_of(method))
    return found


class Routes:
    """The classes of one `Channels`, in order: the first whose pattern fits serves, an exact one before all."""

    def __init__(self, kinds: Iterable[type[Channel]]) -> None:
        self.all = [Route.of(kind) for kind in kinds]
        self._exact: dict[str, Route] = {}
        for route in self.all:
            if route.prefix is None and self._exact.setdefault(route.pattern, route) is not route:
                raise ValueError(f"channels: two classes serve {route.pattern!r}")
        self._patterns = [route for route in self.all if route.prefix is not None]

    def find(self, topic: str) -> Route | None:
        """The route that serves the topic; None also for what is no topic: see `check_topic`."""
        route = self._exact.get(topic)
        if route is not None:
            return route
        if not topic or topic == HEARTBEAT or "\0" in topic:
            return None
        for route in self._patterns:
            if topic.startswith(route.prefix or ""):
                return route
        return None

    def get(self, topic: str) -> Route:
        """The same; `TopicRefused` where there is none."""
        route = self.find(topic)
        if route is None:
            raise TopicRefused(f"topic {topic!r}: no channel serves it")
        return route


def check_topic(topic: str) -> str:
    """The topic, if it is 1 to 255 bytes of text without NUL.

    Raises:
        TypeError, ValueError: it is not, or it is the protocol's own.
    """
    if not isinstance(topic, str):
        raise TypeError(f"a topic is a str, not {type(topic).__name__}")
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise ValueError(f"topic {topic!r}: lone surrogates are no text") from None
    if not 0 < size <= LONGEST or "\0" in topic or topic == HEARTBEAT:
        raise ValueError(f"topic {topic[:60]!r}: 1 to {LONGEST} bytes without NUL, and not {HEARTBEAT!r}")
    return topic
