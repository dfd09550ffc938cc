"""Writes what the code can say of itself into docs: reference pages, and the table of guarantees.

    python tools/reference.py            # rewrite
    python tools/reference.py --check    # exit 1 where a page is not what the code says

Pages are made whole, except `docs/guarantees.md`, in which only the part
between its two markers is.
"""

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from holdfast import errors, events, hold, persist
from holdfast.persist import registry
from holdfast.persist.driver import Traits

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "<!-- Made from the code by tools/reference.py: change the docstrings. -->\n\n"
FIRST, LAST = "<!-- traits -->", "<!-- /traits -->"
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
    text = inspect.cleandoc(thing.__doc__ or "")
    text = re.sub(
        r"::\n\n((?:    .*\n?|\n)+)",
        lambda m: f":\n\n```text\n{textwrap.dedent(m[1]).strip()}\n```\n\n",
        text,
    )
    text = re.sub(r"^(Args|Raises)(.*):\n((?:    .*\n?)+)", _listed, text, flags=re.M)
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
    parts += ["## `Entry`\n", f"```text\n{inspect.getsource(persist.Entry)}```\n"]
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
    rows = [
        f"| `{scheme}://` | `{entry.example}` | {f'`{entry.extra}`' if entry.extra else 'none'} "
        f"| {', '.join(f'`{option}`' for option in entry.options) or 'none'} |"
        for scheme, entry in registry.SCHEMES.items()
    ]
    table = "\n".join(["| scheme | example | extra | options |", "|---|---|---|---|", *rows])
    return f"# Store URLs\n\n{NOTE}{prose(registry)}\n\n{table}\n\n{(DOCS / 'reference' / '_urls.txt').read_text()}"


def traits_table() -> str:
    columns = {title: registry.driver_for(url).traits for title, url in SHOWN.items()}

    def row(title: str, cell: Any) -> str:
        return f"| {title} | " + " | ".join(cell(traits) for traits in columns.values()) + " |"

    def yes(value: bool) -> str:
        return "yes" if value else "no"

    def kinds(traits: Traits) -> str:
        return "all" if len(traits.immediate) > 5 else "reads" if traits.immediate else "none"

    return "\n".join(
        [
            "| | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            row("an acknowledged write survives a kill of the engine", lambda t: t.durable),
            row("who sees the data", lambda t: t.shared),
            row("whose clock decides about expiry", lambda t: t.clock),
            row("a version follows from the content", lambda t: yes(t.version_from_content)),
            row("expired rows are swept by Holdfast", lambda t: yes(t.sweeps)),
            row("tables are made without asking", lambda t: yes(t.auto_migrate)),
            row("answered at once, without a round trip", kinds),
            row(
                "batches beside each other",
                lambda t: (
                    f"{t.lanes}, 1 of writes"
                    + (f" while fewer than {t.overlap_from} wait" if t.overlap_from else "")
                    if t.writes_in_one_lane
                    else str(t.lanes)
                ),
            ),
            row("batches behind each other in a lane", lambda t: str(t.pipeline)),
            row("operations in one batch, at most", lambda t: str(t.max_ops)),
            row("a walk over keys remembers what it listed", lambda t: yes(t.scan_repeats)),
        ]
    )


def pages() -> dict[Path, str]:
    guarantees = DOCS / "guarantees.md"
    before, _, rest = guarantees.read_text().partition(FIRST)
    after = rest.partition(LAST)[2]
    made = {
        DOCS / "reference" / "persist.md": persist_page(),
        DOCS / "reference" / "errors.md": errors_page(),
        DOCS / "reference" / "events.md": events_page(),
        DOCS / "reference" / "urls.md": urls_page(),
        guarantees: f"{before}{FIRST}\n\n{traits_table()}\n\n{LAST}{after}",
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
