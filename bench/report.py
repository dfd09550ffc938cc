"""The results as the section of docs/benchmarks.md that stands between the two markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.measure import Cell, Results, Sample, markdown, median, number, ratio
from bench.peers import EXPIRES, KEYS, Peer, encode, users
from bench.probes import CALM, Disk
from bench.targets import OPS, OURS, Verdict, judge

__all__ = ["CLOSE", "OPEN", "Run", "insert", "render"]

OPEN = "<!-- bench:persist -->"
CLOSE = "<!-- /bench:persist -->"
HEAD = ("tasks", "store", "ops/s", "min–max", "p50 µs", "p99 µs", "CPU µs", "Holdfast is")


class Run(msgspec.Struct):
    """All that one run found out."""

    command: str
    machine: str
    versions: str
    filesystem: str
    rounds: int
    seconds: float
    pinned: bool = False
    keys: int = KEYS
    results: Results = {}
    peers: dict[str, list[Peer]] = {}
    missing: dict[str, dict[str, str]] = {}
    servers: dict[str, str] = {}
    loads: dict[str, str] = {}
    disk: dict[str, dict[int, list[Disk]]] = {}
    imported: tuple[float, float] | None = None


def render(run: Run) -> str:
    """The whole section."""
    engines = [engine for engine in run.peers if run.peers[engine]]
    verdicts = judge(run.results, run.peers, run.disk, run.imported[1] if run.imported else None)
    parts = [_preface(run), *(_engine(run, engine) for engine in engines), _targets(run, verdicts)]
    return "\n\n".join(parts) + "\n"


def insert(path: Path, section: str, *, markers: tuple[str, str] = (OPEN, CLOSE)) -> None:
    """Put the section between the markers, at the end where there are none yet."""
    first, last = markers
    text = path.read_text() if path.exists() else "# Benchmarks\n"
    before, opened, rest = text.partition(first)
    _, closed, after = rest.partition(last)
    if opened and not closed:
        raise ValueError(f"{path.name}: {first} without {last}")
    before = before if opened else text.rstrip("\n") + "\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}{first}\n\n{section}\n{last}{after if opened else chr(10)}")


def _preface(run: Run) -> str:
    pairs = users(run.keys)
    sizes = [len(encode(user)) for _, user in pairs]
    where = (
        "Cells of one task run with client and server on one core (`--pin-lone`): where the scheduler puts the two "
        "decides what a lone round trip takes, by a factor of four. Nothing else is pinned."
        if run.pinned
        else "Nothing is pinned."
    )
    lines = [
        "## persist, side by side",
        f"`{run.command}`",
        f"{run.machine}; data on {run.filesystem}. {run.versions}, uvloop as the event loop.",
        f"A typed record ({sum(sizes) // len(sizes)} bytes of JSON) with an expiry of {EXPIRES} s, {run.keys:,} keys. "
        f"Each cell runs for {run.seconds:g} s after a warm-up; {run.rounds} round{'s' * (run.rounds > 1)}, "
        "and in each round, for each operation and number of tasks, every store in turn, "
        "so that a noisy minute hits all of them. "
        "Figures are medians of the rounds, min–max is the spread of the throughput. `create` writes keys that "
        "did not exist and is the peer's own add / NX / `ON CONFLICT DO NOTHING`; whoever has none is missing there. "
        "Peers that take bytes get a msgspec encoder and decoder; peers that take dicts get `to_builtins` and "
        "`convert`. CPU is that of the client process per operation, all threads (SQLite's writer and glide's core "
        f"included). Client and server share the cores. {where} *Holdfast is* gives the median of the "
        "ratios of each round. The rows *by hand* are batches of 100 made by the caller on the plain client: the "
        "limit of an engine without an API in front; their latencies are those of a batch.",
    ]
    return "\n\n".join(lines)


def _engine(run: Run, engine: str) -> str:
    parts = [f"### {engine}"]
    about = [run.servers.get(engine, ""), f"Load average before: {run.loads.get(engine, '?')}."]
    probes = run.disk.get(engine)
    if probes:
        rounds = (
            f"{turn + 1}: {' → '.join(f'{number(p.p50_us)}/{number(p.p99_us)}' for p in both)}"
            f" ({'calm' if all(p.calm for p in both) else 'not calm'})"
            for turn, both in sorted(probes.items())
        )
        about.append(
            "fdatasync p50/p99 in µs before → after each round (calm: p99 at most "
            f"{CALM:g} × p50): {'; '.join(rounds)}."
        )
    parts.append(" ".join(filter(None, about)))
    for op in OPS:
        rows = list(_rows(run.results, engine, op, run.peers[engine]))
        if rows:
            parts.append(f"`{op}`\n\n" + markdown(HEAD, rows, left=2))
    parts.append("\n".join(f"- **{peer.name}**: {peer.about}" for peer in run.peers[engine]))
    missing = run.missing.get(engine)
    if missing:
        parts.append("\n".join(f"- **{name}** did not run: {reason}" for name, reason in missing.items()))
    return "\n\n".join(parts)


def _rows(results: Results, engine: str, op: str, peers: Sequence[Peer]) -> Iterable[list[str]]:
    by_hand = {peer.name: peer.batch for peer in peers if peer.batch > 1}
    cells = [c for c in results if c.engine == engine and c.op == op and results[c]]
    numbers = sorted({cell.tasks for cell in cells if cell.peer not in by_hand})
    for tasks in numbers:
        yield from _sorted(results, [c for c in cells if c.tasks == tasks and c.peer not in by_hand])
    reference = Cell(engine, OURS, op, numbers[-1]) if numbers else None
    for cell in (c for c in cells if c.peer in by_hand):
        yield _row(results, cell, reference, f"{cell.tasks} × {by_hand[cell.peer]}")


def _sorted(results: Results, cells: Sequence[Cell]) -> Iterable[list[str]]:
    fastest_first = sorted(cells, key=lambda cell: -_median(results[cell], "rate"))
    for cell in fastest_first:
        yield _row(results, cell, Cell(cell.engine, OURS, cell.op, cell.tasks), str(cell.tasks))


def _row(results: Results, cell: Cell, ours: Cell | None, tasks: str) -> list[str]:
    samples = results[cell]
    rates = [sample.rate for sample in samples.values()]
    times = ratio(results, ours, cell) if ours is not None and ours != cell else None
    return [
        tasks,
        f"**{cell.peer}**" if cell.peer == OURS else cell.peer,
        number(median(rates)),
        f"{number(min(rates))}–{number(max(rates))}",
        *(number(_median(samples, figure)) for figure in ("p50_us", "p99_us", "cpu_us")),
        "" if times is None else f"{number(times)} ×",
    ]


def _median(samples: Mapping[int, Sample], figure: str) -> float:
    return median(getattr(sample, figure) for sample in samples.values())


def _targets(run: Run, verdicts: Sequence[Verdict]) -> str:
    words = {True: "met", False: "**not met**", None: "–"}
    rows = [[v.what, v.wanted, v.measured, words[v.met]] for v in verdicts]
    judged = [v for v in verdicts if v.met is not None]
    met = sum(bool(v.met) for v in judged)
    text = f"### Targets\n\n{met} of {len(judged)} met. In brackets the lowest and the highest ratio of a round.\n\n"
    if run.imported is not None:
        text += (
            f"`python -c 'import holdfast'` takes {number(run.imported[0])} ms, "
            f"{number(run.imported[1])} ms more than `python -c pass` (medians of 10).\n\n"
        )
    return text + markdown(("what", "wanted", "measured", ""), rows, left=2)
