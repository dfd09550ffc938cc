from __future__ import annotations

from holdfast.web.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_look_says_nothing_and_the_next_what_came_since() -> None:
    clock = Clock()
    pace = Pace(now=clock)
    assert pace.look({"in": 50}) == {}
    clock.now += 0.5
    assert pace.look({"in": 60}) == {}  # too short a time to speak of
    clock.now += 1.5
    assert pace.look({"in": 60, "new": 4}) == {"in": 5.0, "new": 2.0}


def test_rates_are_of_the_last_ten_seconds_or_so() -> None:
    clock = Clock()
    pace = Pace(now=clock)
    pace.look({"in": 0})
    for second in range(1, 41):
        clock.now += 1
        found = pace.look({"in": second * 100 if second <= 20 else 2000})
    assert found == {"in": 0.0}


def test_what_was_seen_long_ago_says_nothing_about_now() -> None:
    clock = Clock()
    pace = Pace(now=clock)
    pace.look({"in": 0})
    clock.now += 40
    assert pace.look({"in": 400}) == {"in": 10.0}
    clock.now += 61
    assert pace.look({"in": 500}) == {}


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    clock = Clock()
    pace = Pace(now=clock)
    pace.look({"room": 1_000})
    clock.now += 10
    assert pace.look({"room": 20}) == {"room": 2.0}
