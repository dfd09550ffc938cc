"""Writes what the code can say of itself into docs: reference pages, and the table of guarantees.

    python tools/reference.py            # rewrite
    python tools/reference.py --check    # exit 1 where a page is not what the code says

Pages are made whole, except `docs/guarantees.md`, in which only the parts
between their two markers are.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

from holdfast import channels, errors, events, hold, persist, webmention
from holdfast.channels import registry as channels_registry
from holdfast.persist import registry
from holdfast.persist.driver import Traits
from holdfast.webmention import registry as webmention_registry

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "<!-- Made from the code by tools/reference.py: change the docstrings. -->\n\n"
MARKERS = ("<!-- {} -->", "<!-- /{} -->")
SHOWN = {
    "memory": "memory://",
    "SQLite": "sqlite:///app.db",
    "Redis": "redis://localhost",
    "Redis Cluster": "redis+cluster://localhost",
    "Postgres": "postgresql://localhost/app",
    "SQLAlchemy on SQLite": "sqlalchemy+sqlite+aiosqlite:///app.db",
    "SQLAlchemy on Postgres": "sqlalchemy+postgresql+asyncpg://localhost/app",
    "SQLAlchemy on MySQL": "sqlalchemy+mysql+asyncmy://localhost/app",
}


def prose(thing: Any) -> str:
    """A docstring as Markdown: literal blocks and `Raises:` lists in their Markdown forms."""
    text = inspect.cleandoc(thing.__doc__ or "").replace("``", "`")
    text = re.sub(
        r"::\n\n((?:    .*\n?|\n)+)",
        lambda m: f":\n\n```text\n{textwrap.dedent(m[1]).strip()}\n```\n\n",
        text,
    )
    text = re.sub(r"^(Args|Raises|Class attributes)(.*):\n((?:    .*\n?)+)", _listed, text, flags=re.M)
    return re.sub(r"^:\n", "", text, flags=re.M)


def _listed(match: re.Match[str]) -> str:
    items = re.sub(r"\n        +", " ", inspect.cleandoc(match[3]).replace("\n    ", "\n        "))
    lines = [
        f"- `{line.split(':', 1)[0]}`:{line.split(':', 1)[1]}" for line in items.splitlines() if ":" in line
    ]
    return f"**{match[1]}{match[2]}**\n\n" + "\n".join(lines) + "\n"


def signature(name: str, thing: Any) -> str:
    text = f"{name}{inspect.signature(thing)}"
    text = re.sub(r"\b(?:holdfast|collections|typing|datetime)(?:\.\w+)*\.(\w+)", r"\1", text)
    text = text.replace("<built-in function time>", "time.time")
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are text; defaults keep their quotes
    text = re.sub(r"\(self,? ?", "(", text).replace("'", '"')
    if inspect.iscoroutinefunction(thing):
        text = f"await {text}"
    return f"```text\n{text}\n```\n"


def members(kind: type) -> list[tuple[str, Any]]:
    return [
        (name, each)
        for owner in kind.__mro__[:-1]
        for name, each in vars(owner).items()
        if not name.startswith("_") and (inspect.isfunction(each) or isinstance(each, property))
    ]


def class_page(kind: type, name: str) -> list[str]:
    parts = [f"## `{name}`\n", signature(name, kind), prose(kind) + "\n"]
    for member, thing in members(kind):
        parts.append(f"### `{name}.{member}`\n")
        if not isinstance(thing, property):
            parts.append(signature(member, thing))
        parts.append(prose(thing) + "\n")
    return parts


def persist_page() -> str:
    parts = ["# `holdfast` and `holdfast.persist`\n", NOTE]
    parts += class_page(persist.Persist, "Persist")
    parts += class_page(hold.Holdfast, "Holdfast")
    parts += class_page(persist.Watch, "Watch")
    for record in (persist.Entry, persist.Change):
        parts += [f"## `{record.__name__}`\n", f"```text\n{inspect.getsource(record)}```\n"]
    parts += [
        "## `KEEP`\n",
        "Leave the remaining expiry as it is; the default of `set`, `replace` and `update`.\n",
    ]
    parts += [
        "## `Expires`, `Keep`\n",
        "The types of `expires`: seconds or a `timedelta` or None; and of `KEEP`.\n",
    ]
    parts += ["## `reserved`\n", signature("reserved", persist.reserved), prose(persist.reserved) + "\n"]
    parts.append("\nExceptions are in [errors](errors.md).\n")
    return "\n".join(parts)


def channels_page() -> str:
    parts = ["# `holdfast.channels`\n", NOTE, f"{prose(channels)}\n"]
    parts += class_page(channels.Channel, "Channel")
    parts += ["## `event`\n", signature("event", channels.event), prose(channels.event) + "\n"]
    parts += class_page(channels.Channels, "Channels")
    records = (
        "User",
        "Connect",
        "Reply",
        "Message",
        "TopicInfo",
        "Heard",
        "RoomInfo",
        "ConnectionInfo",
        "Counts",
    )
    for name in records:
        parts += [f"## `{name}`\n", f"```text\n{inspect.getsource(getattr(channels, name))}```\n"]
    parts += ["## `Refuse`\n", signature("Refuse", channels.Refuse), prose(channels.Refuse) + "\n"]
    parts += ["## `AnyTopic`\n", prose(channels.AnyTopic) + "\n"]
    parts += ["## `Limits`\n", prose(channels.Limits) + "\n", limits_table() + "\n"]
    parts += ["## Testing\n", prose(importlib.import_module("holdfast.testing.channel_client")) + "\n"]
    for name in ("ChannelClient", "JoinedTopic"):
        kind = getattr(importlib.import_module("holdfast.testing.channel_client"), name)
        parts += [
            part.replace("## ", "### ", 1) if part.startswith("## ") else part
            for part in class_page(kind, name)
        ]
    refused = importlib.import_module("holdfast.testing.channel_client").JoinRefused
    parts.append(f"### `JoinRefused`\n\n{prose(refused)}\n")
    parts.append(
        "\n`HistoryLost`, `MessageTooLarge` and `TopicRefused` are in [errors](errors.md), "
        "what is promised in [guarantees](../guarantees.md).\n"
    )
    return "\n".join(parts)


def webmention_page() -> str:
    parts = ["# `holdfast.webmention`\n", NOTE, f"{prose(webmention)}\n"]
    parts += class_page(webmention.Webmention, "Webmention")
    for name in (
        "find_links",
        "discover",
        "deliver",
        "verify",
        "parse_mention",
        "render",
        "advertise",
        "from_dump",
        "read_post",
    ):
        thing = getattr(webmention, name)
        parts += [f"## `{name}`\n", signature(name, thing), prose(thing) + "\n"]
    parts += ["## `STYLESHEET`\n", "The stylesheet of what `render` and `Webmention.html` make, as text.\n"]
    for name in ("NetworkPolicy", "Fetcher", "Rehearsal", "Web"):
        parts += class_page(getattr(webmention, name), name)
    parts += [
        "## Storages of your own\n",
        prose(importlib.import_module("holdfast.webmention.storage")) + "\n",
    ]
    for name in ("Storage", "Outbox"):
        parts += class_page(getattr(webmention, name), name)
    records = (
        "OutgoingMention",
        "Report",
        "Claimed",
        "ReceivedMention",
        "ParsedMention",
        "Author",
        "LogEntry",
        "Rule",
        "InboxLimits",
        "Page",
        "Discovery",
        "Delivery",
        "Archived",
    )
    for name in records:
        parts += [f"## `{name}`\n", f"```text\n{inspect.getsource(getattr(webmention, name))}```\n"]
    parts += ["## Times\n", prose(importlib.import_module("holdfast.webmention.schedule")) + "\n"]
    parts += ["## Drivers\n", prose(importlib.import_module("holdfast.webmention.driver")) + "\n"]
    parts.append(
        "\n`AddressRefused`, `FetchFailed`, `MentionRefused`, `StorageTooSmall`, `UnknownMention` and their parent "
        "`WebmentionError` are in [errors](errors.md), what is promised in [guarantees](../guarantees.md#webmention).\n"
    )
    return "\n".join(parts)


def limits_table() -> str:
    """A row a limit: its default, and the docstring under it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(channels.Limits)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    defaults = channels.Limits()
    rows = [
        f"| `{field.target.id}` | {getattr(defaults, field.target.id):,} | {said.value.value} |"
        for field, said in pairwise(body)
        if isinstance(field, ast.AnnAssign)
    ]
    return "\n".join(["| limit | default | |", "|---|---|---|", *rows])


