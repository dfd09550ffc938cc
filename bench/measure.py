"""What a cell measures and how numbers become text. A cell is one store doing one operation with so many tasks."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "Cell",
    "Results",
    "Sample",
    "best",
    "between",
    "markdown",
    "measure",
    "median",
    "number",
    "percentile",
    "ratio",
]

Call: TypeAlias = Callable[..., Awaitable[Any]]


class Cell(msgspec.Struct, frozen=True):
    """Which store, which operation, how many tasks."""

    engine: str
    peer: str
    op: str
    tasks: int


class Sample(msgspec.Struct, frozen=True):
    """One cell in one round."""

    ops: int
    seconds: float
    cpu_us: float  # per operation, all threads of the client process
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        return self.ops / self.seconds


Results: TypeAlias = dict[Cell, dict[int, Sample]]
"""Every sample, by cell and by round."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least `share` of them do not exceed.

    >>> percentile([1, 2, 3, 4], 0.5)
    2
    """
    if not ordered:
        raise ValueError("no values")
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


async def measure(
    call: Call,
    arguments: Iterator[tuple[Any, ...]],
    *,
    tasks: int,
    seconds: float,
    batch: int = 1,
    stride: int = 1,
    yields: bool = False,
) -> Sample:
    """Let `tasks` callers do `call(*next(arguments))` for `seconds`.

    Args:
        batch: how many operations one call stands for.
        stride: one call of so many is timed, where two clock readings would be
            a good part of what they measure.
        yields: for stores that never wait: give the loop a turn every 32 calls,
            or the first task would have all the time there is.
    """
    await _crowd(call, arguments, tasks, seconds * 0.15, stride, yields)  # connections, caches, pages
    gc.collect()
    gc.freeze()  # nobody pays for walking what the others hold in this process
    cpu, began = time.process_time(), time.perf_counter()
    calls, times = await _crowd(call, arguments, tasks, seconds, stride, yields)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    times.sort()
    return Sample(
        ops=calls * batch,
        seconds=took,
        cpu_us=cpu / (calls * batch) * 1e6,
        p50_us=percentile(times, 0.5) * 1e6,
        p99_us=percentile(times, 0.99) * 1e6,
    )


async def _crowd(
    call: Call, arguments: Iterator[tuple[Any, ...]], tasks: int, seconds: float, stride: int, yields: bool
) -> tuple[int, list[float]]:
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(_caller(call, arguments, deadline, stride, yields, times)) for _ in range(tasks)
        ]
    return sum(task.result() for task in running), times


async def _caller(
    call: Call,
    arguments: Iterator[tuple[Any, ...]],
    deadline: float,
    stride: int,
    yields: bool,
    times: list[float],
) -> int:
    clock = time.perf_counter
    done = 0
    while True:
        for some in islice(arguments, stride - 1):
            await call(*some)
        last = next(arguments)
        started = clock()
        await call(*last)
        ended = clock()
        times.append(ended - started)
        done += stride
        if ended >= deadline:
            return done
        if yields and not done % 32:
            await asyncio.sleep(0)


# --- reading the results ---


def between(results: Results, cell: Cell, other: Cell) -> list[float]:
    """How many times the throughput of `other`, in each round that has both."""
    mine, theirs = results.get(cell, {}), results.get(other, {})
    return [mine[turn].rate / theirs[turn].rate for turn in sorted(mine) if turn in theirs]


def ratio(results: Results, cell: Cell, other: Cell) -> float | None:
    """The median of `between`; None: there is nothing to compare."""
    rounds = between(results, cell, other)
    return median(rounds) if rounds else None


def best(results: Results, cells: Iterable[Cell]) -> Cell | None:
    """The one with the highest median throughput."""
    known = [cell for cell in cells if results.get(cell)]
    return max(known, key=lambda cell: median(s.rate for s in results[cell].values()), default=None)


def number(value: float) -> str:
    """Three significant digits, thousands apart.

    >>> number(123456.7), number(12.345), number(0.0421)
    ('123,457', '12.3', '0.042')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table with the first `left` columns to the left and the others to the right, padded for reading as text."""
    table = [list(head), *map(list, rows)]
    if any(len(row) != len(head) for row in table):
        raise ValueError("a row has another number of columns than the head")
    table = [[text.replace("|", r"\|") for text in row] for row in table]
    widths = [max(3, *(len(row[at]) for row in table)) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            text.ljust(width) if at < left else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return "\n".join([line(table[0]), f"| {' | '.join(rule)} |", *map(line, table[1:])])
