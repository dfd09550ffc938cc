"""`python -m bench.persist`: Holdfast's `persist` beside its peers, every engine, in one run.

Interleaved rounds (A B C, A B C, …), time-boxed cells, medians. `--quick` says in
under a minute whether everything runs; its figures mean little.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import msgspec
import uvloop

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import probes
from bench.measure import Cell, measure
from bench.peers import ENGINES, FRESH, KEYS, Peer, Place, User, chunks, peers, users
from bench.report import Run, insert, render
from bench.targets import OPS

PACKAGES = (
    "uvloop", "msgspec", "redis", "hiredis", "asyncpg", "SQLAlchemy", "aiosqlite", "py-key-value-aio",
    "cashews", "aiocache", "litestar", "valkey-glide", "diskcache",
)  # fmt: skip
QUICK_KEYS = 1_000
STRIDE = {"memory": 8}
NEVER_WAIT = ("memory", "sqlite")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    run = Run(
        command=" ".join(["python -m bench.persist", *_said(options)]),
        machine=probes.machine(),
        versions=probes.versions(PACKAGES),
        filesystem="",
        rounds=options.rounds,
        seconds=options.seconds,
        pinned=options.pin_lone,
        keys=QUICK_KEYS if options.quick else KEYS,
    )
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as directory:
        run.filesystem = probes.filesystem(Path(directory))
        for engine in options.engines:
            with ExitStack() as stack:
                place = _start(engine, Path(directory), stack, run)
                run.loads[engine] = probes.load()
                uvloop.run(_Engine(engine, place, options, run).compete())
    try:
        run.imported = probes.import_time(times=3 if options.quick else 10)
    except Exception as error:  # noqa: BLE001 - the tables are worth having without it
        print(f"import holdfast: {error}", file=sys.stderr)
    section = render(run)
    print(section)
    if options.json:
        options.json.write_bytes(_json(run))
    if options.write:
        insert(options.write, section)
    return 0


class _Engine:
    """One engine's competition."""

    def __init__(self, engine: str, place: Place, options: argparse.Namespace, run: Run) -> None:
        self.engine = engine
        self.place = place
        self.options = options
        self.run = run
        self.pairs = users(run.keys)
        self.shuffled = random.Random(7).sample(self.pairs, len(self.pairs))
        self.fresh = count()
        self.ready: list[Peer] = []
        run.peers[engine] = self.ready
        run.missing[engine] = {}

    async def compete(self) -> None:
        try:
            for peer in peers(self.engine, self.place, self.options.only):
                await self._admit(peer)
            for turn in range(self.options.rounds):
                await self._round(turn)
        finally:
            for peer in self.ready:
                await peer.close()

    async def _admit(self, peer: Peer) -> None:
        """Open, fill, and see that it does the job at all."""
        try:
            await peer.open()
            await peer.prefill(self.pairs)
            await _check(peer, self.pairs)
            await peer.clean()
        except Exception as error:  # noqa: BLE001 - one peer less is reported, not fatal
            self._out(peer, "could not start", error)
        else:
            self.ready.append(peer)
            _say(f"{self.engine}: {peer.name} ready")

    def _out(self, peer: Peer, when: str, error: Exception) -> None:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        reason = f"{when}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.run.missing[self.engine][peer.name] = reason
        _say(f"{self.engine}: {peer.name} is out, {reason}")

    async def _round(self, turn: int) -> None:
        await self._settle(turn)
        for op in self.options.ops:
            for tasks in (*self.options.tasks, None):  # None: those by hand
                for peer in _rotated(self.ready, turn):
                    await self._cell(peer, op, tasks, turn)
            if op == "create":
                for peer in self.ready:
                    await peer.clean()
        await self._settle(turn)

    async def _settle(self, turn: int) -> None:
        """Start every round with Postgres' own housekeeping done, and with a look at the disk."""
        if self.engine == "postgres":
            import asyncpg

            connection = await asyncpg.connect(self.place.postgres)
            await connection.execute("VACUUM")
            await connection.execute("CHECKPOINT")
            await connection.close()
        if self.engine in ("sqlite", "postgres"):
            found = probes.probe_disk(self.place.directory)
            self.run.disk.setdefault(self.engine, {}).setdefault(turn, []).append(found)

    async def _cell(self, peer: Peer, op: str, tasks: int | None, turn: int) -> None:
        by_hand = peer.batch > 1
        if by_hand is not (tasks is None) or (op == "create" and not peer.creates):
            return
        if not by_hand and peer.only_tasks not in (None, tasks):
            return
        callers = tasks or peer.only_tasks or 1
        alone = tasks == 1 and self.options.pin_lone
        try:
            with probes.on_one_core(self.place.server) if alone else nullcontext():
                sample = await measure(
                    getattr(peer, op),
                    self._arguments(op, peer.batch),
                    tasks=callers,
                    seconds=self.options.seconds,
                    batch=peer.batch,
                    stride=1 if by_hand else STRIDE.get(self.engine, 1),
                    yields=self.engine in NEVER_WAIT,
                )
        except Exception as error:  # noqa: BLE001 - one peer less is reported, not fatal
            self._out(peer, f"`{op}` with {callers} tasks", error)
            self.ready.remove(peer)
            return
        self.run.results.setdefault(Cell(self.engine, peer.name, op, callers), {})[turn] = sample
        _say(
            f"{self.engine} {turn + 1}/{self.options.rounds} {op:6} {callers:3} {peer.name:32}"
            f"{sample.rate:12,.0f}/s p50 {sample.p50_us:9,.1f} p99 {sample.p99_us:9,.1f} "
            f"cpu {sample.cpu_us:7.2f}"
        )

    def _arguments(self, op: str, batch: int) -> Iterator[tuple[Any, ...]]:
        """All callers of a cell draw from one stream, so no key is asked for twice at once."""
        if op == "create":
            # Made in C, as cheaply as can be: it is part of what is measured.
            keys, records = (
                map(FRESH.__add__, map(str, self.fresh)),
                cycle([user for _, user in self.shuffled]),
            )
            if batch == 1:
                return zip(keys, records, strict=False)
            return zip(_runs(keys, batch), _runs(records, batch), strict=False)
        columns = slice(0, 1) if op == "get" else slice(0, 2)
        if batch == 1:
            return cycle([pair[columns] for pair in self.shuffled])
        runs = [([k for k, _ in some], [u for _, u in some]) for some in chunks(self.shuffled, batch)]
        return cycle([run[columns] for run in runs])


