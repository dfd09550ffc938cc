from __future__ import annotations

from holdfast.events import BatchApplied, Connected, Disconnected, OperationApplied, Swept
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
    assert tally.operations == {("memory", "get"): 1, ("redis", "get"): 3, ("redis", "set"): 3}
    assert tally.errors == {("redis", "StoreUnavailable"): 1}
    assert tally.batch_operations["redis"].total == 6
    assert sum(tally.batch_seconds["redis"].counts) == 2


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
