"""`Webmention`: what it is made of, its life, and that everything arrives where it belongs."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.webmention.sending_lab import SOURCE, FakeWeb, answer, hook, page, post, reached, to
from tests.unit.webmention.test_small import Mine

import holdfast.webmention
from holdfast.errors import Closed, MissingExtra, NotMigrated, StorageTooSmall, StoreError, StoreUnavailable
from holdfast.webmention import NetworkPolicy, Webmention, find_links
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.pages import Page
from holdfast.webmention.stored import StoredOutbox

SITE = "https://alice.example"
THEIRS = "https://bob.example/reply"
LIKE = f"""<div class="h-entry"><a class="u-like-of" href="{SOURCE}">liked</a>
<a class="p-author h-card" href="/">Bob</a></div>"""


def web() -> FakeWeb:
    made = FakeWeb()
    made.pages[THEIRS] = Page(
        url=THEIRS, status=200, headers=(("content-type", "text/html"),), body=LIKE.encode()
    )
    return made


async def asleep() -> None:
    """Until the background has found nothing to do."""
    for _ in range(50):
        await asyncio.sleep(0)


async def settled(mentions: Webmention, id: str) -> None:
    """Until it was verified."""

    async def there() -> bool:
        found = await mentions.get(id)
        return found is not None and found.state != "queued"

    for _ in range(10_000):
        if await there():
            return
        await asyncio.sleep(0)
    raise AssertionError("it was never verified")


async def test_both_directions_over_one_store() -> None:
    async with Webmention(site=SITE, web=web()) as mentions:
        report = await mentions.send(SOURCE, post("bob"))
        assert [m.status for m in report.mentions] == ["sent"]
        assert [m.target_url async for m in mentions.outgoing()] == [to("bob")]
        assert (await mentions.outgoing_counts())["sent"] == 1
        assert len(await mentions.outgoing_page(limit=5)) == 1

        await asleep()
        received = await mentions.receive(THEIRS, SOURCE)
        await settled(mentions, received.id)
        assert [m.id async for m in mentions.received(SOURCE, state="pending")] == [received.id]
        await mentions.accept(received.id)
        assert [m.id async for m in mentions.received(target=SOURCE)] == [received.id]
        assert (await mentions.counts(SOURCE))["like"] == 1
        assert (await mentions.states())["accepted"] == 1
        assert "Bob" in await mentions.html(SOURCE)
        await mentions.decline(received.id)
        assert [m async for m in mentions.received(SOURCE)] == []


async def test_rules_are_made_listed_and_forgotten() -> None:
    async with Webmention(site=SITE, web=web()) as mentions:
        await mentions.block("spam.example")
        await mentions.allow("friend.example")
        assert {(rule.kind, rule.pattern) for rule in await mentions.rules()} == {
            ("block", "spam.example"),
            ("accept", "friend.example"),
        }
        assert await mentions.unblock("spam.example")
        assert len(await mentions.rules()) == 1


async def test_retries_go_on_in_the_background_and_a_removal_is_told() -> None:
    fake = web()
    fake.hooks[hook("bob")] = [answer("bob", 503), answer("bob", 202)]
    start = [1_000_000.0]
    driver = MemoryDriver(now_ms=lambda: round(start[0] * 1000))
    async with Webmention(driver, web=fake, now=lambda: start[0]) as mentions:
        await mentions.send(SOURCE, post("bob"))
        start[0] += 60
        mentions._parts._wake_outbox.set()
        await reached(lambda: len(fake.told) == 2)
        await reached(lambda: fake.busy[""] == 0)
        await mentions.delete(SOURCE)
        assert len(fake.told) == 3
        report = await mentions.retry(SOURCE, to("bob"))
        assert [m.status for m in report.mentions] == ["sent"]


async def test_without_a_background_work_does_what_is_due_in_both_directions() -> None:
    fake = web()
    async with Webmention(site=SITE, web=fake, background=False) as mentions:
        received = await mentions.receive(THEIRS, SOURCE)
        for _ in range(50):
            await asyncio.sleep(0)
        assert fake.asked == []
        assert await mentions.work() == 1
        found = await mentions.get(received.id)
        assert found is not None
        assert found.state == "pending"
        assert await mentions.work() == 0


async def test_what_was_stored_goes_on_after_a_restart(tmp_path: Path) -> None:
    url, fake = f"sqlite:///{tmp_path}/app.db", web()
    gate = asyncio.Event()

    async def hanging() -> Page:
        await gate.wait()
        raise AssertionError

    fake.pages[to("bob")] = [hanging, page(to("bob"), hook=hook("bob"))]
    async with Webmention(url, site=SITE, web=fake) as mentions:
        sending = asyncio.create_task(mentions.send(SOURCE, post("bob")))
        while not fake.asked:  # noqa: ASYNC110 - a file is written first, by a thread
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
    async with Webmention(url, site=SITE, web=fake) as mentions:
        while not fake.told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert fake.targets == ["bob"]


# --- its life ---


async def test_nothing_works_outside_of_it() -> None:
    mentions = Webmention(site=SITE, web=web())
    for ask in (
        mentions.send(SOURCE, ""),
        mentions.delete(SOURCE),
        mentions.work(),
        mentions.receive(THEIRS, SOURCE),
        mentions.rules(),
    ):
        with pytest.raises(Closed):
            await ask


async def test_it_is_opened_once_and_closed_as_often_as_one_likes() -> None:
    mentions = Webmention(web=web())
    await mentions.open()
    assert mentions.is_open
    with pytest.raises(StoreError, match="already open"):
        await mentions.open()
    await mentions.close()
    await mentions.close()
    with pytest.raises(Closed):
        await mentions.work()
    async with mentions:
        await mentions.send(SOURCE, post("bob"))


async def test_nothing_runs_on_after_it_was_closed() -> None:
    before = asyncio.all_tasks()
    async with Webmention(site=SITE, web=web()) as mentions:
        assert len(asyncio.all_tasks() - before) == 2
        await mentions.send(SOURCE, post("bob"))
    assert asyncio.all_tasks() == before


def test_it_opens_again_on_another_loop_though_nobody_closed_it() -> None:
    mentions = Webmention(site=SITE, web=web())

    async def first() -> None:
        await mentions.open()
        await mentions.send(SOURCE, post("bob"))

    async def second() -> list[str]:
        async with mentions:
            return [m.status async for m in mentions.outgoing()]

    asyncio.run(first())
    assert asyncio.run(second()) == ["sent"]


async def test_a_web_that_was_passed_in_is_not_closed() -> None:
    class Closing(FakeWeb):
        closed = False

        async def close(self) -> None:
            self.closed = True

    passed = Closing()
    async with Webmention(web=passed):
        pass
    assert not passed.closed


async def test_a_web_of_its_own_is_opened_and_closed() -> None:
    mentions = Webmention(policy=NetworkPolicy(allow=["127.0.0.1:9"]))
    async with mentions:
        report = await mentions.send(SOURCE, '<a href="http://127.0.0.1:8/">x</a>')
        assert [m.status for m in report.mentions] == ["failed"]
        assert "loopback" in (report.mentions[0].error or "")
        fetcher: Any = mentions._parts._web
        assert fetcher._session is not None
    assert fetcher._session is None


async def test_tables_that_are_missing_are_told_with_the_way_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    mentions = Webmention(url, web=web(), auto_migrate=False)
    with pytest.raises(NotMigrated, match="holdfast migrate"):
        await mentions.open()
    assert not mentions.is_open
    assert [m.capability for m in await mentions.pending()] == ["webmention"]
    await mentions.migrate()
    async with mentions:
        assert not await mentions.pending()
        assert (await mentions.health()).ok
        assert await mentions.describe()


async def test_two_namespaces_are_two_applications() -> None:
    driver = MemoryDriver()
    async with Webmention(driver, namespace="a", web=web(), background=False) as one:
        await one.send(SOURCE, post("bob"))
        other = StoredOutbox(driver, "b")
        assert await other.of(SOURCE) == []
        assert len(await StoredOutbox(driver, "a").of(SOURCE)) == 1


def test_a_store_is_named_without_its_password() -> None:
    mentions = Webmention("redis://user:hunter2@localhost/0", web=web())
    assert "hunter2" not in mentions.store
    assert mentions.traits is not None
    assert mentions.traits.name == "redis"


# --- storages of one's own ---


async def test_a_storage_of_four_methods_sends_and_nothing_else() -> None:
    mine = Mine()
    async with Webmention(storage=mine, site=SITE, web=web()) as mentions:
        await mentions.send(SOURCE, post("bob"))
        assert mine.statuses == {"bob": "sent"}
        assert mentions.store == "Mine"
        assert mentions.traits is None
        assert (await mentions.health()).ok
        assert (
            list(await mentions.migrate()),
            list(await mentions.pending()),
            list(await mentions.describe()),
        ) == ([], [], [])
        for ask in (
            mentions.delete(SOURCE),
            mentions.retry(SOURCE),
            mentions.work(),
            anext(mentions.outgoing()),
            mentions.outgoing_counts(),
            mentions.receive(THEIRS, SOURCE),
            mentions.get("x"),
            mentions.accept("x"),
            mentions.block("spam.example"),
            mentions.counts(),
            mentions.html(SOURCE),
            mentions({"type": "http", "method": "GET"}, None, None),  # type: ignore[arg-type]
            mentions.reading({"type": "http"}, None, None),  # type: ignore[arg-type]
        ):
            with pytest.raises(StorageTooSmall, match="Outbox"):
                await ask
        with pytest.raises(StorageTooSmall, match="Outbox"):
            mentions.received(SOURCE)


async def test_a_storage_with_a_store_beside_it_sends_there_and_receives_here() -> None:
    mine = Mine()
    async with Webmention("memory://", storage=mine, site=SITE, web=web(), background=False) as mentions:
        await mentions.send(SOURCE, post("bob"))
        assert mine.statuses == {"bob": "sent"}
        await mentions.receive(THEIRS, SOURCE)
        assert await mentions.work() == 1


async def test_an_outbox_of_ones_own_has_all_of_sending() -> None:
    driver = MemoryDriver()
    await driver.open()
    async with Webmention(outbox=StoredOutbox(driver, "mine"), web=web()) as mentions:
        await mentions.send(SOURCE, post("bob"))
        assert [m.present for m in (await mentions.delete(SOURCE)).mentions] == [False]
        with pytest.raises(StorageTooSmall):
            await mentions.receive(THEIRS, SOURCE)


async def test_an_outbox_that_is_away_keeps_nobody_from_being_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = MemoryDriver()
    await driver.open()
    outbox = StoredOutbox(driver, "mine")
    async with Webmention("memory://", outbox=outbox, site=SITE, web=web(), background=False) as mentions:
        received = await mentions.receive(THEIRS, SOURCE)

        async def away(**_: object) -> None:
            raise StoreUnavailable("mine: away")

        monkeypatch.setattr(outbox, "claim", away)
        with pytest.raises(StoreUnavailable, match="mine: away"):
            await mentions.work()
        found = await mentions.get(received.id)
        assert found is not None
        assert found.state == "pending"


def test_two_storages_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="not both"):
        Webmention(storage=Mine(), outbox=StoredOutbox(MemoryDriver(), "x"))
    with pytest.raises(ValueError, match="policy"):
        Webmention(web=web(), policy=NetworkPolicy())


# --- ASGI ---


async def call(app: Any, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    sent: list[dict[str, Any]] = []
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "scheme": "https",
        "server": ("alice.example", 443),
        "client": ("192.0.2.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_it_is_the_endpoint_and_what_comes_in_is_verified_at_once() -> None:
    async with Webmention(site=SITE, web=web()) as mentions:
        await asleep()
        body = f"source={THEIRS}&target={SOURCE}".encode()
        status, headers = await call(mentions, "POST", "/", body)
        assert status in (201, 202)
        (id,) = [m.id async for m in mentions.received(state=None)]
        await settled(mentions, id)
        status, headers = await call(mentions.reading, "GET", "/api/mentions.json")
        assert (status, headers["access-control-allow-origin"]) == (200, "*")


async def test_an_app_names_the_endpoint_in_its_answers() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    mentions = Webmention(site=SITE, web=web())
    _, headers = await call(mentions.advertise(app, "/hook"), "GET", "/")
    assert headers["link"] == '</hook>; rel="webmention"'


# --- names ---


def test_every_public_name_is_there() -> None:
    for name in holdfast.webmention.__all__:
        assert getattr(holdfast.webmention, name) is not None
    with pytest.raises(AttributeError):
        _ = holdfast.webmention.no_such_name
    assert find_links("<a href='https://b.example/'>", base=SOURCE) == ["https://b.example/"]


HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('aiohttp', 'selectolax', 'nh3'):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import holdfast.webmention as w
from holdfast.errors import MissingExtra
assert not any(name in sys.modules for name in ('aiohttp', 'selectolax', 'nh3'))
for use in (lambda: w.discover, lambda: w.Webmention(site='https://alice.example')):
    try:
        use()
    except MissingExtra as exc:
        print(exc)
"""


def test_without_the_extra_the_package_imports_and_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", HIDE], capture_output=True, text=True, check=True)
    assert done.stdout.count('pip install "holdfast[webmention]"') == 2, done.stdout + done.stderr
    assert issubclass(MissingExtra, ImportError)
