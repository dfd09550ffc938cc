"""`export` and `import`: a store as lines of JSON, any number of them, in constant memory."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from msgspec import structs

from holdfast.cli import output
from holdfast.cli.options import common
from holdfast.cli.output import Failed, Output
from holdfast.cli.progress import Bar
from holdfast.cli.run import (
    channels_beside,
    chosen,
    configured,
    webmention_beside,
    with_store,
    worded,
)
from holdfast.cli.sink import Sink
from holdfast.store import Migration

if TYPE_CHECKING:
    from holdfast.channels import Channels
    from holdfast.cli.dumping import Dumping
    from holdfast.cli.loading import Existing, Loading
    from holdfast.persist import Persist
    from holdfast.webmention import Webmention

__all__ = ["export", "import_"]

C = TypeVar("C", "Channels", "Webmention")

LARGEST_DOCUMENT = 1 << 20  # of mentions; messages are smaller
LINE_SLACK = 16 << 10
"""What a line holds beside its value: the key, every character escaped, and the words around."""


@click.command("export")
@common
@click.argument("prefix", default="")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Into a file, gzipped if its name ends with .gz.",
)
@click.option("--only", type=click.Choice(["values", "messages", "mentions"]), help="One of these; else all.")
def export(prefix: str, path: Path | None, only: str | None) -> None:
    """Write the values whose keys start with PREFIX, and the messages whose topics do, as lines of JSON; or all.

    Without PREFIX, mentions too. To standard output, or into a file that
    appears only when it is whole. What is written to the store meanwhile may or
    may not be in it. On Redis a key may come twice, which an import does not
    mind.
    """
    from holdfast.cli.dumping import Dumping

    if prefix and only == "mentions":
        raise click.UsageError("PREFIX is of keys and topics, and --only mentions of neither")
    namespace = configured().namespace

    async def work(persist: Persist, out: Output) -> Dumping:
        async with AsyncExitStack() as opened:
            rooms, mentions, values = None, None, None
            if only in (None, "messages"):
                rooms = await _beside("channels", channels_beside, out, opened, wanted=only is not None)
            if only == "mentions" or not (only or prefix):
                mentions = await _beside(
                    "webmention", webmention_beside, out, opened, wanted=only is not None
                )
            if only in (None, "values"):
                values = await _values(persist, opened, wanted=rooms is None and mentions is None)
            job = Dumping(values, rooms, out, mentions)
            with Bar(out, "export", total=None) as bar, Sink(out, path) as sink:
                await job.write(namespace, prefix, sink, bar)
        return job

    subject = f"export {prefix!r}" if prefix else "export"
    _sum_up(with_store(work, subject=subject, opens=False, auto_migrate=False))


def _sum_up(job: Dumping) -> None:
    """How many of what; `Failed` where some of it was left out."""
    parts = [
        f"{number:,} of them {what}"
        for number, what in ((job.messages, "messages"), (job.mentions, "of mentions"))
        if number
    ]
    words = ", ".join([f"{job.rows:,} exported", *parts])
    words += f", {job.broken:,} left out" if job.broken else ""
    facts = {"messages": job.messages, "mentions": job.mentions, "broken": job.broken}
    if job.broken:
        raise Failed(output.PARTLY, words, kind="PartlyDone", rows=job.rows, **facts)
    chosen().note(words, exported=job.rows, **facts)


async def _values(persist: Persist, opened: AsyncExitStack, *, wanted: bool) -> Persist | None:
    """The values to export, opened; None where nobody made their tables and they are not all there is."""
    if not wanted and _unmade("persist", await persist.pending()):
        return None
    return await opened.enter_async_context(persist)


_WITHOUT = {
    "channels": "this store cannot have channels",
    "webmention": "this store cannot have mentions, or `holdfast[webmention]` is not installed",
}


async def _beside(
    capability: str, make: Callable[..., C | None], out: Output, opened: AsyncExitStack, *, wanted: bool
) -> C | None:
    """The rooms or mentions to export, opened; None where there are none."""
    found = make(auto_migrate=False)
    if found is None:
        out.note(f"export: {_WITHOUT[capability]}: they are left out", without=capability)
        return None
    if not wanted and _unmade(capability, await found.pending()):
        return None
    await opened.enter_async_context(found)
    return found


def _unmade(capability: str, pending: Sequence[Migration]) -> bool:
    """Whether a store has none of a capability's tables: it is used for something else."""
    return any(each.capability == capability and each.version == 1 for each in pending)


