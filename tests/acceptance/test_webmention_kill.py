"""The outbox on SQLite with real processes: `kill -9` while it is worked off loses nothing, two workers share it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

from tests.unit.webmention.site_lab import Lab, Reply, Request, Site

from holdfast.webmention import OutgoingMention
from holdfast.webmention.registry import driver_for
from holdfast.webmention.stored import StoredOutbox

SITE = "https://alice.example"
POST = SITE + "/post"
SENDER = Path(__file__).with_name("webmention_sender.py")
IN_FLIGHT = 4  # to one host, at most


@contextmanager
def sender(store: str, allowed: str, deadline: int, *post: str) -> Iterator[Popen[bytes]]:
    words = [str(SENDER), store, SITE, allowed, str(deadline), *post]
    process = Popen([sys.executable, *words], stdout=PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


async def sent_by(*processes: Popen[bytes], count: int) -> list[set[str]]:
    """The targets that each says it has told, once they are so many in all."""
    found: list[set[str]] = [set() for _ in processes]
    enough = asyncio.Event()

    async def listen(process: Popen[bytes], said: set[str]) -> None:
        assert process.stdout is not None
        while line := (await asyncio.to_thread(process.stdout.readline)).decode().split():
            if line[0] == "sent":
                said.add(line[1])
                if len(set().union(*found)) == count:
                    enough.set()

    listening = [asyncio.create_task(listen(*each)) for each in zip(processes, found, strict=True)]
    try:
        await asyncio.wait_for(enough.wait(), 15)
    finally:
        for process in processes:
            process.kill()  # which ends the lines that are waited for
        await asyncio.gather(*listening)
    return found


def post_about(site: Site, count: int) -> str:
    return "".join(f'<a href="{site.url(f"/{number}")}">it</a>' for number in range(count))


async def test_who_was_killed_while_telling_has_lost_nothing_and_repeats_what_was_in_flight(
    tmp_path: Path,
) -> None:
    store, count = f"sqlite:///{tmp_path / 'mentions.db'}", 12
    async with Lab() as lab:
        bob = await lab.site()
        answers = asyncio.Event()

        async def take(request: Request) -> Reply:
            await answers.wait()
            return Reply(status=202)

        bob.answer("/take", take)
        for number in range(count):
            bob.page(f"/{number}", '<link rel="webmention" href="/take">')
        with sender(store, bob.where, 3, POST, post_about(bob, count)) as process:
            await bob.until(lambda: len(bob.mentions) >= 1)
            process.kill()
            process.wait(30)
        answers.set()
        with sender(store, bob.where, 3) as process:
            [told] = await sent_by(process, count=count)
        assert told == {bob.url(f"/{number}") for number in range(count)}
        times = Counter(target for _, source, target in bob.mentions if source == POST)
        assert set(times) == told
        assert max(times.values()) <= 2
        assert 1 <= sum(times.values()) - count <= IN_FLIGHT, "those in flight, and nothing else, come twice"


async def test_two_workers_on_one_file_tell_everybody_once(tmp_path: Path) -> None:
    """Each has sixteen in hand and asks for more, four of a host at a time; nobody is answered before both ask."""
    store, count = f"sqlite:///{tmp_path / 'mentions.db'}", 40
    async with Lab() as lab:
        sites = [await lab.site(), await lab.site(host="127.0.0.2")]
        both = asyncio.Event()

        async def look(request: Request) -> Reply:
            if all(site.open_now > IN_FLIGHT for site in sites):
                both.set()
            await both.wait()
            return Reply('<link rel="webmention" href="/take">')

        targets = [site.url(f"/{number}") for number in range(count) for site in sites]
        for site in sites:
            site.answer("/take", Reply(status=202))
            for number in range(count):
                site.answer(f"/{number}", look)
        await waiting(store, targets)
        allowed = ",".join(site.where for site in sites)
        with sender(store, allowed, 20) as one, sender(store, allowed, 20) as other:
            told = await sent_by(one, other, count=len(targets))
        assert told[0]
        assert told[1]
        assert not told[0] & told[1]
        arrived = Counter(target for site in sites for _, _, target in site.mentions)
        assert arrived == Counter(targets)


async def waiting(store: str, targets: list[str]) -> None:
    """An outbox in which all of them are due."""
    driver = driver_for(store)
    await driver.open()
    try:
        await driver.migrate()
        due = [
            OutgoingMention(source_url=POST, target_url=target, sha="0", next_attempt=0.0)
            for target in targets
        ]
        await StoredOutbox(driver, "holdfast").put(due)
    finally:
        await driver.close()
