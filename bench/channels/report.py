"""The results as the section of docs/benchmarks.md that stands between the two markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from bench.channels.contestants import EVERYONE, Contestant
from bench.channels.scenarios import CALM_US, Sample, Scenario
from bench.channels.targets import Results, between, judge, text
from bench.measure import markdown, median, number

__all__ = ["CLOSE", "OPEN", "Run", "render"]

OPEN = "<!-- channels -->"
CLOSE = "<!-- /channels -->"
TITLES = {contestant.name: contestant.title for contestant in EVERYONE}


class Run(msgspec.Struct):
    """All that one run found out."""

    command: str
    machine: str
    versions: str
    rounds: int
    seconds: float
    scenarios: tuple[Scenario, ...]
    contestants: tuple[Contestant, ...]
    ws: str = ""
    choice: dict[str, float] = {}
    results: Results = {}
    missing: dict[str, dict[str, str]] = {}
    load: str = "?"
    minutes: float = 0.0


def render(run: Run) -> str:
    """The whole section."""
    tables = [_scenario(run, scenario) for scenario in run.scenarios]
    about = "\n".join(f"- **{c.title}**: {c.about}" for c in run.contestants)
    return "\n\n".join([_preface(run), _targets(run), *tables, "### Who is who\n\n" + about]) + "\n"


def _preface(run: Run) -> str:
    samples = [sample for rounds in run.results.values() for sample in rounds.values()]
    disturbed = sum(sample.disturbed for sample in samples)
    chosen = ", ".join(f"`{ws}` {number(rate)}" for ws, rate in run.choice.items())
    rounds = f"{run.rounds} round{'s' * (run.rounds > 1)}"
    rounds += " (of the peers, one or two)" if run.rounds > 1 else ""
    lines = [
        "## channels, side by side",
        f"`{run.command}` ({number(run.minutes)} minutes; load average before: {run.load})",
        f"{run.machine}. {run.versions}.",
        "Every server speaks the Phoenix Channels V2 protocol as JSON over WebSocket (python-socketio: its own), on "
        "loopback, one process on core 0; the generator (C, one thread) and Postgres have core 1. Each run has a "
        f"server started for it and lasts {run.seconds:g} s or a stated multiple after a warm-up; {rounds}, and in "
        "each round, for each scenario, every server in turn. Figures are medians of the rounds, min–max is the spread "
        "of the first column. A message is 64 characters in a frame of 140 bytes or so; latency is from the moment it "
        "was sent, or where it is paced was due, to its arrival at a member, all members counted. *Generator busy* "
        "near 1 means that the generator is the limit; *frames a read* says how many it found "
        "together. *Holdfast is* gives the median of the ratios of each round. "
        "Over a real network sends cost less and the ratios between servers that do the same number of them shrink.",
        f"All that run under uvicorn have uvloop and its `--ws {run.ws}`"
        + (f", which served Starlette best (deliveries a second in the rooms: {chosen})." if chosen else "."),
    ]
    if disturbed:
        lines.append(f"{disturbed} of {len(samples)} runs saw other work on their cores, also when repeated.")
    return "\n\n".join(lines)


def _targets(run: Run) -> str:
    words = {True: "met", False: "**short**", None: "–"}
    verdicts = judge(run.results)
    judged = [verdict for verdict in verdicts if verdict.met is not None]
    met = sum(bool(verdict.met) for verdict in judged)
    rows = [[v.what, v.wanted, v.measured, words[v.met]] for v in verdicts]
    head = f"### Targets\n\n{met} of {len(judged)} met. In brackets the lowest and the highest of the rounds.\n\n"
    return head + markdown(("what", "wanted", "measured", ""), rows, left=2)


def _scenario(run: Run, scenario: Scenario) -> str:
    compared = "holdfast" if "holdfast" in scenario.who else ""
    head = ["server", scenario.columns[0].head, "min–max", *(c.head for c in scenario.columns[1:])]
    head += ["Holdfast is"] if compared else []
    parts = [
        f"### {scenario.name}: {scenario.title[0].lower()}{scenario.title[1:]}",
        " ".join(filter(None, [scenario.note, _disks(run, scenario)])),
        markdown(head, _rows(run, scenario, compared)),
        "\n".join(
            f"- **{TITLES[name]}** did not run: {reason}"
            for name, reason in run.missing.get(scenario.name, {}).items()
        ),
    ]
    return "\n\n".join(filter(None, parts))


def _rows(run: Run, scenario: Scenario, compared: str) -> Iterator[list[str]]:
    first = scenario.columns[0].figure
    known = {name: rounds for (where, name), rounds in run.results.items() if where == scenario.name}
    best_first = sorted(
        known, key=lambda name: median(map(first, known[name].values())), reverse=scenario.more_is_better
    )
    for name in best_first:
        samples = list(known[name].values())
        values = [median(map(column.figure, samples)) for column in scenario.columns]
        spread = [first(sample) for sample in samples]
        row = [
            f"**{TITLES[name]}**" if name == "holdfast" else TITLES[name],
            text(values[0]),
            f"{text(min(spread))}–{text(max(spread))}" if len(spread) > 1 else "",
            *map(text, values[1:]),
        ]
        if compared:
            ratios = between(run.results, scenario, compared, name) if name != compared else []
            row.append(f"{text(median(ratios))} ×" if ratios else "")
        yield row


def _disks(run: Run, scenario: Scenario) -> str:
    """The disk beside each run that saves."""
    rounds: Mapping[tuple[str, int], Sample] = {
        (name, turn): sample
        for (where, name), turns in run.results.items()
        if where == scenario.name
        for turn, sample in turns.items()
        if sample.disk
    }
    if not rounds:
        return ""
    told = (
        f"{TITLES[name]} {turn + 1}: {' → '.join(number(disk.p99_us / 1e3) for disk in sample.disk)}"
        f" ({'calm' if sample.calm else 'not calm'})"
        for (name, turn), sample in rounds.items()
    )
    return f"p99 of fdatasync in ms before → after each run (calm: at most {CALM_US / 1e3:g} ms): {'; '.join(told)}."