def errors_page() -> str:
    parts = ["# Errors\n", NOTE, prose(errors) + "\n"]
    for name in errors.__all__:
        parts += [f"## `{name}`\n", prose(getattr(errors, name)) + "\n"]
    return "\n".join(parts)


def events_page() -> str:
    parts = ["# Events\n", NOTE, prose(events) + "\n"]
    for name in events.__all__:
        thing = getattr(events, name)
        if isinstance(thing, type):
            parts += [f"## `{name}`\n", f"```text\n{inspect.getsource(thing)}```\n"]
        elif inspect.isfunction(thing):
            parts += [f"## `{name}`\n", signature(name, thing), prose(thing) + "\n"]
    parts.append(
        "`Event` is any of the records, `Listener` a function that takes one, `listeners` those subscribed.\n"
    )
    return "\n".join(parts)


def urls_page() -> str:
    rooms = channels_registry.SCHEMES
    rows = [
        f"| `{scheme}://` | `{entry.example}` | {f'`{entry.extra}`' if entry.extra else 'none'} "
        f"| {', '.join(f'`{option}`' for option in entry.options) or 'none'} "
        f"| {'yes' if scheme in rooms else 'no'} |"
        for scheme, entry in registry.SCHEMES.items()
    ]
    assert webmention_registry.SCHEMES.keys() == rooms.keys()
    assert all(entry.options == registry.SCHEMES[scheme].options for scheme, entry in rooms.items())
    table = "\n".join(
        ["| scheme | example | extra | options | rooms, mentions |", "|---|---|---|---|---|", *rows]
    )
    return f"# Store URLs\n\n{NOTE}{prose(registry)}\n\n{table}\n\n{(DOCS / 'reference' / '_urls.txt').read_text()}"


