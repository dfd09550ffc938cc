from __future__ import annotations

from holdfast.events import BatchApplied, Connected, Disconnected, MessageRefused, OperationApplied, Swept
from holdfast.web.tally import Histogram, Tally


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_operations_are_counted_one_by_one_and_in_batches() -> None:
    tally = Tally(now=Clock())
    tally.hear(OperationApplied("memory", "get"))
    tally.hear(BatchApplied("redis", {"get": 3, "set": 2}, 0.004, None))
    tally.hear(BatchApplied("redis", {"set": 1}, 0.2, "StoreUnavailable"))
    assert tally.operations == {
        ("memory", "persist", "get"): 1,
        ("redis", "persist", "get"): 3,
        ("redis", "persist", "set"): 3,
    }
    assert tally.errors == {("redis", "persist", "StoreUnavailable"): 1}
    assert tally.batch_operations["redis", "persist"].total == 6
    assert sum(tally.batch_seconds["redis", "persist"].counts) == 2


def test_what_rooms_do_is_told_apart_and_their_commits_are_timed() -> None:
    tally = Tally(now=Clock())
    tally.hear(BatchApplied("redis", {"set": 2}, 0.1, None))
    tally.hear(BatchApplied("redis", {"read": 4}, 0.1, None, "channels"))
    tally.hear(BatchApplied("redis", {"append": 3, "read": 1}, 0.004, None, "channels"))
    tally.hear(BatchApplied("redis", {"append": 3}, 9.0, "StoreUnavailable", "channels"))
    tally.hear(OperationApplied("redis", "find", "channels"))
    tally.hear(MessageRefused("join", "StoreUnavailable"))
    assert tally.operations["redis", "channels", "append"] == 6
    assert tally.operations["redis", "channels", "find"] == 1
    assert tally.batch_operations["redis", "channels"].total == 11
    assert tally.batch_operations["redis", "persist"].total == 2
    assert tally.errors == {("redis", "channels", "StoreUnavailable"): 1}
    assert tally.commit_seconds["redis"].total == 0.004
    assert tally.refused == {("join", "StoreUnavailable"): 1}


def test_connections_and_sweeps_are_counted() -> None:
    tally = Tally(now=Clock())
    for event in (
        Connected("redis", 1),
        Disconnected("redis", "gone"),
        Connected("redis", 3),
        Swept("sqlite", 7),
    ):
        tally.hear(event)
    assert (tally.connects["redis"], tally.disconnects["redis"], tally.swept["sqlite"]) == (2, 1, 7)


def test_rates_are_of_whole_seconds_and_forget() -> None:
    clock = Clock()
    tally = Tally(now=clock)
    tally.hear(BatchApplied("redis", {"get": 30, "set": 10}, 0.002, None))
    assert tally.recent().reads == 0  # the second is not over yet
    clock.now += 1
    tally.hear(BatchApplied("redis", {"getentry": 10}, 0.004, "StoreUnavailable"))
    clock.now += 1
    recent = tally.recent(10)
    assert (recent.reads, recent.writes) == (4.0, 1.0)
    assert (recent.batch, recent.largest, recent.milliseconds, recent.errors) == (25, 40, 3.0, 1)
    assert recent.series[-2:] == (40, 10)
    assert len(recent.series) == 60
    clock.now += 30
    assert tally.recent(10).batch is None
    assert sum(tally.recent().series) == 50
    clock.now += 60
    assert sum(tally.recent().series) == 0


def test_a_value_on_a_bound_falls_into_its_bucket() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (1, 2, 3, 4, 5):
        histogram.observe(value)
    assert histogram.counts == [1, 1, 2, 1]