def _runs(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while True:
        yield list(islice(items, size))


async def _check(peer: Peer, pairs: Sequence[tuple[str, User]]) -> None:
    some = pairs[:: len(pairs) // peer.batch][: peer.batch] if peer.batch > 1 else pairs[17:18]
    keys, records = [key for key, _ in some], [user for _, user in some]
    many = peer.batch > 1
    found = await peer.get(keys if many else keys[0])
    if found != (records if many else records[0]):
        raise AssertionError("what came back is not what was stored")
    if peer.creates:
        fresh = [f"{FRESH}check:{number}" for number in range(len(keys))]
        args = (fresh, records) if many else (fresh[0], records[0])
        if [int(await peer.create(*args)), int(await peer.create(*args))] != [peer.batch, 0]:
            raise AssertionError("create does not refuse an existing key")


def _start(engine: str, directory: Path, stack: ExitStack, run: Run) -> Place:
    """The engine's server, where it has one, for as long as the stack lives."""
    from holdfast.testing.servers import PostgresServer, RedisServer

    if engine == "redis":
        server = stack.enter_context(RedisServer())
        lines = server.command("INFO", "server").decode().splitlines()
        version = next(line.partition(":")[2] for line in lines if line.startswith("redis_version"))
        run.servers[engine] = f"Redis {version} on loopback, persistence off."
        return Place(directory, redis=server.url, server=server.pid)
    if engine == "postgres":
        postgres = stack.enter_context(PostgresServer(shared_buffers="128MB"))
        run.servers[engine] = (
            f"Postgres {uvloop.run(_postgres_version(postgres.url))} on loopback, its default settings: `fsync` and "
            "`synchronous_commit` on. `VACUUM` and `CHECKPOINT` before every round."
        )
        return Place(directory, postgres=postgres.url, server=postgres.pid)
    return Place(directory)


async def _postgres_version(url: str) -> str:
    import asyncpg

    connection = await asyncpg.connect(url)
    version = str(await connection.fetchval("SHOW server_version"))
    await connection.close()
    return version.split()[0]


def _rotated(ready: Sequence[Peer], turn: int) -> list[Peer]:
    start = turn % len(ready) if ready else 0
    return [*ready[start:], *ready[:start]]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.persist", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round of short cells")
    parser.add_argument("--engines", type=_list(str), default=list(ENGINES))
    parser.add_argument("--tasks", type=_list(int), default=[1, 32, 256])
    parser.add_argument("--ops", type=_list(str), default=list(OPS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="per cell")
    parser.add_argument("--only", type=_list(str), default=[], help="stores whose name contains one of these")
    parser.add_argument(
        "--pin-lone", action="store_true", help="cells of one task run with client and server on one core"
    )
    parser.add_argument("--dir", help="where the data files go (default: the temporary directory)")
    parser.add_argument("--json", type=Path, help="every sample, as JSON")
    default = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
    parser.add_argument("--write", type=Path, nargs="?", const=default, help="into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.08 if options.quick else 0.6)
    unknown = [name for name in options.engines if name not in ENGINES]
    unknown += [name for name in options.ops if name not in OPS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return options


def _list(kind: type) -> Any:
    return lambda text: [kind(word) for word in text.split(",") if word]


def _said(options: argparse.Namespace) -> list[str]:
    words = ["--quick"] if options.quick else []
    words += [
        f"--{name} {','.join(map(str, getattr(options, name)))}" for name in ("engines", "tasks", "ops")
    ]
    words += [f"--only {','.join(options.only)}"] if options.only else []
    words += ["--pin-lone"] if options.pin_lone else []
    return [*words, f"--rounds {options.rounds}", f"--seconds {options.seconds:g}"]


def _json(run: Run) -> bytes:
    samples = [
        {**msgspec.structs.asdict(cell), "round": turn, **msgspec.structs.asdict(sample)}
        for cell, rounds in run.results.items()
        for turn, sample in rounds.items()
    ]
    about = {
        name: getattr(run, name) for name in ("command", "machine", "versions", "missing", "disk", "imported")
    }
    return msgspec.json.format(msgspec.json.encode({**about, "samples": samples}))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
