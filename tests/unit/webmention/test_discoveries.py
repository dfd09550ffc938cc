from holdfast.testing.clock import ManualClock
from holdfast.webmention.discoveries import LONGEST, Discoveries
from holdfast.webmention.outcomes import Outcome


def made(most: int = 1000) -> tuple[Discoveries, ManualClock]:
    clock = ManualClock()
    return Discoveries(most=most, now=lambda: clock() / 1000), clock


def test_what_was_found_is_known_for_as_long_as_it_may_be() -> None:
    discoveries, clock = made()
    discoveries.put("t", "https://hook", 30)
    clock.advance(29.9)
    assert discoveries.get("t") == "https://hook"
    clock.advance(0.1)
    assert discoveries.get("t") is None


def test_nothing_is_known_for_longer_than_an_hour() -> None:
    discoveries, clock = made()
    discoveries.put("t", "https://hook", 1e9)
    clock.advance(LONGEST)
    assert discoveries.get("t") is None
    assert LONGEST == 3600


def test_failures_are_known_too() -> None:
    discoveries, _ = made()
    failed = Outcome(ended="later", says="offline")
    discoveries.put("t", failed, 60)
    assert discoveries.get("t") == failed


def test_what_may_not_be_remembered_forgets_what_was() -> None:
    discoveries, _ = made()
    discoveries.put("t", "https://old", 60)
    discoveries.put("t", "https://new", 0)
    assert discoveries.get("t") is None


def test_the_oldest_goes_where_there_are_too_many() -> None:
    discoveries, _ = made(most=3)
    for name in "abcad":
        discoveries.put(name, name, 60)
    assert [name for name in "abcd" if discoveries.get(name)] == ["a", "c", "d"]
    assert len(discoveries) == 3


def test_a_clock_that_was_set_back_makes_nothing_live_for_ever() -> None:
    now = [1000.0]
    discoveries = Discoveries(now=lambda: now[0])
    discoveries.put("t", "https://hook", 60)
    now[0] = 500.0
    assert discoveries.get("t") is None
