"""`channels`: rooms from a shell. What applications' classes serve is read and written as it is stored."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from holdfast.cli import output
from holdfast.cli.group import Group
from holdfast.cli.keys import shown
from holdfast.cli.options import common
from holdfast.cli.output import Failed, Output, painted
from holdfast.cli.run import configured, with_channels
from holdfast.cli.values import READ_AT_MOST
from holdfast.store import masked

if TYPE_CHECKING:
    from holdfast.channels import Channels, Heard, Message

__all__ = ["channels"]

MOST: Final = 1000  # messages in one question
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # what JSON leaves as it is


@click.group("channels", cls=Group)
@common
def channels() -> None:
    """Rooms: what was said in them, what is being said, and saying something."""


@channels.command("tail", short_help="Print messages as they come.")
@common
@click.argument("topic")
@click.option("--since", metavar="POSITION", help="First everything that came after this.")
@click.option(
    "--history", type=click.IntRange(0, MOST), default=0, metavar="N", help="First the last N messages."
)
@click.pass_context
def tail(ctx: click.Context, topic: str, since: str | None, history: int) -> None:
    """Print the messages of TOPIC as they come, from whichever process, until Ctrl-C.

    Each is a line: time, id, event and payload, between tabs. An edit or a
    removal is a message too: message_edited, message_removed. --json also has
    the position, from which --since goes on later without a gap.
    """
    if since is not None and history:
        raise click.UsageError("either --since or --history", ctx)

    async def work(channels: Channels, out: Output) -> None:
        from holdfast.cli.hangup import while_read

        with while_read():
            async for each in channels.tail(topic, since=since):
                _print_heard(out, topic, each)

    try:
        with_channels(work, subject=f"tail {topic!r}", auto_migrate=False, history=history)
    except Failed as exc:
        if exc.code != output.INTERRUPTED:
            raise
        ctx.exit(exc.code)  # that is how it ends: nothing to say


@channels.command("history", short_help="Print the latest messages.")
@common
@click.argument("topic")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, metavar="N")
@click.option("--before", metavar="POSITION", help="The last that came before it.")
@click.option("--after", metavar="POSITION", help="The first that came after it.")
def history(topic: str, limit: int, before: str | None, after: str | None) -> None:
    """Print the latest messages of TOPIC, oldest first: time, id, event and payload, between tabs.

    --json has one object a line, with the position that --before and --after take.
    """

    async def work(channels: Channels, out: Output) -> None:
        _print(out, topic, await channels.history(topic, limit=limit, before=before, after=after))

    with_channels(work, subject=f"history {topic!r}", auto_migrate=False)


@channels.command("publish", short_help="Send a message to everyone in a topic.")
@common
@click.argument("topic")
@click.argument("event")
@click.argument("payload")
@click.option("--id", "id", metavar="ID", help="The message's own: published again, it is kept once.")
@click.option("--no-keep", is_flag=True, help="Show it to whoever is there now, and keep nothing.")
def publish(topic: str, event: str, payload: str, id: str | None, no_keep: bool) -> None:
    """Send EVENT with PAYLOAD, a JSON object, to everyone in TOPIC and print its position. `-` reads standard input.

    It is kept as if no limit applied: the application's own next message in the
    topic takes away what is too much or too old.
    """
    says = _object(payload)

    async def work(channels: Channels, out: Output) -> None:
        position = await channels.publish(topic, event, says, id=id, keep=False if no_keep else None)
        out.answer({"topic": topic, "position": position}, position or "")

    with_channels(work, subject=f"publish {topic!r}", creates=True)


@channels.command("topics", short_help="List the topics that have a history.")
@common
@click.argument("prefix", default="")
@click.option(
    "--long", "wide", is_flag=True, help="With messages kept and the time of the latest, between tabs."
)
def topics(prefix: str, wide: bool) -> None:
    """List the topics that have a history and start with PREFIX, or all, by name."""

    async def work(channels: Channels, out: Output) -> None:
        async for each in channels.topics(prefix):
            if out.json:
                out.object({"topic": each.topic, "messages": each.messages, "at": each.at})
            elif wide:
                out.line(f"{each.messages}\t{_time(each.at)}\t{shown(each.topic, False)}")
            else:
                out.line(shown(each.topic, False))

    with_channels(work, subject=f"topics {prefix!r}" if prefix else "topics", auto_migrate=False)


@channels.command("rm", short_help="Erase messages.")
@common
@click.argument("topic")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def rm(topic: str, ids: tuple[str, ...]) -> None:
    """Erase messages of TOPIC by their IDs, as `history` prints them; whoever is there sees them go.

    Exit 1 if one of them was not there; the others are removed all the same.
    """

    async def work(channels: Channels, out: Output) -> list[str]:
        names = dict.fromkeys(ids)
        gone = [id for id in names if not await channels.remove(topic, id)]
        removed = len(names) - len(gone)
        out.answer({"topic": topic, "removed": removed, "absent": gone}, f"{removed} removed")
        return gone

    gone = with_channels(work, subject=f"rm {topic!r}", auto_migrate=False)
    if gone:
        names = ", ".join(map(repr, gone[:3])) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        raise Failed(output.NO, f"rm {topic!r}: no message {names}", kind="Absent", ids=gone)


@channels.command("clear", short_help="Forget a topic's whole history.")
@common
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def clear(topic: str, yes: bool) -> None:
    """Forget the whole history of TOPIC; exit 1 if it had none. Who comes back to it is told that it is lost."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("clear asks before it forgets; without a terminal it needs --yes")
        settings = configured()
        question = (
            f"Forget the history of {topic!r}, namespace {settings.namespace!r} in {masked(settings.store)}?"
        )
        if not click.confirm(question, err=True):
            raise Failed(output.NO, "clear: nothing was forgotten", kind="Declined")

    async def work(channels: Channels, out: Output) -> bool:
        had = await channels.clear(topic)
        out.answer({"topic": topic, "cleared": had}, "cleared" if had else "")
        return had

    if not with_channels(work, subject=f"clear {topic!r}", auto_migrate=False):
        raise Failed(output.NO, f"clear {topic!r}: it had no history", kind="Absent")


