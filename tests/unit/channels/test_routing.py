"""Which class serves a topic, and which classes cannot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast.channels import Channel, event
from holdfast.channels.routing import Route, Routes, check_topic
from holdfast.errors import TopicRefused


class Everything(Channel):
    topic = "*"


class Rooms(Channel):
    topic = "room:*"
    history = 5

    @event("say")
    async def say(self, payload: dict[str, Any]) -> None: ...


class Lobby(Rooms):
    topic = "room:lobby"

    @event("wave")
    async def wave(self, payload: dict[str, Any]) -> None: ...


def test_an_exact_topic_goes_before_patterns_and_patterns_go_in_order() -> None:
    routes = Routes([Rooms, Everything, Lobby])

    def kind(topic: str) -> Any:
        route = routes.find(topic)
        return None if route is None else route.kind

    assert kind("room:lobby") is Lobby
    assert kind("room:lobby2") is Rooms
    assert kind("room:") is Rooms
    assert kind("room") is Everything
    assert Routes([Everything, Rooms]).get("room:a").kind is Everything


@pytest.mark.parametrize("topic", ["", "phoenix", "a\0b"])
def test_what_is_no_topic_is_served_by_nobody(topic: str) -> None:
    assert Routes([Everything]).find(topic) is None


def test_a_topic_that_nobody_serves_is_refused() -> None:
    with pytest.raises(TopicRefused, match="'hall': no channel serves it"):
        Routes([Rooms]).get("hall")


def test_handlers_are_inherited() -> None:
    assert set(Route.of(Lobby).handlers) == {"say", "wave"}
    assert set(Route.of(Rooms).handlers) == {"say"}


def test_what_a_class_says_of_its_history_is_worked_out() -> None:
    class Aged(Rooms):
        max_age = timedelta(minutes=1)
        max_messages = 5

    class Fleeting(Rooms):
        max_age = 0.0001
        keep = "behind"

    class Loose(Channel):
        topic = "loose"

    aged, fleeting, loose = Route.of(Aged), Route.of(Fleeting), Route.of(Loose)
    assert (aged.max_age_ms, aged.max_messages, aged.keep, aged.kept) == (60_000, 5, True, True)
    assert (fleeting.max_age_ms, fleeting.keep) == (1, "behind")
    assert (loose.keep, loose.kept, loose.history, loose.max_age_ms) == (False, False, 0, None)


def changed(**attributes: Any) -> type[Channel]:
    return type("Wrong", (Rooms,), attributes)


@pytest.mark.parametrize(
    ("attributes", "error", "says"),
    [
        ({"topic": None}, TypeError, "which topics"),
        ({"topic": ""}, TypeError, "which topics"),
        ({"topic": "a*b"}, ValueError, "at the end"),
        ({"topic": "**"}, ValueError, "at the end"),
        ({"topic": "phoenix"}, ValueError, "phoenix"),
        ({"topic": "x" * 256}, ValueError, "255"),
        ({"history": None, "keep": True}, ValueError, "needs a history"),
        ({"history": None, "keep": "behind"}, ValueError, "needs a history"),
        ({"keep": "later"}, ValueError, "keep = 'later'"),
        ({"history": -1}, ValueError, "0 to 1000"),
        ({"history": 1001}, ValueError, "0 to 1000"),
        ({"max_messages": 4}, ValueError, "at least what history replays"),
        ({"history": 0, "max_messages": 0}, ValueError, "max_messages"),
        ({"max_age": 0}, ValueError, "max_age"),
        ({"max_age": float("nan")}, ValueError, "max_age"),
        ({"max_age": timedelta(days=-1)}, ValueError, "max_age"),
    ],
)
def test_a_class_that_cannot_serve_says_why(
    attributes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Routes([changed(**attributes)])


def test_two_handlers_of_one_event_are_an_error() -> None:
    class Twice(Rooms):
        @event("say")
        async def speak(self, payload: dict[str, Any]) -> None: ...

    with pytest.raises(ValueError, match="two handlers for 'say'"):
        Routes([Twice])


def test_two_classes_of_one_exact_topic_are_an_error() -> None:
    with pytest.raises(ValueError, match="two classes serve 'room:lobby'"):
        Routes([Lobby, Rooms, Lobby])


def test_what_is_no_channel_is_an_error() -> None:
    for kind in (dict, Rooms.say):
        with pytest.raises(TypeError, match="no subclass of Channel"):
            Routes([kind])  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["", "phx_reply"])
def test_an_event_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="event"):
        event(name)


@pytest.mark.parametrize("topic", ["a", "é" * 127, "room:*", "\N{GRINNING FACE}"])
def test_a_topic_is_text(topic: str) -> None:
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("", ValueError),
        ("é" * 128, ValueError),
        ("a\0", ValueError),
        ("phoenix", ValueError),
        ("\ud800", ValueError),
        (b"a", TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_topic_is_refused(topic: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_topic(topic)
