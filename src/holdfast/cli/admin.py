"""`migrate`, `doctor`, `token`: what is done to a store now and then."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from holdfast.cli import output
from holdfast.cli.options import common
from holdfast.cli.output import Failed, Output
from holdfast.cli.run import (
    channels_beside,
    chosen,
    configured,
    is_missing,
    webmention_beside,
    with_store,
)
from holdfast.store import Finding, Migration, masked

if TYPE_CHECKING:
    from holdfast.persist import Persist
    from holdfast.webmention import Webmention

__all__ = ["doctor", "migrate", "token"]


@click.command("migrate")
@common
@click.option(
    "--dry-run", is_flag=True, help="Say what is pending and change nothing; exit 1 if something is."
)
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL of what is pending and change nothing.")
@click.option("--all", "whole", is_flag=True, help="With --sql: of all migrations, without connecting.")
def migrate(dry_run: bool, as_sql: bool, whole: bool) -> None:
    """Make the store's tables, or bring them up to date.

    Two at once are safe: one applies, the other waits. Redis has no tables.
    The printed SQL also enters each migration in Holdfast's ledger.
    """
    if whole and not as_sql:
        raise click.UsageError("--all goes with --sql", click.get_current_context())
    if as_sql:
        _print_sql(whole)
    elif dry_run:
        _print_pending()
    else:

        async def work(persist: Persist, out: Output) -> None:
            applied = [*await persist.migrate()]
            for beside in (channels_beside(), webmention_beside()):
                if beside is not None:
                    applied += await beside.migrate()
            words = "\n".join(f"applied {_line(each)}" for each in applied) or "nothing to do"
            out.answer({"applied": [_facts(each) for each in applied]}, words)

        with_store(work, subject="migrate", creates=True, opens=False)


def _line(migration: Migration) -> str:
    return f"{migration.capability} {migration.version}: {migration.summary}"


def _facts(migration: Migration) -> dict[str, object]:
    return {"capability": migration.capability, "version": migration.version, "summary": migration.summary}


async def _ask_pending(persist: Persist, _: Output) -> Sequence[Migration]:
    lacking = [*await persist.pending()]
    for beside in (channels_beside(), webmention_beside()):
        if beside is not None:
            lacking += [each for each in await beside.pending() if each not in lacking]
    return lacking


def _pending(store: str) -> Sequence[Migration]:
    """What the store lacks; all, where it is a SQLite file that is not there yet and must not be made now."""
    if is_missing(store):
        from holdfast.cli import sql

        return sql.known(sql.dialect_of(store)) or ()
    return with_store(_ask_pending, subject="migrate", opens=False)


def _print_pending() -> None:
    pending = _pending(configured().store)
    words = "\n".join(f"pending {_line(each)}" for each in pending) or "nothing to do"
    out = chosen()
    out.answer({"pending": [_facts(each) for each in pending]}, words)
    if pending:
        raise Failed(
            output.NO, f"migrate: {len(pending)} pending; `holdfast migrate` applies", kind="Pending"
        )


def _print_sql(whole: bool) -> None:
    from holdfast.cli import sql

    store, out = configured().store, chosen()
    dialect = sql.dialect_of(store)
    known = sql.known(dialect)
    if whole and known is None:
        words = f"migrate: no SQL is kept for {dialect!r}; there are: {', '.join(sql.DIALECTS)}"
        raise Failed(output.USAGE, words, kind="Usage")
    migrations = known if whole and known is not None else _pending(store)
    text = sql.script(dialect, migrations, time.time_ns() // 1_000_000)
    if out.json:
        out.object({"dialect": dialect, "migrations": [_facts(each) for each in migrations], "sql": text})
    elif text:
        out.data(text)
    else:
        out.note("migrate: nothing is pending")


@click.command("doctor")
@common
def doctor() -> None:
    """Say in words what the store promises as it is configured: durability, eviction, clock, migrations.

    Exit 1 if there is a warning, 3 if the store does not answer.
    """
    settings, out = configured(), chosen()

    async def work(persist: Persist, _: Output) -> list[Finding]:
        found = list(await persist.describe())
        channels = channels_beside()
        if channels is not None:
            found += _beside("channels", await channels.describe(), found)
        mentions = webmention_beside()
        if mentions is not None and (said := await _of_mentions(mentions)):
            found += _beside("webmention", [*await mentions.describe(), *said], found)
        if all(each.subject != "migrations" for each in found):
            found += _about_migrations(await _ask_pending(persist, out))
        return found

    findings = with_store(work, subject="doctor", opens=False, memory=True)
    warnings = sum(each.level == "warning" for each in findings)
    store = masked(settings.store)
    if out.json:
        facts = [{"level": each.level, "subject": each.subject, "text": each.text} for each in findings]
        out.object({"store": store, "namespace": settings.namespace, "ok": not warnings, "findings": facts})
    else:
        out.line(f"{store}, namespace {settings.namespace}")
        for each in findings:
            out.line(_sentence(out, each))
    if warnings:
        raise Failed(output.NO, f"doctor: {warnings} warning{'s' * (warnings > 1)}", kind="Warnings")


def _beside(capability: str, said: Sequence[Finding], before: Sequence[Finding]) -> list[Finding]:
    """What is true of a capability and was not said of values already; figures of one moment aside."""
    known = {(each.subject, _FIGURES.sub("", each.text)) for each in before}
    return [
        Finding(each.level, f"{capability}: {each.subject}", each.text)
        for each in said
        if (each.subject, _FIGURES.sub("", each.text)) not in known
    ]


async def _of_mentions(mentions: Webmention) -> list[Finding]:
    """How many there are and whose; nothing where nobody uses them."""
    if await mentions.pending():
        return []
    async with mentions:
        out, came = await mentions.outgoing_counts(), await mentions.states()
    if mentions.site is None and not any((*out.values(), *came.values())):
        return []
    site = Finding("ok", "site", f"Mentions of {mentions.site} are taken in.")
    if mentions.site is None:
        site = Finding("note", "site", "HOLDFAST_SITE is not set: none are taken in.")
    failed = f", {out['failed']:,} given up: `holdfast webmention retry` tries again" if out["failed"] else ""
    waiting = f"{out['sent']:,} sent, {out['pending']:,} to be sent{failed}."
    wanted = f"{came['accepted']:,} accepted, {came['pending']:,} for a moderator, {came['queued']:,} to be verified."
    level: Literal["ok", "note"] = "note" if out["failed"] else "ok"
    return [site, Finding(level, "outbox", waiting), Finding("ok", "inbox", wanted)]


_USES = {"persist": "Values", "channels": "Rooms", "webmention": "Mentions"}


def _about_migrations(pending: Sequence[Migration]) -> list[Finding]:
    """A warning for what is used and old; tables that nobody has asked for yet are no fault."""
    if not pending:
        return [Finding("ok", "migrations", "Nothing is pending.")]
    names = ", ".join(f"{each.capability} {each.version}" for each in pending)
    lacking = {each.capability for each in pending}
    used = [use.lower() for name, use in _USES.items() if name not in lacking]
    if all(each.version == 1 for each in pending) and used:
        others = " and ".join(use for name, use in _USES.items() if name in lacking).capitalize()
        text = f"Nothing is pending for {' and '.join(used)}. {others} need {names}: "
        text += "`holdfast migrate` applies them."
        return [Finding("note", "migrations", text)]
    return [Finding("warning", "migrations", f"Pending: {names}. `holdfast migrate` applies them.")]


_FIGURES = re.compile(r"[0-9][0-9.,]*")
_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow"}


def _sentence(out: Output, finding: Finding) -> str:
    level = f"{finding.level:<8}"
    if out.colour:
        level = click.style(level, fg=_COLOURS[finding.level])
    return f"{level} {finding.subject}: {finding.text}"


@click.command("token")
@common
@click.option("--rotate", is_flag=True, help="Make a new one; the old one and all dashboard sessions end.")
def token(rotate: bool) -> None:
    """Make the server's admin token and print it, once: the store keeps only its hash.

    Exit 1 if there is one already and --rotate is not given.
    """

    async def work(persist: Persist, out: Output) -> None:
        from holdfast.web import token as tokens

        made = await (tokens.rotate(persist) if rotate else tokens.ensure(persist))
        if made is None:
            words = "token: there is one already, and only its hash is kept; --rotate makes a new one"
            raise Failed(output.NO, words, kind="Exists")
        out.answer({"token": made}, made)

    with_store(work, subject="token", creates=True)
