"""What has to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bench.measure import Cell, Results, best, between, median, number
from bench.peers import Peer
from bench.probes import Disk

__all__ = ["BULK", "Target", "Verdict", "judge"]

OURS = "holdfast"
OPS = ("set", "get", "create")
BULK = 256
LONE = 1


class Target(msgspec.Struct, frozen=True):
    """`ours` reaches `at_least` times the throughput of the best of `against` (empty: of every peer that counts)."""

    engine: str
    op: str
    at_least: float
    against: tuple[str, ...] = ()
    says: str = ""
    tasks: int = BULK
    encoding_only: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """One line of the table; `met` is None where nothing could be judged."""

    what: str
    wanted: str
    measured: str
    met: bool | None


LIMIT = ("by hand: unnest of 100",)
RAW_REDIS = ("redis-py", "redis-py, one connection")
RAW_POSTGRES = ("asyncpg, one connection",)

TARGETS = (
    Target("memory", "set", 3.5, says="the best peer"),
    Target("memory", "get", 4, says="the best peer that encodes", encoding_only=True),
    Target("memory", "create", 3.5, says="the best peer"),
    Target("sqlite", "set", 6, ("aiosqlite FULL",)),
    Target("sqlite", "set", 0.75, ("holdfast NORMAL",), says="our own NORMAL"),
    Target("sqlite", "get", 3, ("aiosqlite FULL, cursors",), says="aiosqlite, as its examples write it"),
    Target("sqlite", "get", 3, ("aiosqlite FULL",), says="aiosqlite, with one hop to its thread"),
    Target("sqlite", "create", 10, ("aiosqlite FULL",)),
    Target("redis", "set", 10, ("litestar",), says="litestar's RedisStore"),
    Target("redis", "set", 6, ("valkey-glide",)),
    Target("redis", "get", 10, ("litestar",), says="litestar's RedisStore"),
    Target("redis", "get", 6, ("valkey-glide",)),
    Target("redis", "create", 10, ("aiocache",)),
    Target("redis", "create", 5, ("valkey-glide",)),
    Target("postgres", "set", 12, ("py-key-value",)),
    Target("postgres", "set", 8, ("asyncpg pool, no reset",)),
    Target("postgres", "set", 0.7, LIMIT, says="the hand-made limit"),
    Target("postgres", "get", 20, ("py-key-value",)),
    Target("postgres", "get", 10, ("asyncpg pool, no reset",)),
    Target("postgres", "get", 0.7, LIMIT, says="the hand-made limit"),
    Target("postgres", "create", 10, ("SQLAlchemy",)),
    Target("postgres", "create", 8, ("asyncpg pool, no reset",)),
    *(Target("redis", op, 1, RAW_REDIS, says="the raw client, alone", tasks=LONE) for op in OPS),
    *(Target("postgres", op, 1, RAW_POSTGRES, says="the raw client, alone", tasks=LONE) for op in OPS),
    Target("sqlite", "get", 0.8, ("sqlite3 itself",), says="sqlite3 itself, alone", tasks=LONE),
)
CPU_US = {"redis": 4.0, "postgres": 8.0}
IMPORT_MS = 50.0
STEADY = {"memory": 5.0, "sqlite": 8.0, "redis": 5.0, "postgres": 5.0}
"""p99 over p50, at most."""


def judge(
    results: Results,
    everyone: Mapping[str, Sequence[Peer]],
    disk: Mapping[str, Mapping[int, Sequence[Disk]]],
    imported_ms: float | None,
) -> list[Verdict]:
    """Every target whose engine took part.

    `disk` has the probes around each round, by engine and round.
    """
    verdicts = [_reached(results, target, everyone) for target in TARGETS if target.engine in everyone]
    verdicts += _steady(results, disk, [engine for engine in STEADY if engine in everyone])
    for engine, limit in CPU_US.items():
        for op in OPS if engine in everyone else ():
            samples = results.get(Cell(engine, OURS, op, BULK), {}).values()
            what = f"{engine} `{op}`, {BULK} tasks: client CPU per operation, µs"
            verdicts.append(_at_most(what, limit, [sample.cpu_us for sample in samples]))
    if imported_ms is not None:
        verdicts.append(
            _at_most("`import holdfast`, ms more than an empty interpreter", IMPORT_MS, [imported_ms])
        )
    return verdicts


def _reached(results: Results, target: Target, everyone: Mapping[str, Sequence[Peer]]) -> Verdict:
    mine = Cell(target.engine, OURS, target.op, target.tasks)
    rivals = [
        # By hand, the number of callers is its own: two connections with 100 rows each stand for 256 tasks.
        Cell(target.engine, peer.name, target.op, peer.only_tasks or 0 if peer.batch > 1 else target.tasks)
        for peer in everyone[target.engine]
        if (peer.name in target.against if target.against else _counts(peer, target))
    ]
    other = best(results, rivals)
    what = f"{target.engine} `{target.op}`, {target.tasks} task{'s' * (target.tasks > 1)}"
    wanted = f"≥ {target.at_least:g} × {target.says or target.against[0]}"
    rounds = between(results, mine, other) if other else []
    if not rounds or other is None:
        return Verdict(what, wanted, "not measured", None)
    named = "" if other.peer in wanted else f" ({other.peer})"
    spread = f"{number(min(rounds))}–{number(max(rounds))}"
    return Verdict(
        what, wanted, f"{number(median(rounds))}{named} [{spread}]", median(rounds) >= target.at_least
    )


def _counts(peer: Peer, target: Target) -> bool:
    ours = peer.name.startswith(OURS)
    return not ours and peer.batch == 1 and (peer.encodes or not target.encoding_only)


def _steady(
    results: Results, disk: Mapping[str, Mapping[int, Sequence[Disk]]], engines: Sequence[str]
) -> Iterator[Verdict]:
    for engine in engines:
        for op in OPS:
            rounds = results.get(Cell(engine, OURS, op, BULK), {})
            probes = disk.get(engine, {})
            calm = [s for turn, s in rounds.items() if all(probe.calm for probe in probes.get(turn, ()))]
            what = f"{engine} `{op}`, {BULK} tasks: p99 ÷ p50"
            if probes:
                what += f" ({len(calm)} of {len(rounds)} rounds calm)"
            yield _at_most(what, STEADY[engine], [s.p99_us / s.p50_us for s in calm])


def _at_most(what: str, limit: float, values: Sequence[float]) -> Verdict:
    if not values:
        return Verdict(what, f"≤ {limit:g}", "not measured", None)
    return Verdict(what, f"≤ {limit:g}", number(median(values)), median(values) <= limit)
