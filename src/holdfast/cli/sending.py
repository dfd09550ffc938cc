"""`webmention send`, `retry`, `discover`, `work`: what goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import structs

from holdfast.cli import output
from holdfast.cli.keys import shown
from holdfast.cli.options import common, reaching
from holdfast.cli.output import Failed, Output
from holdfast.cli.progress import Bar
from holdfast.cli.run import configured, with_webmention, without_store
from holdfast.errors import WebmentionError

if TYPE_CHECKING:
    from holdfast.cli.posts import Found
    from holdfast.webmention import OutgoingMention, Report, Web, Webmention

__all__ = ["discover", "retry", "send", "work"]

AT_ONCE: Final = 4  # posts that are fetched and sent
_WORDS: Final = {
    "sent": "sent",
    "not_found": "without an endpoint",
    "failed": "failed",
    "pending": "to be tried again",
}


class Tally:
    """What became of all that was looked at, and the lines that say so."""

    def __init__(self, out: Output, *, dry: bool = False) -> None:
        self._out, self._dry = out, dry
        self.statuses: Counter[str] = Counter()
        self.unchanged = 0
        self.unread = 0

    def take(self, report: Report) -> None:
        """Print what one source told."""
        told = [each for each in report.mentions if each.target_url not in report.skipped]
        self.statuses.update(each.status for each in told)
        self.unchanged += report.unchanged
        if self._out.json:
            facts = {"source": report.source_url, "unchanged": report.unchanged}
            mentions = [structs.asdict(each) for each in told]
            self._out.object(facts | {"mentions": mentions, "skipped": report.skipped})
            return
        text = "".join("\t".join(_fields(each, self._dry)) + "\n" for each in told)
        if text:
            self._out.data(text)

    def unreadable(self, url: str, exc: Exception) -> None:
        """A listed post that could not be read; the others go on."""
        self.unread += 1
        why = output.one_line(str(exc))
        self._out.note(f"send {url!r}: {why}", source=url, error=why)

    def end(self, what: str) -> None:
        """Sum up; `Failed` where not all of it could be done."""
        parts = [f"{self.statuses[each]:,} {words}" for each, words in _WORDS.items() if self.statuses[each]]
        if self._dry:
            parts = [f"{self.statuses.total():,} would be told; nothing was stored, and nobody told"]
        if self.unchanged:
            parts.append(f"{self.unchanged:,} unchanged")
        if self.unread:
            parts.append(f"{self.unread:,} not read")
        words = ", ".join(parts) or "nobody to tell"
        if self.statuses["pending"] and not self._dry:
            words += "; `holdfast webmention work`, or a server, goes on"
        facts: dict[str, Any] = {each: self.statuses[each] for each in _WORDS}
        facts |= {"posts_unchanged": self.unchanged, "posts_not_read": self.unread}
        if self.statuses["failed"] or self.unread:
            raise Failed(output.PARTLY, f"{what}: {words}", kind="PartlyDone", **facts)
        self._out.note(f"{what}: {words}", **facts)


def _fields(mention: OutgoingMention, dry: bool) -> Iterator[str]:
    yield "would tell" if dry else mention.status
    yield shown(mention.source_url, False)
    yield shown(mention.target_url, False)
    if not mention.present:
        yield "the link is gone"
    elif mention.status == "sent":
        yield shown(mention.endpoint or "", False)
    elif not dry:
        yield shown(output.one_line(mention.error or ""), False)


@click.command("send", short_help="Tell the sites that a post links to.")
@common
@reaching
@click.argument("source")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The post: HTML, or Markdown (.md) or text (.txt); else SOURCE is fetched.",
)
@click.option("--deleted", is_flag=True, help="The post is gone: tell all that were told of it.")
@click.option("--dry-run", is_flag=True, help="Say who would be told; nothing is stored, nobody is told.")
def send(
    source: str, file: str | None, deleted: bool, dry_run: bool, site: str | None, allow: tuple[str, ...]
) -> None:
    """Tell the sites that SOURCE links to: a post, or a feed or sitemap of posts, of which those that changed are sent.

    A post is the h-entry of its page, so that a new footer is no new post. Feeds
    are Atom, RSS, JSON Feed and h-feed. A SOURCE that answers 410 is told as
    gone. Each target is a line: status, source, target, and endpoint or reason,
    between tabs. Exit 5 if one was refused for good, or a post could not be read.
    """
    if deleted and (file is not None or dry_run):
        raise click.UsageError("--deleted goes without --file and --dry-run", click.get_current_context())
    settings = configured(site=site)
    dry = dry_run or settings.dry_outbox

    async def work(mentions: Webmention, out: Output) -> Tally:
        from holdfast.cli import posts
        from holdfast.webmention import NetworkPolicy

        tally = Tally(out, dry=dry)
        if deleted:
            tally.take(await mentions.delete(source))
        elif file is not None:
            await _send(mentions, posts.of_file(file, source), tally, dry)
        else:
            async with posts.fetcher(NetworkPolicy(allow=allow)) as web:
                found = await posts.look(web, source)
                await _send_all(mentions, web, found, tally, dry, out)
        return tally

    with_webmention(
        work, subject=f"send {source!r}", creates=True, site=site, allow=allow, rehearses=dry
    ).end("send")


async def _send(mentions: Webmention, found: Found, tally: Tally, dry: bool) -> None:
    if found.gone and not dry:
        tally.take(await mentions.delete(found.url))
        return
    ask = mentions.preview if dry else mentions.send
    tally.take(await ask(found.url, found.content, kind=found.kind))


async def _send_all(
    mentions: Webmention, web: Web, found: Found, tally: Tally, dry: bool, out: Output
) -> None:
    """One post, or all that are listed, some at once; one that cannot be read stops none of the others."""
    from asyncio import TaskGroup

    from holdfast.cli import posts

    if found.listing is None:
        if found.how not in ("h-entry", "text", ""):
            taken = f"it has no h-entry, so its {found.how} is taken for the post"
            out.note(f"send: {taken}", source=found.url, note=taken)
        await _send(mentions, found, tally, dry)
        return
    urls = [url async for part in posts.listed(web, found, mentions.site) for url in part]
    waiting, done = iter(dict.fromkeys(urls)), 0

    async def some() -> None:
        nonlocal done
        for url in waiting:
            try:
                post = await posts.look(web, url)
                if post.listing is None:  # a sitemap has the pages of feeds, too
                    await _send(mentions, post, tally, dry)
            except (WebmentionError, ValueError) as exc:
                tally.unreadable(url, exc)
            done += 1
            bar.at(done, done)

    with Bar(out, "send", total=len(urls), unit="posts") as bar:
        try:
            async with TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some())
        except ExceptionGroup as several:  # the store is down for all of them: once is enough
            raise several.exceptions[0] from None


@click.command("retry", short_help="Try again what was not sent.")
@common
@reaching
@click.argument("source", required=False)
@click.argument("target", required=False)
def retry(source: str | None, target: str | None, site: str | None, allow: tuple[str, ...]) -> None:
    """Try again at once what is not sent, also what was given up: all, or of SOURCE, or this one TARGET of it.

    A TARGET that is named is told again whatever its status. Exit 5 if one was refused for good.
    """
    _not_in_rehearsal("retry")

    async def work(mentions: Webmention, out: Output) -> Tally:
        tally = Tally(out)
        sources = [source] if source is not None else await _unsent(mentions)
        with Bar(out, "retry", total=len(sources), unit="posts") as bar:
            for done, each in enumerate(sources, 1):
                tally.take(await mentions.retry(each, target))
                bar.at(done, done)
        return tally

    subject = f"retry {source!r}" if source else "retry"
    with_webmention(work, subject=subject, auto_migrate=False, site=site, allow=allow).end("retry")


async def _unsent(mentions: Webmention) -> list[str]:
    sources: dict[str, None] = {}
    for status in ("pending", "not_found", "failed"):
        async for each in mentions.outgoing(status=status):
            sources[each.source_url] = None
    return list(sources)


@click.command("work", short_help="Do what is due, once.")
@common
@reaching
def work(site: str | None, allow: tuple[str, ...]) -> None:
    """Do what is due in both directions, once: retries, status pages, mentions to be verified. For cron.

    A server that runs does so by itself; both at a time are safe.
    """
    _not_in_rehearsal("work")

    async def whole(mentions: Webmention, out: Output) -> None:
        done = 0
        with Bar(out, "work", total=None, unit="done") as bar:
            while some := await mentions.work(AT_ONCE * 16):
                done += some
                bar.at(done)
        out.answer({"done": done}, f"{done:,} done")

    with_webmention(whole, subject="work", auto_migrate=False, site=site, allow=allow)


def _not_in_rehearsal(what: str) -> None:
    if configured().dry_outbox:
        words = f"{what}: HOLDFAST_DRY_OUTBOX is set: mentions are rehearsed, and nobody is told"
        raise Failed(output.USAGE, words, kind="Usage")


@click.command("discover", short_help="Say where a page takes mentions, and how that was found out.")
@common
@click.argument("url")
@click.option(
    "--allow",
    multiple=True,
    metavar="HOST:PORT",
    help="Let this be reached though it is no public address; may be repeated.",
)
def discover(url: str, allow: tuple[str, ...]) -> None:
    """Say step by step where the page at URL takes webmentions, or why it does not. Needs no store.

    Exit 1 if it takes none.
    """

    async def work(out: Output) -> bool:
        from holdfast.webmention import NetworkPolicy
        from holdfast.webmention import discover as ask

        found = await ask(url, policy=NetworkPolicy(allow=allow))
        facts = {"target": url, "url": found.url, "endpoint": found.endpoint, "where": found.where}
        out.answer(facts | {"steps": found.steps}, _told(found.steps, found.endpoint))
        return found.endpoint is not None

    if not without_store(work, subject=f"discover {url!r}"):
        raise Failed(output.NO, f"discover {url!r}: it takes no webmentions", kind="Absent")


def _told(steps: Iterable[str], endpoint: str | None) -> str:
    lines = [f"{number}. {output.one_line(step)}" for number, step in enumerate(steps, 1)]
    return "\n".join([*lines, *([f"endpoint: {endpoint}"] if endpoint else [])])