# --- lines ---


def _object(text: str) -> dict[str, Any]:
    """The argument, or standard input for `-`, as a JSON object."""
    raw = sys.stdin.buffer.read(READ_AT_MOST) if text == "-" else text.encode("utf-8", "surrogateescape")
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError) as exc:
        words = f"""publish: PAYLOAD is not a JSON object, such as '{{"message": "hello"}}' ({exc})"""
        raise Failed(output.USAGE, words, kind="Usage") from None


def _print(out: Output, topic: str, messages: list[Message]) -> None:
    if out.json:
        lines = [msgspec.json.encode({"topic": topic, **msgspec.structs.asdict(each)}) for each in messages]
        text = b"".join(line + b"\n" for line in lines)
    else:
        text = b"".join(_line(out, each.at, each.id, each.event, each.payload) for each in messages)
    if text:
        out.data(text)


def _print_heard(out: Output, topic: str, heard: Heard) -> None:
    if out.json:
        out.object({"topic": topic, **msgspec.structs.asdict(heard)})  # binary as base64
    else:
        payload = "(binary)" if isinstance(heard.payload, bytes) else heard.payload
        out.data(_line(out, heard.at, heard.id, heard.event, payload))


def _line(out: Output, at: float | None, id: str | None, event: str, payload: Any) -> bytes:
    text = msgspec.json.encode(payload).decode()
    safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
    head = "\t".join((_time(at), id or "-", shown(event, False), ""))
    return head.encode() + painted(safe, colour=out.colour) + b"\n"


def _time(at: float | None) -> str:
    """As ISO 8601 has it, in UTC; now, for what is shown and not kept."""
    when = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
