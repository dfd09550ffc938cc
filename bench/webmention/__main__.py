"""`python -m bench.webmention`: mentions sent and taken in, Holdfast beside its peers, in one run.

Interleaved rounds, a process for each figure, medians. `--quick` says in a minute or two
whether everything runs; its figures mean little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import probes
from bench.channels.running import raise_limit
from bench.report import insert
from bench.webmention import hostile, running
from bench.webmention.contestants import EVERYONE
from bench.webmention.receivers import RECEIVERS
from bench.webmention.report import CLOSE, OPEN, render
from bench.webmention.results import Run
from bench.webmention.running import Failed, Site

PACKAGES = ("aiohttp", "uvloop", "uvicorn", "webmentions", "indieweb-utils", "ronkyuu", "requests", "beautifulsoup4",
            "html5lib", "mf2py", "SQLAlchemy", "fastapi")  # fmt: skip
FILES = 8_192
WHAT = ("sending", "many", "hostile", "posting")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    raise_limit(FILES)
    run = Run(
        command=" ".join(["python -m bench.webmention", *_said(options)]),
        machine=probes.machine(),
        versions=probes.versions(PACKAGES),
        load=probes.load(),
        rounds=options.rounds,
        hosts=200,
        targets=200,
        many=400 if options.quick else 2_000,
        delay=0.05,
        limit=2.0 if options.quick else 10.0,
        queued=200 if options.quick else 1_000,
        posts=20 if options.quick else 200,
    )
    began = time.monotonic()
    with running.web(run.hosts, run.delay) as site:
        for turn in range(run.rounds):
            if "sending" in options.only:
                _send(run, site, run.targets, turn, [each.name for each in EVERYONE])
            if "many" in options.only:
                _send(run, site, run.many, turn, _of_many(turn))
            if "hostile" in options.only:
                _look(run, turn)
            if "posting" in options.only:
                _post(run, site, turn)
    run.minutes = (time.monotonic() - began) / 60
    section = render(run)
    print(section)
    if options.write:
        insert(options.write, section, markers=(OPEN, CLOSE))
    return 0


def _of_many(turn: int) -> list[str]:
    """The peers take half a minute each: once is enough for their memory."""
    return [
        each.name
        for each in EVERYONE
        if each.many and (turn == 0 or each.name.startswith(("holdfast", "floor")))
    ]


def _send(run: Run, site: Site, targets: int, turn: int, names: Sequence[str]) -> None:
    """Each round begins with another."""
    start = turn % len(names)
    for name in [*names[start:], *names[:start]]:
        if name in run.failed:
            continue
        try:
            sent = running.send(name, site, targets)
        except Failed as error:
            run.failed[name] = str(error)
            _say(f"{name} is out: {error}")
            continue
        run.sent.setdefault(targets, {}).setdefault(name, {})[turn] = sent
        _say(
            f"{turn + 1}/{run.rounds} {targets:5} {name:24}{sent.seconds:8.3f} s {sent.cpu_ms:7.2f} ms a target "
            f"{sent.growth_mb:6.1f} MB"
        )


def _look(run: Run, turn: int) -> None:
    pages = hostile.shapes()
    run.shapes = len(pages)
    for look in hostile.LOOKS:
        took = running.look_through("holdfast", look, list(pages), running.LONGEST)
        if isinstance(took, str):
            raise Failed(f"holdfast, {look}: {took}")
        seconds = dict(zip(pages, took, strict=True))
        run.worst.setdefault(look, []).append(seconds)
        slowest = max(seconds, key=lambda shape: seconds[shape])
        _say(f"{turn + 1}/{run.rounds} {look:8} slowest {seconds[slowest]:.3f} s: {slowest}")
    if turn == 0:
        _peers_look(run)


def _peers_look(run: Run) -> None:
    """Once: what they take is CPU, and most of it is beyond the limit."""
    for shape in hostile.SHAPES:
        for name in hostile.ROWS:
            found: dict[str, float | str] = {}
            for look in hostile.LOOKS:
                if (name, look) in hostile.LACKING:
                    found[look] = "–"
                    continue
                took = running.look_through(name, look, [shape], run.limit)
                found[look] = took if isinstance(took, str) else took[0]
            run.looked[name, shape] = found
            _say(f"{shape:8} {name:16} {found}")


def _post(run: Run, site: Site, turn: int) -> None:
    for name in RECEIVERS:
        try:
            posted = running.post(name, site, queued=run.queued, posts=run.posts)
        except Failed as error:
            run.failed[f"{name}, receiving"] = str(error)
            _say(f"{name} is out: {error}")
            continue
        run.posted.setdefault(name, []).append(posted)
        _say(
            f"{turn + 1}/{run.rounds} POST {name:18}{posted.calm_ms:8.2f} ms, {posted.busy_ms:8.2f} ms with "
            f"{posted.queued} queued, p99 {posted.p99_ms:.1f}"
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.webmention", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round, smaller")
    parser.add_argument("--only", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--rounds", type=int)
    default = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
    parser.add_argument("--write", type=Path, nargs="?", const=default, help="into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _said(options: argparse.Namespace) -> list[str]:
    words = ["--quick"] if options.quick else []
    if len(options.only) < len(WHAT):
        words.append(f"--only {' '.join(options.only)}")
    return [*words, f"--rounds {options.rounds}"]


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
