"""`python -m bench.channels`: live rooms, Holdfast's server beside its peers', in one run.

Interleaved rounds, time-boxed cells, medians. `--quick` says in a few minutes whether
everything runs; its figures mean little.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench import probes
from bench.channels import running
from bench.channels.competition import Competition, Plan, files_needed, say
from bench.channels.contestants import EVERYONE, Place
from bench.channels.report import CLOSE, OPEN, Run, render
from bench.channels.scenarios import SCENARIOS
from bench.report import insert

PACKAGES = (
    "uvloop", "msgspec", "uvicorn", "httptools", "websockets", "wsproto", "asyncpg", "starlette", "aiohttp", "picows",
    "litestar", "python-socketio", "Django", "channels", "channels-redis",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    plan = Plan(
        scenarios=tuple(s for s in SCENARIOS if s.name in options.scenarios),
        contestants=tuple(c for c in EVERYONE if c.name in options.servers),
        rounds=options.rounds,
        seconds=options.seconds,
        tries=1 if options.quick else options.tries,
    )
    if running.raise_limit(files_needed()) < files_needed():
        say(
            f"fewer than {files_needed()} open files are allowed (ulimit -n): the idle connections cannot all be made"
        )
    run = Run(
        command=" ".join(["python -m bench.channels", *_said(options)]),
        machine=probes.machine(),
        versions=f"{probes.versions(PACKAGES)}, {_compiler()}",
        rounds=plan.rounds,
        seconds=plan.seconds,
        scenarios=plan.scenarios,
        contestants=plan.contestants,
        load=probes.load(),
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as directory, ExitStack() as stack:
        _compete(run, plan, Path(directory), options.ws, stack)
    run.minutes = (time.monotonic() - began) / 60
    section = render(run)
    print(section)
    if options.json:
        options.json.write_bytes(_json(run))
    if options.write:
        insert(options.write, section, markers=(OPEN, CLOSE))
    return 0


def _compete(run: Run, plan: Plan, directory: Path, ws: str | None, stack: ExitStack) -> None:
    generator, floor = running.build(directory)
    place = Place(directory, floor)
    if any(c.store == "postgres" and c.name in s.who for c in plan.contestants for s in plan.scenarios):
        place.postgres = _postgres(run, stack)
    if any(c.name == "django" for c in plan.contestants):
        place.redis = _redis(run, stack)
    competition = Competition(plan, place, generator)
    run.results, run.missing, run.choice = competition.results, competition.missing, competition.choice
    if ws:
        place.ws = ws
    else:
        competition.choose()
    run.ws = place.ws
    competition.compete()


def _postgres(run: Run, stack: ExitStack) -> str:
    from holdfast.testing.servers import PostgresServer

    with running.on_core(running.GENERATOR_CORE):
        server = stack.enter_context(PostgresServer(shared_buffers="128MB"))
    version = running.postgres_version(server.url)
    run.versions += (
        f". Postgres {version}, its default settings: `fsync` and `synchronous_commit` on; "
        f"data on {probes.filesystem(server.directory)}"
    )
    return server.url


def _redis(run: Run, stack: ExitStack) -> str:
    from holdfast.testing.servers import RedisServer

    with running.on_core(running.GENERATOR_CORE):
        server = stack.enter_context(RedisServer())
    lines = server.command("INFO", "server").decode().splitlines()
    run.versions += (
        f". Redis {next(line.partition(':')[2] for line in lines if line.startswith('redis_version'))}"
    )
    return server.url


def _compiler() -> str:
    told = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout
    return f"generator and floor by {told.splitlines()[0].split(' (')[0]} {told.splitlines()[0].split()[-1]}, -O2"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.channels", description=__doc__)
    names, servers = [s.name for s in SCENARIOS], [c.name for c in EVERYONE]
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round of short cells")
    parser.add_argument("--scenarios", type=_some(names), default=names, help=", ".join(names))
    parser.add_argument("--servers", type=_some(servers), default=servers, help=", ".join(servers))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="per cell")
    parser.add_argument("--tries", type=int, default=2, help="of a cell that saw other work on its cores")
    parser.add_argument(
        "--ws", help="uvicorn's implementation for the others (default: the best one is chosen)"
    )
    parser.add_argument("--dir", help="where the data files go (default: the temporary directory)")
    parser.add_argument("--json", type=Path, help="every sample, as JSON")
    default = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
    parser.add_argument("--write", type=Path, nargs="?", const=default, help="into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    return options


def _some(known: list[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        unknown = [word for word in text.split(",") if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return text.split(",")

    return names


def _said(options: argparse.Namespace) -> list[str]:
    words = ["--quick"] if options.quick else []
    if len(options.scenarios) < len(SCENARIOS):
        words.append(f"--scenarios {','.join(options.scenarios)}")
    if len(options.servers) < len(EVERYONE):
        words.append(f"--servers {','.join(options.servers)}")
    words += [f"--ws {options.ws}"] if options.ws else []
    return [*words, f"--rounds {options.rounds}", f"--seconds {options.seconds:g}"]


def _json(run: Run) -> bytes:
    samples = [
        {"scenario": scenario, "server": server, "round": turn, **msgspec.structs.asdict(sample)}
        for (scenario, server), rounds in run.results.items()
        for turn, sample in rounds.items()
    ]
    about = {
        name: getattr(run, name)
        for name in ("command", "machine", "versions", "missing", "choice", "minutes")
    }
    return msgspec.json.format(msgspec.json.encode({**about, "samples": samples}))


if __name__ == "__main__":
    sys.exit(main())
