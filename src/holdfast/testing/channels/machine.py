"""Histories for `ChannelsModel`, made up by Hypothesis: batches, many callers, two processes."""

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

from holdfast.channels.driver import Append, Clear, Edit, Erase, Find, Operation, Read, Send, Trim
from holdfast.coalesce import Batcher
from holdfast.testing.channels.model import ChannelsModel
from holdfast.testing.channels.running import SuiteCore
from holdfast.testing.channels.subject import Subject, batcher_for

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

KEYS = ("a", "A", "é")
HERE = "here"
"""An epoch that the machine replaces by the log's own."""

T = TypeVar("T")

keys = st.sampled_from(KEYS)
payloads = st.sampled_from((b"{}", b'{"a":1}', b'{ "a" : [1.0, null] }', '{"é":"🦑"}'.encode()))
events = st.sampled_from(("said", "new_message", "é"))
ids = st.sampled_from(("x", "X", "y", "z"))
bounds = st.sampled_from((None, None, None, 0, 1, 2, 5))
limits = st.sampled_from((1, 2, 3, 100))
# Places are told from the log's end, and made offsets when the batch is sent: what is near the end is of interest.
places = st.integers(-2, 12)
names = st.one_of(
    st.fixed_dictionaries({"id": ids}),
    st.fixed_dictionaries({"offset": places, "epoch": st.sampled_from((HERE, HERE, HERE, "0"))}),
)
stretches: st.SearchStrategy[dict[str, int]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"before": places}),
    st.fixed_dictionaries({"after": places}),
    st.fixed_dictionaries({"changes_after": places}),
)
appends = st.builds(
    Append, keys, events, payloads, id=st.one_of(st.none(), ids), at=st.none(), max_messages=bounds
)
operations = st.one_of(
    appends,
    appends,
    st.builds(lambda key, payload, name: Edit(key, payload, **name), keys, payloads, names),
    st.builds(lambda key, name: Erase(key, **name), keys, names),
    st.builds(lambda key, name: Find(key, **name), keys, names),
    st.builds(lambda key, limit, where: Read(key, limit, **where), keys, limits, stretches),
    st.builds(Trim, keys, st.sampled_from((None, 0, 1, 3)), st.none()),
    st.builds(Send, keys, payloads),
)
some = st.lists(operations, min_size=1, max_size=12)
which = st.integers(0, 1)


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
        self.model = ChannelsModel(skew=first.skew)

    # --- rules ---

    @rule(ops=some, which=which)
    def one_batch(self, ops: list[Operation], which: int) -> None:
        self.bench.run(self._send(self._placed(ops), self.subjects[which % len(self.subjects)]))

    @rule(ops=some, which=which)
    def many_callers(self, ops: list[Operation], which: int) -> None:
        self.bench.run(self._submit(self._placed(ops), which % len(self.subjects)))

    @rule(op=operations, which=which)
    def one_by_one(self, op: Operation, which: int) -> None:
        self.bench.run(self._send(self._placed([op]), self.subjects[which % len(self.subjects)]))

    @rule(key=keys, count=st.integers(1, 25), most=bounds)
    def a_lively_room(self, key: str, count: int, most: int | None) -> None:
        op = Append(key, "said", b'{"lively":true}', max_messages=most)
        self.bench.run(self._send([op] * count, self.subject))

    @rule(key=keys)
    def clear(self, key: str) -> None:
        self.bench.run(self._send([Clear(key), Append(key, "said", b"{}"), Read(key, 5)], self.subject))

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.bench.run(self._send([Clear(key)], self.subject))

    @rule(which=which)
    def look_at_everything(self, which: int) -> None:
        self.bench.run(self._look(self.subjects[which % len(self.subjects)]))

    def teardown(self) -> None:
        self.bench.run(self.subject.leave_nothing())

    # --- how ---

    def _placed(self, ops: list[Operation]) -> list[Operation]:
        """Places made offsets of the topic's log, and `HERE` its epoch."""
        done: list[Operation] = []
        for op in ops:
            log = self.model.logs.get(op.key)
            last, epoch = (0, "0") if log is None else (log.last, log.epoch)
            if isinstance(op, Edit | Erase | Find) and op.offset is not None:
                op = msgspec.structs.replace(
                    op, offset=last - op.offset, epoch=epoch if op.epoch == HERE else op.epoch
                )
            elif isinstance(op, Read):
                op = Read(
                    op.key,
                    op.limit,
                    **{name: max(0, last - place) for name, place in _place(op).items() if place is not None},
                )
            done.append(op)
        return done

    async def _send(self, ops: list[Operation], subject: Subject) -> None:
        start = subject.wall()
        if len(ops) == 1:
            outcomes = [await subject.do(ops[0])]
        else:
            outcomes = []
            most = subject.driver.traits.max_ops
            for first in range(0, len(ops), most):
                outcomes += await subject.batch(*ops[first : first + most])
        self.model.told(ops, outcomes, start, subject.wall())

    async def _submit(self, ops: list[Operation], which: int) -> None:
        start = self.subject.wall()
        line = self.bench.lines[which]
        waiting = [line.submit(self.subject.place(op)) for op in ops]
        self.model.told(ops, await asyncio.gather(*waiting), start, self.subject.wall())

    async def _look(self, subject: Subject) -> None:
        for where in ({}, {"changes_after": 0}):
            await self._send([Read(key, 1000, **where) for key in KEYS], subject)
        listed = {topic.key: (topic.epoch, topic.last) for topic in await subject.topics(limit=2)}
        there = {key: (log.epoch, log.last) for key, log in self.model.logs.items()}
        assert listed == there, f"listed {listed}, there are {there}"


def _place(op: Read) -> dict[str, int | None]:
    return {"before": op.before, "after": op.after, "changes_after": op.changes_after}


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