def yes(value: bool) -> str:
    return "yes" if value else "no"


def lanes(traits: Any) -> str:
    overlap = getattr(traits, "overlap_from", None)
    if not traits.writes_in_one_lane:
        return str(traits.lanes)
    return f"{traits.lanes}, 1 of writes" + (f" while fewer than {overlap} wait" if overlap else "")


def table(columns: dict[str, Any], rows: dict[str, Any]) -> str:
    """A row a claim; a column a driver's traits."""
    return "\n".join(
        [
            "| | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            *(
                f"| {title} | " + " | ".join(cell(traits) for traits in columns.values()) + " |"
                for title, cell in rows.items()
            ),
        ]
    )


def channels_table() -> str:
    behind = {"Postgres behind PgBouncer, no `listen=`": "postgresql://localhost/app?pgbouncer=true"}
    shown = {title: url for title, url in SHOWN.items() if "cluster" not in url} | behind
    columns = {title: channels_registry.driver_for(url).traits for title, url in shown.items()}
    hears = {"no": "not at all", "push": "at once", "poll": "by looking"}

    return table(
        columns,
        {
            "an acknowledged message survives a kill of the engine": lambda t: t.durable,
            "whose messages are heard": lambda t: t.shared,
            "how other processes' messages arrive": lambda t: hears[t.notifies],
            "seconds until they do, at most": lambda t: f"{t.latency:g}" if t.notifies == "poll" else "",
            "whose clock stamps messages and decides about their age": lambda t: t.clock,
            "tables are made without asking": lambda t: yes(t.auto_migrate),
            "answered at once, without a round trip": lambda t: (
                "all" if len(t.immediate) > 5 else "reads" if t.immediate else "none"
            ),
            "batches beside each other": lanes,
            "batches behind each other in a lane": lambda t: str(t.pipeline),
            "operations in one batch, at most": lambda t: str(t.max_ops),
        },
    )


