"""`get`, `set`, `create`, `ttl`: one value from a shell."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from holdfast.cli import output
from holdfast.cli.options import Values, common, lifetime
from holdfast.cli.output import Failed, Output, painted
from holdfast.cli.run import with_store
from holdfast.errors import InvalidConversion

if TYPE_CHECKING:
    from holdfast.persist import Persist

__all__ = ["absent", "create", "get", "seconds", "set_", "ttl"]

READ_AT_MOST: Final = 256 << 20  # of a value from standard input, before its blanks are taken out


@click.command("get")
@common
@click.argument("key")
@click.option("--raw", "form", flag_value="raw", help="As it is stored, to the byte.")
@click.option("--pretty", "form", flag_value="pretty", help="Indented, as on a terminal.")
@click.option("--text", "form", flag_value="text", help="A JSON string without its quotes.")
def get(key: str, form: str | None) -> None:
    """Print the value of KEY; exit 1 if there is none.

    Indented on a terminal, as it is stored when piped. --json prints one object
    with the key, the value, its ttl in seconds and its version.
    """

    async def work(persist: Persist, out: Output) -> None:
        entry = await persist.entry(key, msgspec.Raw)
        if entry is None:
            raise absent("get", key)
        if out.json:
            out.object({"key": key, "value": entry.value, "ttl": entry.ttl, "version": entry.version})
        else:
            _print(out, key, bytes(entry.value), form or ("pretty" if out.terminal else "raw"))

    with_store(work, subject=f"get {key!r}", auto_migrate=False)


def _print(out: Output, key: str, stored: bytes, form: str) -> None:
    if form == "pretty":
        stored = painted(msgspec.json.format(stored, indent=2), colour=out.colour)
    elif form == "text":
        try:
            stored = msgspec.json.decode(stored, type=str).encode()
        except msgspec.DecodeError:
            raise InvalidConversion(f"get {key!r}: the value is not a JSON string") from None
    out.data(stored + b"\n")


def _value(operation: str, key: str, value: str, text: bool) -> msgspec.Raw:
    """The argument, or standard input for `-`, as checked and compact JSON."""
    if value == "-":
        raw = sys.stdin.buffer.read(READ_AT_MOST)
        if text:
            value = raw.decode("utf-8", "surrogateescape").removesuffix("\n")
    else:
        raw = value.encode("utf-8", "surrogateescape")
    try:
        if text:
            return msgspec.Raw(msgspec.json.encode(value))
        msgspec.json.decode(raw)
        return msgspec.Raw(msgspec.json.format(raw, indent=-1))
    except UnicodeError:
        raise Failed(output.USAGE, f"{operation} {key!r}: VALUE is not UTF-8", kind="Usage") from None
    except msgspec.DecodeError as exc:
        raise Failed(
            output.USAGE,
            f"{operation} {key!r}: VALUE is not JSON ({exc}); "
            """text needs quotes that reach holdfast, as in '"hello"', or the option --text""",
            kind="Usage",
        ) from None


def _storing(command: Any) -> Any:
    for option in (
        click.option("--text", is_flag=True, help="VALUE is plain text: store it as a JSON string."),
        click.option("--max-bytes", type=click.IntRange(min=1), metavar="N", help="Largest value allowed."),
        click.argument("value"),
        click.argument("key"),
        common,
    ):
        command = option(command)
    return command


@click.command("set", cls=Values)
@click.option(
    "--expires",
    metavar="SECONDS",
    callback=lifetime,
    help="60, 0.5, 30m, 12h, 7d or none; else a live value keeps its own.",
)
@_storing
def set_(key: str, value: str, expires: timedelta | str | None, text: bool, max_bytes: int | None) -> None:
    """Store VALUE, which is JSON, under KEY, whatever was there. `-` reads standard input."""
    stored = _value("set", key, value, text)
    from holdfast.persist import KEEP

    ends = KEEP if expires is None else _ends(expires)

    async def work(persist: Persist, out: Output) -> None:
        await persist.set(key, stored, expires=ends)
        out.answer({"key": key, "stored": True})

    with_store(work, subject=f"set {key!r}", creates=True, max_bytes=max_bytes)


@click.command("create", cls=Values)
@click.option("--expires", metavar="SECONDS", callback=lifetime, help="60, 0.5, 30m, 12h, 7d; else never.")
@_storing
def create(key: str, value: str, expires: timedelta | str | None, text: bool, max_bytes: int | None) -> None:
    """Store VALUE, which is JSON, under KEY, unless a live value exists: then exit 4.

    Atomic: of many who create one key at once, one succeeds.
    """
    stored = _value("create", key, value, text)
    ends = None if expires is None else _ends(expires)

    async def work(persist: Persist, out: Output) -> None:
        await persist.create(key, stored, expires=ends)
        out.answer({"key": key, "stored": True})

    with_store(work, subject=f"create {key!r}", creates=True, max_bytes=max_bytes)


@click.command("ttl")
@common
@click.argument("key")
def ttl(key: str) -> None:
    """Print how many seconds the value of KEY has left, or none if it never expires; exit 1 if it is absent."""

    async def work(persist: Persist, out: Output) -> None:
        entry = await persist.entry(key, msgspec.Raw)
        if entry is None:
            raise absent("ttl", key)
        out.answer({"key": key, "ttl": entry.ttl, "version": entry.version}, seconds(entry.ttl))

    with_store(work, subject=f"ttl {key!r}", auto_migrate=False)


def _ends(expires: timedelta | str) -> timedelta | None:
    return expires if isinstance(expires, timedelta) else None


def seconds(ttl: float | None) -> str:
    """A ttl as the commands print it."""
    return "none" if ttl is None else f"{ttl:.3f}"


def absent(operation: str, *names: str) -> Failed:
    """Some keys are not there: the exit code 1."""
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Failed(output.NO, f"{operation} {shown}: no live value", kind="Absent", keys=names)
