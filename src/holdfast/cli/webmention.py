"""`webmention`: what came in, listed and moderated; what goes out is in `sending`."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import structs

from holdfast.cli import output, sending
from holdfast.cli.group import Group
from holdfast.cli.keys import shown
from holdfast.cli.options import common
from holdfast.cli.output import Failed, Output, one_line
from holdfast.cli.places import is_of
from holdfast.cli.run import chosen, configured, with_webmention, worded
from holdfast.errors import MentionRefused, UnknownMention

if TYPE_CHECKING:
    from holdfast.webmention import OutgoingMention, ReceivedMention, Webmention

__all__ = ["webmention"]

OUT: Final = ("pending", "sent", "not_found", "failed")
IN: Final = ("queued", "pending", "accepted", "declined", "invalid", "gone")
_SILENT: Final = logging.NullHandler()
MAX_DUMP: Final = 256 << 20


@click.group("webmention", cls=Group)
@common
def webmention() -> None:
    """Mentions between sites: sent, received, moderated."""
    logging.getLogger("holdfast.webmention").addHandler(_SILENT)  # whoever names an exception knows of it


for _each in (sending.send, sending.discover, sending.retry, sending.work):
    webmention.add_command(_each)


@webmention.command("list", short_help="List what was sent and what came in.")
@common
@click.option("--received", "direction", flag_value="received", help="Only what came in.")
@click.option("--sent", "direction", flag_value="sent", help="Only what goes out.")
@click.option("--status", type=click.Choice(tuple(dict.fromkeys(OUT + IN))), help="Only those in it.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many of each.")
def list_(direction: str | None, status: str | None, limit: int | None) -> None:
    """List what goes out and what came in, the newest first.

    Each is a line: `sent` or `received`, time, status, id (for what came in),
    source, target, and why it is not sent, or who says what; between tabs.
    """
    goes = direction != "received" and status in (None, *OUT)
    comes = direction != "sent" and status in (None, *IN)
    if not goes and not comes:
        raise click.UsageError(f"--status {status} is none of --{direction}", click.get_current_context())

    async def work(mentions: Webmention, out: Output) -> None:
        if goes:
            async for sent in _first(mentions.outgoing(status=status), limit):  # type: ignore[arg-type]
                _print_sent(out, sent)
        if comes:
            async for came in _first(mentions.received(state=status), limit):  # type: ignore[arg-type]
                _print_received(out, came)

    with_webmention(work, subject="list", auto_migrate=False)


async def _first(found: AsyncIterator[Any], limit: int | None) -> AsyncIterator[Any]:
    number = 0
    async for each in found:
        yield each
        number += 1
        if number == limit:
            return


def _print_sent(out: Output, mention: OutgoingMention) -> None:
    if out.json:
        out.object({"direction": "sent", **structs.asdict(mention)})
        return
    says = mention.endpoint if mention.status == "sent" else mention.error
    _print(out, "sent", mention.updated_at, mention.status, "-", mention.source_url, mention.target_url, says)


def _print_received(out: Output, mention: ReceivedMention) -> None:
    if out.json:
        said = None if mention.mention is None else structs.asdict(mention.mention)
        if said is not None:
            said["author"] = structs.asdict(said["author"])
        log = [structs.asdict(each) for each in mention.log]
        out.object({"direction": "received", **structs.asdict(mention), "mention": said, "log": log})
        return
    said_by = mention.mention
    says = None
    if said_by is not None:
        text = f": {said_by.text[:80]}" if said_by.text else ""
        says = f"{said_by.type} by {said_by.author.name or 'nobody named'}{text}"
    when = mention.received_at
    _print(out, "received", when, mention.state, mention.id, mention.source_url, mention.target_url, says)


def _print(out: Output, direction: str, at: float | None, *fields: str | None) -> None:
    when = "-" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")[:19] + "Z"
    out.line("\t".join((direction, when, *(shown(one_line(each or "-"), False) for each in fields))))


@webmention.command("accept", short_help="Show mentions.")
@common
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def accept(ids: tuple[str, ...]) -> None:
    """Show the mentions with these IDs, and trust where they came from from now on.

    Exit 1 if one is not there or was not verified; the others are accepted all the same.
    """
    _decide("accept", ids, lambda mentions: mentions.accept)


@webmention.command("decline", short_help="Show mentions no more.")
@common
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def decline(ids: tuple[str, ...]) -> None:
    """Show the mentions with these IDs no more, whatever their senders do; `accept` takes that back.

    Exit 1 if one is not there; the others are declined all the same.
    """
    _decide("decline", ids, lambda mentions: mentions.decline)


def _decide(
    what: str,
    ids: tuple[str, ...],
    how: Callable[[Webmention], Callable[[str], Awaitable[ReceivedMention]]],
) -> None:
    async def work(mentions: Webmention, out: Output) -> list[str]:
        refused = []
        for id in dict.fromkeys(ids):
            try:
                _print_received(out, await how(mentions)(id))
            except (UnknownMention, MentionRefused) as exc:
                out.note(one_line(str(exc)), id=id, error=one_line(str(exc)))
                refused.append(id)
        return refused

    refused = with_webmention(work, subject=what, auto_migrate=False)
    if refused:
        words = f"{what}: {len(refused)} of {len(set(ids))} not done"
        raise Failed(output.NO, words, kind="Absent", ids=refused)


@webmention.command("block", short_help="Take nothing from somewhere any more.")
@common
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
def block(patterns: tuple[str, ...]) -> None:
    """Take nothing from PATTERN any more, and decline what is there: a domain, or a URL in which * is any text."""
    _rule("block", patterns)


@webmention.command("allow", short_help="Accept what comes from somewhere.")
@common
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
def allow(patterns: tuple[str, ...]) -> None:
    """Accept what comes from PATTERN without moderation, and what waits already. See `block` for patterns."""
    _rule("allow", patterns)


def _rule(what: str, patterns: tuple[str, ...]) -> None:
    async def work(mentions: Webmention, out: Output) -> None:
        add = mentions.block if what == "block" else mentions.allow
        for pattern in patterns:
            rule = await add(pattern)
            out.answer(structs.asdict(rule), f"{rule.kind}\t{shown(rule.pattern, False)}")

    with_webmention(work, subject=what, creates=True)


@webmention.command("unblock", short_help="Forget rules of block and allow.")
@common
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
def unblock(patterns: tuple[str, ...]) -> None:
    """Forget what `block` or `allow` said of PATTERN; what it decided stays decided.

    Exit 1 if there is no such rule.
    """

    async def work(mentions: Webmention, out: Output) -> list[str]:
        gone = [each for each in dict.fromkeys(patterns) if not await mentions.unblock(each)]
        removed = len(set(patterns)) - len(gone)
        out.answer({"removed": removed, "absent": gone}, f"{removed} removed")
        return gone

    gone = with_webmention(work, subject="unblock", auto_migrate=False)
    if gone:
        names = ", ".join(map(repr, gone[:3]))
        raise Failed(output.NO, f"unblock: no rule {names}", kind="Absent", patterns=gone)


@webmention.command("rules", short_help="List the rules of block and allow.")
@common
def rules() -> None:
    """List what `block` and `allow` said: `block` or `accept`, and the pattern, between tabs."""

    async def work(mentions: Webmention, out: Output) -> None:
        for rule in await mentions.rules():
            facts = structs.asdict(rule)
            out.answer(facts, f"{rule.kind}\t{shown(rule.pattern, False)}")

    with_webmention(work, subject="rules", auto_migrate=False)


@webmention.command("import", short_help="Take over what webmention.io received.")
@common
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--site", metavar="URL", help="Take only its mentions; HOLDFAST_SITE where left out, else all.")
def import_(file: str, site: str | None) -> None:
    """Take over what webmention.io received.

    FILE is what its API answers (JF2 or JSON), or one entry a line; `-` reads
    standard input. They are accepted, as they were first received, and looked
    at again within the next days. What is there already stays. Exit 5 if
    entries were left out.
    """
    subject = "import" if file == "-" else f"import {file!r}"
    out, home = chosen(), configured(site=site).site
    left_out: list[str] = []

    def skipped(why: str) -> None:
        left_out.append(one_line(why))
        out.note(f"import: {left_out[-1]}", error=left_out[-1])

    found = _read_dump(file, subject, skipped)
    ours = [each for each in found if home is None or is_of(each.target_url, home)]
    if len(ours) < len(found):
        skipped(f"{len(found) - len(ours):,} are of other sites than {home}")

    async def work(mentions: Webmention, out: Output) -> None:
        stored = await mentions.adopt(ours)
        words = [f"{stored:,} stored"]
        if stored < len(ours):
            words.append(f"{len(ours) - stored:,} there already")
        out.answer({"stored": stored, "kept": len(ours) - stored, "errors": left_out}, ", ".join(words))

    with_webmention(work, subject=subject, creates=True, site=site)
    if left_out:
        raise Failed(output.PARTLY, f"{subject}: not all of it could be stored", kind="PartlyDone")


def _read_dump(file: str, subject: str, skipped: Callable[[str], None]) -> list[ReceivedMention]:
    from holdfast.webmention import from_dump

    with worded(subject):
        data = sys.stdin.buffer.read(MAX_DUMP) if file == "-" else Path(file).read_bytes()
        return list(from_dump(data, skipped=skipped))
