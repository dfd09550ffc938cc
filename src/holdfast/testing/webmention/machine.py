"""Histories for `MentionsModel`, made up by Hypothesis: writes, claims, settlements, time, two processes."""

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

from holdfast.testing.webmention.model import MentionsModel
from holdfast.testing.webmention.running import SuiteCore
from holdfast.testing.webmention.subject import HOUR, Subject
from holdfast.webmention.driver import Change, Document, Drop, Put

__all__ = ["QUICK", "SOAK", "run_histories"]

SOAK = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    database=None,
    print_blob=True,
)
QUICK = settings(SOAK, max_examples=15, stateful_step_count=20)

KINDS = ("o", "i")
IDS = ("a", "A", "b", "aa")
TAGS = ("x", "X", "xy")
CURRENT, OLD = "current", "old"
"""Expectations that become versions when the write is sent: the present one, and one that it had."""

T = TypeVar("T")

kinds = st.sampled_from(KINDS)
names = st.sampled_from(IDS)
tags = st.sampled_from(TAGS)
asked_tags = st.sampled_from(("", *TAGS))
waits = st.sampled_from((None, 0, 0, HOUR, 2 * HOUR))
leases = st.sampled_from((HOUR, 2 * HOUR))
limits = st.sampled_from((1, 2, 3, 100))
expected = st.sampled_from((None, None, "", CURRENT, CURRENT, OLD))
bodies = st.sampled_from((b"{}", b'{"a":1}', b'{ "a" : [1.0, null] }', '{"é":"🦑"}'.encode()))
puts = st.builds(Put, kinds, names, bodies, st.lists(tags, unique=True).map(tuple), waits, expected)
changes = st.one_of(puts, puts, st.builds(Drop, kinds, names, expected))
some = st.lists(changes, min_size=1, max_size=6, unique_by=lambda change: (change.kind, change.id))
which = st.integers(0, 1)


class Bench:
    """The drivers under test, open over all histories, and the loop that they live on."""

    def __init__(self, runner: asyncio.Runner, subjects: list[Subject]) -> None:
        self.runner = runner
        self.subjects = subjects

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