@click.command("import")
@common
@click.argument("file", default="-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--existing",
    type=click.Choice(["overwrite", "keep"]),
    default="overwrite",
    show_default=True,
    help="What becomes of a live value under the same key, or a message or mention of the same id.",
)
@click.option(
    "--from-line",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Go on there, after an import that stopped.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Largest value allowed; HOLDFAST_MAX_BYTES, else 1 MiB.",
)
def import_(file: str, existing: Existing, from_line: int, max_bytes: int | None) -> None:
    """Store what an export holds: FILE, gzipped if its name ends with .gz, or standard input.

    A line that is no row is reported with its number, and the rest goes on;
    the exit code is 5 then. Rows whose time is over are counted and left out.
    Doing an import again does no harm. If the store goes down, the message
    names the line at which to go on. Messages keep their ids and times, and
    have new positions.
    """
    from holdfast.cli.loading import Loading
    from holdfast.cli.source import blocks, numbered, unzipped

    longest = max(configured(max_bytes=max_bytes).max_bytes, LARGEST_DOCUMENT) + LINE_SLACK
    out, opened = chosen(), AsyncExitStack()

    async def channels() -> Channels | None:
        found = channels_beside()
        return None if found is None else await opened.enter_async_context(found)

    async def mentions() -> Webmention | None:
        found = webmention_beside()
        return None if found is None else await opened.enter_async_context(found)

    job = Loading(out, existing=existing, from_line=from_line, channels=channels, webmention=mentions)

    async def work(persist: Persist, out: Output) -> None:
        async with opened:
            await read(persist)

    async def read(persist: Persist) -> None:
        with _opened(file) as descriptor:
            done = [0]
            parts = _counted(blocks(descriptor), done)
            text = unzipped(parts) if file.endswith(".gz") else parts
            with Bar(out, "import", total=_size(descriptor)) as bar:
                await job.read(persist, numbered(text, longest=longest), bar, done)

    name = "import" if file == "-" else f"import {file!r}"
    try:
        with_store(work, subject=name, creates=True, max_bytes=max_bytes)
    except Failed as exc:
        raise _stopped(exc, job, from_line) from exc
    facts, words = structs.asdict(job.counts), job.counts.words()
    out.answer(facts | {"cut_short": job.cut_short}, words)
    if job.counts.broken or job.counts.left_out or job.cut_short:
        raise Failed(output.PARTLY, f"{name}: not all of it could be stored", kind="PartlyDone")


def _stopped(exc: Failed, job: Loading, from_line: int) -> Failed:
    """The failure with what was done until then and the line to go on from, once anything was done."""
    if job.line == from_line and job.counts.stored == 0:
        return exc
    words = f"{exc}; {job.counts.words()} until then; --from-line {job.line} goes on there"
    facts = {**exc.facts, **structs.asdict(job.counts), "line": job.line}
    return Failed(exc.code, words, kind=exc.kind, **facts)


@contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == "-":
        yield sys.stdin.fileno()
        return
    with worded(f"import {file!r}"):
        descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _size(descriptor: int) -> int | None:
    found = os.fstat(descriptor)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


async def _counted(parts: AsyncIterator[bytes], done: list[int]) -> AsyncIterator[bytes]:
    async for part in parts:
        done[0] += len(part)
        yield part
