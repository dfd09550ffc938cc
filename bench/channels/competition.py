"""The rounds: every scenario with every server in turn, A B C, A B C."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench import probes
from bench.channels import pace, running
from bench.channels.contestants import EVERYONE, STOCK_WS, Contestant, Place
from bench.channels.running import Failed, Server, generate
from bench.channels.scenarios import IDLE, PACED_P99_MS, SCENARIOS, Report, Sample, Scenario
from bench.channels.targets import Results
from bench.measure import median

__all__ = ["Competition", "Plan"]

WARM = 0.4
TRIES = 2
"""A run that saw the work of others on its cores is repeated, so often in all."""
BUSY_WITH_OTHERS = 0.07


class Plan(msgspec.Struct, frozen=True):
    """What was asked for."""

    scenarios: tuple[Scenario, ...]
    contestants: tuple[Contestant, ...]
    rounds: int
    seconds: float
    tries: int = TRIES


class Competition:
    """Runs a plan; `results`, `missing` (why a server is not in a scenario) and `choice` are what it found."""

    def __init__(self, plan: Plan, place: Place, generator: Path) -> None:
        self.plan = plan
        self.place = place
        self.generator = generator
        self.results: Results = {}
        self.missing: dict[str, dict[str, str]] = {}  # by scenario and server
        self._began = time.monotonic()
        self.choice: dict[str, float] = {}  # deliveries a second of each `--ws` that could be measured

    def choose(self) -> None:
        """Let the servers under uvicorn run with whichever of its implementations serves Starlette best."""
        starlette = next(c for c in EVERYONE if c.name == "starlette")
        rooms = next(s for s in SCENARIOS if s.name == "rooms")
        for ws in STOCK_WS:
            self.place.ws = ws
            try:
                self.choice[ws] = self._run(
                    starlette, rooms, seconds=min(1.0, self.plan.seconds)
                ).report.deliveries
            except Failed as error:
                say(f"uvicorn --ws {ws}: {error}")
        self.place.ws = max(self.choice, key=lambda ws: self.choice[ws], default=STOCK_WS[0])
        say(f"uvicorn --ws: {', '.join(f'{ws} {rate:,.0f}/s' for ws, rate in self.choice.items())}")

    def compete(self) -> None:
        for turn in range(self.plan.rounds):
            for scenario in self.plan.scenarios:
                for contestant in self._who(scenario, turn):
                    self._cell(contestant, scenario, turn)

    def _who(self, scenario: Scenario, turn: int) -> list[Contestant]:
        """Those of this round, each time beginning with another; whoever failed once is out."""
        out = self.missing.get(scenario.name, {})
        here = [
            c
            for c in self.plan.contestants
            if c.name in scenario.who and c.name not in out and (c.always or turn < scenario.peer_rounds)
        ]
        start = turn % len(here) if here else 0
        return [*here[start:], *here[:start]]

    def _cell(self, contestant: Contestant, scenario: Scenario, turn: int) -> None:
        try:
            sample = self._undisturbed(contestant, scenario)
        except (Failed, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[-200:]
            self.missing.setdefault(scenario.name, {})[contestant.name] = reason
            say(f"{scenario.name} {contestant.name} is out: {reason}")
            return
        self.results.setdefault((scenario.name, contestant.name), {})[turn] = sample
        figures = "  ".join(f"{column.head} {column.figure(sample):,.2f}" for column in scenario.columns)
        at = f"{time.monotonic() - self._began:4.0f}s {turn + 1}/{self.plan.rounds}"
        say(
            f"{at} {scenario.name:12}{contestant.name:18}{figures}{'  DISTURBED' if sample.disturbed else ''}"
        )

    def _undisturbed(self, contestant: Contestant, scenario: Scenario) -> Sample:
        sample = self._run(contestant, scenario)
        for _ in range(self.plan.tries - 1):
            if sample.disturbed:
                sample = self._run(contestant, scenario)
        return sample

    def _run(self, contestant: Contestant, scenario: Scenario, seconds: float | None = None) -> Sample:
        """A fresh server and a fresh store, greeted, driven, killed."""
        seconds = (seconds or self.plan.seconds) * scenario.seconds
        with ExitStack() as stack:
            url = stack.enter_context(running.database(contestant.store, self.place))
            server = Server(contestant, self.place, history=scenario.history, store=url)
            stack.enter_context(server)
            before = self._disk(scenario)
            self._greet(server)
            if scenario.name == "paced":
                sample = self._pace(server, scenario, seconds)
            else:
                report = self._generate(server, scenario, scenario.words.split(), seconds)
                sample = Sample(report, disturbed=_disturbed(report, contestant))
            server.kill()
            if scenario.saves:
                missing = report.sent - report.lost - (running.kept(url) - running.GREETINGS)
                disk = (before, self._disk(scenario))
                sample = msgspec.structs.replace(
                    sample, missing=max(0, missing), disk=tuple(filter(None, disk)), disturbed=False
                )
        return sample

    def _generate(self, server: Server, scenario: Scenario, words: Sequence[str], seconds: float) -> Report:
        if scenario.history:
            words = [*words, "--history", str(scenario.history)] if scenario.name == "joins" else words
        return generate(self.generator, server, words, seconds=seconds, warm=WARM)

    def _greet(self, server: Server) -> None:
        """Ten messages through it: it does the job, what it imports late is there, and there is a history."""
        words = ["--members", "1", "--publish", "--messages", str(running.GREETINGS)]
        report = generate(self.generator, server, words, seconds=10, warm=0)
        if report.sent < running.GREETINGS or report.lost:
            raise Failed(f"{report.lost} of {report.sent} messages did not come back")

    def _disk(self, scenario: Scenario) -> probes.Disk | None:
        return probes.probe_disk(self.place.directory, times=300) if scenario.saves else None

    def _pace(self, server: Server, scenario: Scenario, seconds: float) -> Sample:
        """Search from what it held last time, or from what it did in a closed loop."""
        held: dict[float, Report] = {}

        def holds(rate: float) -> bool:
            for _ in range(2):  # one hiccup of the machine is not the server's
                words = [*scenario.words.split(), "--rate", f"{rate:.3f}"]
                held[rate] = report = self._generate(server, scenario, words, seconds)
                if report.latency_ms.p99 <= PACED_P99_MS and not (report.lost or report.twice or report.late):
                    return True
                if report.latency_ms.p99 > 4 * PACED_P99_MS or report.lost:
                    break
            return False

        rate = pace.highest(holds, self._likely(server.contestant, scenario))
        return Sample(held[rate or min(held)], pace=rate or 0.0)

    def _likely(self, contestant: Contestant, scenario: Scenario) -> float:
        before = self.results.get((scenario.name, contestant.name))
        if before:
            return median(sample.pace for sample in before.values())
        closed = self.results.get(("fan", contestant.name))
        return median(sample.report.completed for sample in closed.values()) if closed else 50.0


def _disturbed(report: Report, contestant: Contestant) -> bool:
    """Work of others on the server's core, or so much on the generator's that it may have held things up."""
    if not report.published or contestant.store in ("sqlite", "postgres"):
        return False
    others = report.busy[0] - report.server, report.busy[1] - report.generator
    return others[0] > BUSY_WITH_OTHERS or (report.busy[1] > 0.92 and others[1] > BUSY_WITH_OTHERS)


def files_needed() -> int:
    return IDLE + 200


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
