"""Histories for `PersistModel`, made up by Hypothesis: batches, concurrent callers, walks, time that passes."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from holdfast.coalesce import Batcher
from holdfast.persist.driver import (
    KEEP,
    Create,
    Get,
    GetEntry,
    GetRenew,
    Increment,
    Operation,
    Remove,
    Replace,
    Set,
    Touch,
)
from holdfast.testing.persist.model import PersistModel, Unclear
from holdfast.testing.persist.subject import HOUR, SHORT, Subject, SuiteCore, batcher_for

__all__ = ["QUICK", "SOAK", "run_histories"]

SOAK = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    database=None,
    print_blob=True,
)
QUICK = settings(SOAK, max_examples=15, stateful_step_count=15)

KEYS = ("a", "A", "a ", "é", "a%", "b")
_VALUES = (b"0", b"1", b"-3", b"9223372036854775807", b'"text"', b"1.0", b"null", b'{"k":[1,"x"]}')

T = TypeVar("T")

keys = st.sampled_from(KEYS)
values = st.one_of(st.sampled_from(_VALUES), st.integers(-50, 50).map(lambda number: b"%d" % number))
ttls = st.sampled_from((None, None, HOUR, HOUR + 1, SHORT))
kept = st.one_of(ttls, st.just(KEEP))
steps = st.one_of(st.integers(-3, 3), st.sampled_from((2**63 - 1, -(2**63))))
which = st.integers(0, 1)
rarely = st.sampled_from((False, False, False, True))
recency = st.integers(0, 3)  # 0: the newest version known, 1: the one before ... past the oldest: nonsense

# Replace and Remove carry how old a version they name; the machine puts the version itself in.
operations = st.one_of(
    st.builds(Get, keys),
    st.builds(GetEntry, keys),
    st.builds(GetRenew, keys, ttls),
    st.builds(Set, keys, values, kept),
    st.builds(Set, keys, values, st.just(KEEP)),
    st.builds(Create, keys, values, ttls),
    st.builds(lambda key, value, age, ttl: Replace(key, value, str(age), ttl), keys, values, recency, kept),
    st.builds(Remove, keys),
    st.builds(lambda key, age: Remove(key, str(age)), keys, recency),
    st.builds(Touch, keys, ttls),
    st.builds(Increment, keys, steps, ttls),
)


class Bench:
    """The drivers under test, open over all histories, and the loop that they live on."""

    def __init__(
        self, runner: asyncio.Runner, subjects: list[Subject], lines: list[Batcher[Operation]]
    ) -> None:
        self.runner = runner
        self.subjects = subjects
        self.lines = lines

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


class Histories(RuleBasedStateMachine):
    """One history in a namespace of its own."""

    bench: Bench  # a subclass carries it, because Hypothesis makes the instances

    def __init__(self) -> None:
        super().__init__()
        first = self.bench.subjects[0]
        space = f"{first.space}/{secrets.token_hex(4)}"
        self.subjects = [Subject(each.driver, space=space, clock=each.clock) for each in self.bench.subjects]
        self.subject = self.subjects[0]
        traits = first.driver.traits
        self.model = PersistModel(version_from_content=traits.version_from_content, tolerance=first.tolerance)

    # --- rules ---

    @rule(ops=st.lists(operations, min_size=1, max_size=12), which=which, brief=rarely)
    def one_batch(self, ops: list[Operation], which: int, brief: bool) -> None:
        subject = self.subjects[which % len(self.subjects)]
        self.work(self._send(self._ready(ops, brief), subject))

    @rule(ops=st.lists(operations, min_size=1, max_size=25), which=which, brief=rarely)
    def many_callers(self, ops: list[Operation], which: int, brief: bool) -> None:
        self.work(self._submit(self._ready(ops, brief), which % len(self.subjects)))

    @rule(op=operations, brief=rarely)
    def one_by_one(self, op: Operation, brief: bool) -> None:
        self.work(self._send(self._ready([op], brief), self.subject))

    @rule()
    def look_at_everything(self) -> None:
        self.work(self._look())

    @rule(prefix=st.sampled_from(("", "a", "A", "a%", "é")), limit=st.sampled_from((1, 3, 100)))
    def clear(self, prefix: str, limit: int) -> None:
        self.work(self._clear(prefix, limit))

    @rule()
    def sweep(self) -> None:
        if self.subject.driver.traits.sweeps:
            self.work(self._sweep())

    @rule(ms=st.sampled_from((1, SHORT - 1, SHORT, HOUR, HOUR + 1)))
    def time_passes(self, ms: int) -> None:
        if self.subject.clock is not None:  # real time passes where something is owed
            self.subject.clock.advance(ms / 1000)

    def teardown(self) -> None:
        self.bench.run(self.subject.clear())

    # --- how ---

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            self.bench.run(coroutine)
        except Unclear:
            self.bench.run(self._start_over())

    async def _start_over(self) -> None:
        await self.subject.clear()
        self.model.forget(KEYS)

    def _ready(self, ops: list[Operation], brief: bool) -> list[Operation]:
        """The versions put in; where time is real, short lives only now and then, because they are waited for."""
        done: list[Operation] = []
        for op in ops:
            if not brief and self.subject.clock is None and getattr(op, "ttl", None) == SHORT:
                op = msgspec.structs.replace(op, ttl=HOUR)
            if isinstance(op, Replace):
                done.append(Replace(op.key, op.value, self._version(op.key, int(op.version)), op.ttl))
            elif isinstance(op, Remove) and op.version is not None:
                done.append(Remove(op.key, self._version(op.key, int(op.version))))
            else:
                done.append(op)
        return done

    def _version(self, key: str, age: int) -> str:
        known = list(self.model.versions.get(key, ()))
        return known[-1 - age] if age < len(known) else "nonsense"

    async def _send(self, ops: list[Operation], subject: Subject) -> None:
        start = self._now()
        if len(ops) == 1:
            try:
                outcomes = [await subject.do(ops[0])]
            except Exception as exc:  # noqa: BLE001 - the model judges it
                outcomes = [exc]
        else:
            outcomes = await subject.batch(*ops)
        await self._judge(ops, outcomes, start)

    async def _submit(self, ops: list[Operation], which: int) -> None:
        start = self._now()
        line = self.bench.lines[which]
        waiting = [line.submit(self.subject.place(op)) for op in ops]
        await self._judge(ops, await asyncio.gather(*waiting, return_exceptions=True), start)

    async def _judge(self, ops: list[Operation], outcomes: list[Any], start: float) -> None:
        end = self._now()
        try:
            self.model.told(ops, outcomes, start, end)
        finally:
            if self.subject.clock is None and any(getattr(op, "ttl", None) == SHORT for op in ops):
                await self.subject.pass_time(SHORT + 2 * self.subject.tolerance)

    async def _look(self) -> None:
        await self._send([GetEntry(key) for key in KEYS], self.subject)
        live = self.model.live(self._now())
        listed = await self.subject.keys(limit=2)
        assert set(listed) == live, f"listed {sorted(listed)}, live {sorted(live)}"

    async def _clear(self, prefix: str, limit: int) -> None:
        doomed = {key for key in self.model.live(self._now()) if key.startswith(prefix)}
        removed = await self.subject.clear(prefix, limit)
        assert removed == len(doomed), f"clear {prefix!r} counted {removed}, there were {sorted(doomed)}"
        self.model.forget(doomed)

    async def _sweep(self) -> None:
        cursor: str | None = None
        while True:
            cursor = (await self.subject.driver.sweep(cursor, 50)).cursor
            if cursor is None:
                break
        await self._look()

    def _now(self) -> float:
        return self.subject.now_ms()


def run_histories(suite: SuiteCore) -> None:
    """Run the machine against the drivers that this suite makes: one, or two where they share their data."""
    chosen = SOAK if os.environ.get("HOLDFAST_SOAK") == "1" else QUICK
    with asyncio.Runner(loop_factory=suite.loop_factory) as runner:
        stack = AsyncExitStack()
        try:
            bench = runner.run(_set_up(suite, stack, runner))
            machine = type("Histories", (Histories,), {"bench": bench})
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(stack.aclose())


async def _set_up(suite: SuiteCore, stack: AsyncExitStack, runner: asyncio.Runner) -> Bench:
    first = await stack.enter_async_context(suite.subject())
    subjects = [first]
    if first.driver.traits.shared != "process":
        subjects.append(first.beside(await stack.enter_async_context(suite.another_driver())))
    lines = []
    for subject in subjects:
        line = batcher_for(subject.driver)
        line.start()
        stack.push_async_callback(line.close)
        lines.append(line)
    return Bench(runner, subjects, lines)
