"""What is done to the servers, and which figures of it are shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from bench.channels.contestants import EVERYONE
from bench.channels.pace import LOWEST
from bench.probes import Disk

__all__ = [
    "CALM_US",
    "IDLE",
    "PACED_P99_MS",
    "SCENARIOS",
    "Column",
    "Report",
    "Sample",
    "Scenario",
    "Spread",
    "decode",
]

IDLE: Final = 5_000
PACED_P99_MS: Final = 25.0
CALM_US: Final = 500.0
"""A round of saving counts for the p99 where that of fdatasync was at most so many microseconds."""


class Spread(msgspec.Struct, frozen=True):
    """Of one thing the generator timed, in milliseconds."""

    n: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """What the generator prints; rates are per second."""

    connections: int
    ready: int
    dead: int
    published: float = 0.0
    completed: float = 0.0  # messages that every member got
    deliveries: float = 0.0
    sent: int = 0  # from beginning to end, not only while measuring
    lost: int = 0  # of these, not delivered to every member three seconds after the end
    twice: int = 0
    late: int = 0
    busy: tuple[float, float] = (0.0, 0.0)  # the two cores, by whomever
    generator: float = 0.0
    frames_per_read: float = 0.0
    server: float = 0.0
    before_kb: int = 0
    joined_kb: int = 0
    end_kb: int = 0
    peak_kb: int = 0
    join_s: float = 0.0
    join_cpu_s: float = 0.0
    latency_ms: Spread = Spread()
    ready_ms: Spread = Spread()


class Sample(msgspec.Struct, frozen=True):
    """One server in one scenario and round."""

    report: Report
    pace: float = 0.0  # messages a second that it held
    missing: int = 0  # messages that a client saw and the store has not
    disk: tuple[Disk, ...] = ()  # before and after, where something is saved
    disturbed: bool = False

    @property
    def calm(self) -> bool:
        return all(disk.p99_us <= CALM_US for disk in self.disk)


Figure: TypeAlias = Callable[[Sample], float]


class Column(msgspec.Struct, frozen=True):
    head: str
    figure: Figure


class Scenario(msgspec.Struct, frozen=True):
    """One row of the issue's table. The first column is what servers are compared by."""

    name: str
    title: str
    words: str  # the generator's options
    columns: tuple[Column, ...]
    who: tuple[str, ...]
    more_is_better: bool = True
    history: int = 0
    saves: bool = False
    seconds: float = 1.0  # times the seconds of a cell
    peer_rounds: int = 2  # in which those take part by which no target is judged
    note: str = ""


def _us(sample: Sample) -> float:
    """Server CPU for one delivery."""
    return sample.report.server * 1e6 / sample.report.deliveries if sample.report.deliveries else 0.0


def _p99(sample: Sample) -> float:
    """Without end where more than one message in a hundred never arrived at all."""
    report = sample.report
    return math.inf if report.lost > 0.01 * report.sent else report.latency_ms.p99


DELIVERIES = Column("deliveries/s", lambda s: s.report.deliveries)
MESSAGES = Column("messages/s", lambda s: s.report.completed)
P50 = Column("p50 ms", lambda s: s.report.latency_ms.p50)
P99 = Column("p99 ms", _p99)
CPU = Column("server µs each", _us)
GENERATOR = Column("generator busy", lambda s: s.report.generator)
TOGETHER = Column("frames a read", lambda s: s.report.frames_per_read)
LOST = Column("lost", lambda s: s.report.lost)
TALK = (DELIVERIES, MESSAGES, P50, P99, CPU, TOGETHER, GENERATOR, LOST)

PACE = Column("messages/s held", lambda s: s.pace)
MISSING = Column("not in the store", lambda s: s.missing)
JOIN_S = Column("seconds", lambda s: s.report.join_s)
JOIN = (
    JOIN_S,
    Column("p50 ms", lambda s: s.report.ready_ms.p50),
    Column("p99 ms", lambda s: s.report.ready_ms.p99),
    Column("server CPU s", lambda s: s.report.join_cpu_s),
)
KB_EACH = Column(
    "KB each", lambda s: (s.report.end_kb - s.report.before_kb) / s.report.ready if s.report.ready else 0.0
)
IDLE_COLUMNS = (
    KB_EACH,
    Column("MB with all", lambda s: s.report.end_kb / 1024),
    Column("MB before", lambda s: s.report.before_kb / 1024),
    Column("connected", lambda s: s.report.ready),
    Column("s to connect", lambda s: s.report.join_s),
)
GROWTH = Column("growth MB", lambda s: (s.report.peak_kb - s.report.joined_kb) / 1024)
STALLED = (P99, P50, MESSAGES, GROWTH, Column("closed", lambda s: s.report.dead), LOST)

_ALL = tuple(c.name for c in EVERYONE if c.store in ("", "memory"))
_SAVING = tuple(c.name for c in EVERYONE if c.store in ("sqlite", "postgres"))
_REPLAYING = tuple(name for name in _ALL if name != "floor") + _SAVING
ROOMS = "--rooms 100 --members 10 --publishers 10 --publish"

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("fan", "A room of 1,000, one message at a time", "--members 1000 --publish", TALK, _ALL),
    Scenario(
        "paced",
        "A room of 1,000, evenly paced",
        "--members 1000 --publish",
        (PACE, P50, P99, CPU),
        _ALL,
        seconds=0.6,
        peer_rounds=1,
        note=f"The highest pace (in steps of 15%) at which the p99 from the moment a message was due to its arrival at "
        f"a member is at most {PACED_P99_MS:g} ms and nothing is lost; the other figures are those at this pace. 0: "
        f"none was held, and the others are those of {LOWEST:g} a second.",
    ),
    Scenario("rooms", "100 rooms of ten, all publishing", ROOMS, TALK, _ALL),
    Scenario(
        "saved",
        "The same, each saved before it is shown",
        ROOMS,
        (MESSAGES, DELIVERIES, P50, P99, CPU, MISSING),
        _SAVING,
        history=10,
        saves=True,
        note="Peers save nothing; compare with the rows above. *Not in the store*: messages that a client saw and that "
        "were not there after `kill -9` at the end of the run.",
    ),
    Scenario(
        "saved-paced",
        "The same, saved, 10,000 messages a second",
        f"{ROOMS} --rate 10000",
        (P99, P50, MESSAGES, CPU, MISSING),
        _SAVING,
        more_is_better=False,
        history=10,
        saves=True,
    ),
    Scenario(
        "joins",
        "1,000 clients connect, join, and get ten messages each",
        "--members 1000",
        JOIN,
        _REPLAYING,
        more_is_better=False,
        history=10,
        note="64 at a time. Peers replay from memory.",
    ),
    Scenario(
        "idle",
        f"{IDLE:,} idle connections in one room",
        f"--members {IDLE} --hold 1",
        IDLE_COLUMNS,
        _ALL,
        more_is_better=False,
        peer_rounds=1,
        note="Resident memory, a second after the last one joined.",
    ),
    Scenario(
        "stalled",
        "A room of 200 of whom 20 never read, 500 messages of 1.4 KB a second",
        "--members 200 --stalled 20 --rate 500 --length 1400 --publish",
        STALLED,
        _ALL,
        more_is_better=False,
        seconds=2.0,
        peer_rounds=1,
        note="Latencies are the others'. *Growth* is the highest resident memory over that before the first message; "
        "*closed* is how many connections the server had ended.",
    ),
)


def decode(text: bytes) -> Report:
    """The generator's line."""
    return msgspec.json.decode(text, type=Report)