class Histories(RuleBasedStateMachine):
    """One history in a namespace of its own."""

    bench: Bench  # a subclass carries it, because Hypothesis makes the instances

    def __init__(self) -> None:
        super().__init__()
        first = self.bench.subjects[0]
        space = f"{first.space}.{secrets.token_hex(4)}"
        self.subjects = [Subject(each.driver, space=space, clock=each.clock) for each in self.bench.subjects]
        for each in self.subjects:
            each.kinds = self.subjects[0].kinds
        self.model = MentionsModel()
        self.claims: list[Document] = []

    def subject(self, which: int) -> Subject:
        return self.subjects[which % len(self.subjects)]

    # --- rules ---

    @rule(changes=some, which=which)
    def write(self, changes: list[Change], which: int) -> None:
        self.bench.run(self._write([self._placed(change) for change in changes], self.subject(which)))

    @rule(kind=kinds, tag=asked_tags, limit=limits, lease=leases, which=which)
    def claim(self, kind: str, tag: str, limit: int, lease: int, which: int) -> None:
        self.bench.run(self._claim(kind, tag, limit, lease, self.subject(which)))

    @rule(pick=st.integers(0, 9), wait=waits, drops=st.booleans(), which=which)
    def settle(self, pick: int, wait: int | None, drops: bool, which: int) -> None:
        if self.claims:
            claimed = self.claims[-1 - pick % len(self.claims)]
            change: Change = Put(claimed.kind, claimed.id, b'"settled"', claimed.tags, wait, claimed.version)
            if drops:
                change = Drop(claimed.kind, claimed.id, claimed.version)
            self.bench.run(self._write([change], self.subject(which)))

    @rule(hours=st.sampled_from((0.5, 1, 1.5)))
    def time_passes(self, hours: float) -> None:
        clock = self.subjects[0].clock
        if clock is not None:
            clock.advance(hours * HOUR / 1000)
            self.model.now += round(hours * HOUR)

    @rule(
        kind=kinds, tag=asked_tags, limit=limits, newest=st.booleans(), back=st.integers(-1, 9), which=which
    )
    def page(self, kind: str, tag: str, limit: int, newest: bool, back: int, which: int) -> None:
        numbers = sorted(row.number for row in self.model.rows.values())
        after = numbers[back] if 0 <= back < len(numbers) else None
        self.bench.run(self._page(kind, tag, after, limit, newest, self.subject(which)))

    @rule(kind=kinds, which=which)
    def look_at_everything(self, kind: str, which: int) -> None:
        self.bench.run(self._look(kind, self.subject(which)))

    def teardown(self) -> None:
        self.bench.run(self._end())

    # --- how ---

    def _placed(self, change: Change) -> Change:
        """`CURRENT` and `OLD` made versions."""
        row = self.model.rows.get((change.kind, change.id))
        expect = change.expect
        if expect == CURRENT:
            expect = row.version if row else ""
        elif expect == OLD:
            old = self.model._versions.get((change.kind, change.id), set()) - {row.version if row else ""}
            expect = min(old, default="0")
        return msgspec.structs.replace(change, expect=expect)

    async def _write(self, changes: list[Change], s: Subject) -> None:
        right = self.model.writes(changes)
        done = await s.write(*changes)
        assert done is right, f"{changes}: {done}"
        if done:
            after = [await s.get(change.id, change.kind) for change in changes]
            self.model.wrote(changes, [each and _short(each) for each in after])

    async def _claim(self, kind: str, tag: str, limit: int, lease: int, s: Subject) -> None:
        answer = await s.claim(limit, lease=lease, kind=kind, tag=tag)
        short = [_short(each) for each in answer]
        self.claims += short
        self.model.claimed(kind, tag, limit, lease, short)

    async def _page(
        self, kind: str, tag: str, after: int | None, limit: int, newest: bool, s: Subject
    ) -> None:
        page = await s.page(tag, kind=kind, after=after, limit=limit, newest=newest)
        wanted = self.model.page(kind, tag, after, limit, newest)
        assert [each.id for each in page] == wanted, f"{kind} {tag!r} after {after}: {page}, not {wanted}"
        for each in page:
            self.model.found(kind, each.id, _short(each))

    async def _look(self, kind: str, s: Subject) -> None:
        await self._page(kind, "", None, 100, False, s)
        for id in IDS:
            document = await s.get(id, kind)
            self.model.found(kind, id, document and _short(document))
        counts = await s.count("", *TAGS, kind=kind)
        assert counts == [self.model.count(kind, tag) for tag in ("", *TAGS)], f"{kind}: {counts}"
        due, wanted = await s.next_due(kind), self.model.next_due(kind)
        if s.clock is not None or not due:
            assert due == wanted, f"{kind}: due in {due}, not {wanted}"
        else:  # time goes on, and not as the model's does
            assert wanted is not None, f"{kind}: due in {due}, and nothing is"
            assert due <= wanted, f"{kind}: due in {due}, not {wanted}"

    async def _end(self) -> None:
        for kind in KINDS:
            await self._look(kind, self.subjects[0])
        await self.subjects[0].leave_nothing()


def _short(document: Document) -> Document:
    """The same with its kind as the word that the model knows."""
    return msgspec.structs.replace(document, kind=document.kind.rpartition(":")[2])


def run_histories(suite: SuiteCore) -> None:
    """Run the machine against the drivers that this suite makes: one, or two where they share their data."""
    chosen = SOAK if os.environ.get("HOLDFAST_SOAK") == "1" else QUICK
    with asyncio.Runner(loop_factory=suite.loop_factory) as runner:
        stack = AsyncExitStack()
        try:
            subjects = runner.run(_set_up(suite, stack))
            machine = type("Histories", (Histories,), {"bench": Bench(runner, subjects)})
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(stack.aclose())


async def _set_up(suite: SuiteCore, stack: AsyncExitStack) -> list[Subject]:
    first = await stack.enter_async_context(suite.subject())
    subjects = [first]
    if first.driver.traits.shared != "process":
        subjects.append(first.beside(await stack.enter_async_context(suite.another_driver())))
    return subjects