def webmention_table() -> str:
    columns = {
        title: webmention_registry.driver_for(url).traits
        for title, url in SHOWN.items()
        if "cluster" not in url
    }
    return table(
        columns,
        {
            "what was acknowledged survives a kill of the engine": lambda t: {"server": "as configured"}.get(
                t.durable, t.durable
            ),
            "who may work on it at the same time": lambda t: t.shared,
            "whose clock decides what is due, and when a lease ends": lambda t: t.clock,
            "tables are made without asking": lambda t: yes(t.auto_migrate),
        },
    )


def traits_table() -> str:
    columns = {title: registry.driver_for(url).traits for title, url in SHOWN.items()}

    def watched(traits: Traits) -> str:
        if not traits.notifies:
            return "no"
        return f"within {traits.latency:g} s" if traits.latency else "at once"

    def kinds(traits: Traits) -> str:
        return "all" if len(traits.immediate) > 5 else "reads" if traits.immediate else "none"

    return table(
        columns,
        {
            "an acknowledged write survives a kill of the engine": lambda t: t.durable,
            "who sees the data": lambda t: t.shared,
            "whose clock decides about expiry": lambda t: t.clock,
            "a version follows from the content": lambda t: yes(t.version_from_content),
            "expired rows are swept by Holdfast": lambda t: yes(t.sweeps),
            "tables are made without asking": lambda t: yes(t.auto_migrate),
            "answered at once, without a round trip": kinds,
            "batches beside each other": lanes,
            "batches behind each other in a lane": lambda t: str(t.pipeline),
            "operations in one batch, at most": lambda t: str(t.max_ops),
            "a walk over keys remembers what it listed": lambda t: yes(t.scan_repeats),
            "changes can be watched (`watch=True`)": watched,
        },
    )


def between(text: str, name: str, made: str) -> str:
    """The text with what is between the markers of this name made anew."""
    first, last = (marker.format(name) for marker in MARKERS)
    before, _, rest = text.partition(first)
    return f"{before}{first}\n\n{made}\n\n{last}{rest.partition(last)[2]}"


def with_tables(text: str) -> str:
    """The page of guarantees with each table made anew."""
    for name, made in (
        ("traits", traits_table),
        ("channels", channels_table),
        ("webmention", webmention_table),
    ):
        text = between(text, name, made())
    return text


def pages() -> dict[Path, str]:
    guarantees = DOCS / "guarantees.md"
    made = {
        DOCS / "reference" / "persist.md": persist_page(),
        DOCS / "reference" / "channels.md": channels_page(),
        DOCS / "reference" / "webmention.md": webmention_page(),
        DOCS / "reference" / "errors.md": errors_page(),
        DOCS / "reference" / "events.md": events_page(),
        DOCS / "reference" / "urls.md": urls_page(),
        guarantees: with_tables(guarantees.read_text()),
    }
    return {path: re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n" for path, text in made.items()}


def main() -> int:
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text() != text}
    if "--check" in sys.argv:
        for path in stale:
            print(
                f"{path.relative_to(DOCS.parent)} is not what the code says; run: python tools/reference.py"
            )
        return bool(stale)
    for path, text in stale.items():
        path.write_text(text)
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
