"""`keys` and `rm`: many keys at a time."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from holdfast.cli import output
from holdfast.cli.options import common
from holdfast.cli.output import Failed, Output
from holdfast.cli.run import configured, with_store
from holdfast.cli.values import absent, seconds
from holdfast.store import masked

if TYPE_CHECKING:
    from holdfast.persist import Persist

__all__ = ["keys", "rm", "shown"]

CHUNK: Final = 500  # keys in one write to the terminal, removals under way at once
AT_ONCE: Final = 32
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # control characters, text direction


@click.command("rm")
@common
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--prefix", help="Every key that starts with this; '' is all.")
@click.option("--yes", is_flag=True, help="Do not ask before removing by prefix.")
def rm(keys: tuple[str, ...], prefix: str | None, yes: bool) -> None:
    """Remove KEYs, or every key with a prefix; print how many there were.

    Exit 1 if one of the KEYs was absent; the others are removed all the same.
    Nested namespaces are not touched.
    """
    if (prefix is None) == (not keys):
        raise click.UsageError("name either KEYs or --prefix", click.get_current_context())
    if prefix is not None:
        _rm_prefix(prefix, yes)
        return

    async def work(persist: Persist, out: Output) -> list[str]:
        from asyncio import gather

        gone: list[str] = []
        names = list(dict.fromkeys(keys))
        for start in range(0, len(names), CHUNK):
            part = names[start : start + CHUNK]
            removed = await gather(*map(persist.remove, part))
            gone += [key for key, was in zip(part, removed, strict=True) if not was]
        out.answer({"removed": len(names) - len(gone), "absent": gone}, f"{len(names) - len(gone)} removed")
        return gone

    gone = with_store(work, subject=f"rm {keys[0]!r}" if len(keys) == 1 else "rm", auto_migrate=False)
    if gone:
        raise absent("rm", *gone)


def _rm_prefix(prefix: str, yes: bool) -> None:
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("rm --prefix asks before it removes; without a terminal it needs --yes")
        settings = configured()
        which = f"every key that starts with {prefix!r}" if prefix else "every key"
        question = f"Remove {which} of namespace {settings.namespace!r} in {masked(settings.store)}?"
        if not click.confirm(question, err=True):
            raise Failed(output.NO, "rm: nothing was removed", kind="Declined")

    async def work(persist: Persist, out: Output) -> None:
        removed = await persist.clear(prefix)
        out.answer({"removed": removed}, f"{removed} removed")

    with_store(work, subject=f"rm --prefix {prefix!r}", auto_migrate=False)


@click.command("keys")
@common
@click.argument("prefix", default="")
@click.option("--long", "wide", is_flag=True, help="With ttl in seconds and version, between tabs.")
@click.option("-0", "--null", "null", is_flag=True, help="A NUL after each key, for xargs -0.")
def keys(prefix: str, wide: bool, null: bool) -> None:
    """List the live keys that start with PREFIX, or all, as they are found.

    A key with control characters, or one that begins with a quote, is printed
    as a JSON string.
    """

    async def work(persist: Persist, out: Output) -> None:
        part: list[str] = []
        async for key in persist.keys(prefix):
            part.append(key)
            if len(part) == CHUNK:
                await _list(persist, out, part, wide=wide, null=null)
                part = []
        await _list(persist, out, part, wide=wide, null=null)

    with_store(work, subject=f"keys {prefix!r}" if prefix else "keys", auto_migrate=False)


async def _list(persist: Persist, out: Output, names: list[str], *, wide: bool, null: bool) -> None:
    """Print some keys in one write."""
    end = "\0" if null else "\n"
    if wide:
        rows = await _rows(persist, names)
        if out.json:
            text = "".join(
                _encoded({"key": key, "ttl": ttl, "version": version}) for key, ttl, version in rows
            )
        else:
            text = "".join(
                f"{seconds(ttl)}\t{version}\t{shown(key, null)}{end}" for key, ttl, version in rows
            )
    elif out.json:
        text = "".join(_encoded({"key": key}) for key in names)
    else:
        text = "".join(shown(key, null) + end for key in names)
    if text:
        out.data(text)


async def _rows(persist: Persist, names: list[str]) -> list[tuple[str, float | None, str]]:
    """Key, ttl and version of those that still live."""
    rows = []
    # No operation answers these without the value: a few at a time, so that large values do not fill the memory.
    for start in range(0, len(names), AT_ONCE):
        found = await persist.entries(names[start : start + AT_ONCE], msgspec.Raw)
        rows += [(key, entry.ttl, entry.version) for key, entry in found.items()]
    return rows


def shown(key: str, null: bool) -> str:
    """The key as one line: as it is, or as a JSON string where it would break the line or talk to the terminal.

    Where NUL tells keys apart it stays as it is; no key holds a NUL.
    """
    if null or (key[:1] != '"' and not _UNSAFE.search(key)):
        return key
    import json  # msgspec escapes only what JSON demands

    return json.dumps(key)


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode() + "\n"
