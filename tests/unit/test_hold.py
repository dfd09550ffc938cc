"""`Holdfast`: opened once, however many open it, and closed by the last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Holdfast
from holdfast.channels import Channel
from holdfast.errors import Closed, FetchFailed, StoreMisconfigured
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.webmention import Page, Webmention


class Counted(MemoryDriver):
    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1
        await super().open()

    async def close(self) -> None:
        self.closed += 1
        await super().close()


class Server:
    """The server's side of one ASGI lifespan."""

    def __init__(self, app: Any) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(
            app({"type": "lifespan", "state": {}}, self.events.get, self.answers.put)
        )

    async def say(self, what: str) -> dict[str, Any]:
        self.events.put_nowait({"type": f"lifespan.{what}"})
        return await asyncio.wait_for(self.answers.get(), 2)


async def no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("I know nothing of lifespan")
    await send({"type": "here"})


async def request(app: Any) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app({"type": "http", "path": "/"}, None, send)
    return said


async def test_first_in_opens_and_last_out_closes() -> None:
    driver = Counted()
    hold = Holdfast(driver)
    async with hold:
        async with hold.lifespan(object()):
            await hold.persist.set("k", 1)
        assert await hold.persist.get("k") == 1
    assert (driver.opened, driver.closed) == (1, 1)
    with pytest.raises(Closed):
        await hold.persist.get("k")


async def test_a_nested_lifespan_finds_the_store_open_and_hands_its_state_on() -> None:
    hold = Holdfast(Counted())

    @asynccontextmanager
    async def existing(app: Any) -> AsyncIterator[dict[str, str]]:
        await hold.persist.set("k", app)
        yield {"state": "mine"}
        assert await hold.persist.get("k") == "the app"

    async with hold.lifespan(existing)("the app") as state:
        assert state == {"state": "mine"}
    with pytest.raises(Closed):
        await hold.persist.get("k")


async def test_asgi_opens_at_startup_and_closes_at_shutdown_around_an_app_without_lifespan() -> None:
    driver = Counted()
    app = Holdfast(driver).asgi(no_lifespan)
    server = Server(app)
    assert (await server.say("startup"))["type"] == "lifespan.startup.complete"
    assert await request(app) == [{"type": "here"}]
    assert driver.opened == 1
    assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"
    await server.task
    assert driver.closed == 1


async def test_asgi_opens_before_the_apps_own_startup_and_closes_after_its_shutdown() -> None:
    driver, seen = Counted(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for what in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{what}"
            seen.append((what, driver.opened, driver.closed))
            await send({"type": f"lifespan.{what}.complete"})

    server = Server(Holdfast(driver).asgi(app))
    await server.say("startup")
    await server.say("shutdown")
    await server.task
    assert seen == [("startup", 1, 0), ("shutdown", 1, 0)]
    assert driver.closed == 1


async def test_a_failed_startup_of_store_or_app_is_told_to_the_server_and_leaves_nothing_open() -> None:
    class Broken(Counted):
        async def open(self) -> None:
            raise RuntimeError("no disk")

    told = await Server(Holdfast(Broken()).asgi(no_lifespan)).say("startup")
    assert told["type"] == "lifespan.startup.failed"
    assert "no disk" in told["message"]

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "my fault"})

    driver = Counted()
    server = Server(Holdfast(driver).asgi(failing))
    assert (await server.say("startup"))["message"] == "my fault"
    await server.task
    assert driver.closed == 1


async def test_where_no_lifespan_arrives_the_first_request_opens_once() -> None:
    driver = Counted()
    hold = Holdfast(driver)
    app = hold.asgi(no_lifespan)
    await asyncio.gather(*(request(app) for _ in range(5)))
    assert driver.opened == 1
    await hold.close()
    await hold.close()
    assert driver.closed == 1


async def test_closing_what_a_request_opened_leaves_it_to_whoever_else_has_it_open() -> None:
    driver = Counted()
    hold = Holdfast(driver)
    await request(hold.asgi(no_lifespan))
    async with hold:
        await asyncio.gather(hold.close(), hold.close())
        await hold.close()
        await hold.persist.set("k", 1)
    assert (driver.opened, driver.closed) == (1, 1)
    async with hold:
        await hold.persist.set("k", 1)


def test_one_event_loop_after_the_other_may_use_it() -> None:
    class Slow(Counted):
        async def open(self) -> None:
            await asyncio.sleep(0)
            await super().open()

    driver = Slow()
    hold = Holdfast(driver)
    app = hold.asgi(no_lifespan)

    async def serve() -> None:
        await asyncio.gather(*(request(app) for _ in range(3)))
        await hold.close()

    for _ in range(2):
        asyncio.run(serve())
    assert (driver.opened, driver.closed) == (2, 2)


def test_where_each_request_has_a_loop_of_its_own_and_nobody_closes_the_store_opens_again(
    tmp_path: Path,
) -> None:
    hold = Holdfast(f"sqlite:///{tmp_path}/app.db")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"count": await hold.persist.increment("n")})

    held = hold.asgi(app)
    assert [asyncio.run(request(held)) for _ in range(3)] == [[{"count": n}] for n in (1, 2, 3)]

    async def close() -> None:
        await request(held)
        await hold.close()

    asyncio.run(close())


def test_where_each_request_has_a_loop_of_its_own_the_rooms_open_again_too(tmp_path: Path) -> None:
    class Room(Channel):
        topic = "room:*"
        history = 10

    hold = Holdfast(f"sqlite:///{tmp_path}/app.db", channels=[Room])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hold.channels.publish("room:a", "said", {})
        await send({"count": len(await hold.channels.history("room:a"))})

    held = hold.asgi(app)
    assert [asyncio.run(request(held)) for _ in range(3)] == [[{"count": n}] for n in (1, 2, 3)]

    async def close() -> None:
        await request(held)
        await hold.close()

    asyncio.run(close())


async def test_an_app_that_fails_in_its_shutdown_is_told_to_the_server_and_the_store_still_closes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise KeyError("flush failed")

    driver = Counted()
    server = Server(Holdfast(driver).asgi(app))
    await server.say("startup")
    told = await server.say("shutdown")
    await server.task
    assert told["type"] == "lifespan.shutdown.failed"
    assert "flush failed" in told["message"]
    assert driver.closed == 1


async def test_a_server_that_gives_up_during_startup_leaves_no_task_behind() -> None:
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await asyncio.sleep(60)

    driver = Counted()
    server = Server(Holdfast(driver).asgi(app))
    server.events.put_nowait({"type": "lifespan.startup"})
    await asyncio.wait_for(started.wait(), 2)
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    await asyncio.sleep(0)
    assert driver.closed == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_health_and_migrate_speak_for_each_capability() -> None:
    async with Holdfast() as hold:
        assert (await hold.health())["persist"].ok
        assert await hold.migrate() == []


# --- mentions ---

SITE = "https://alice.example"


class Nowhere:
    """The web, where nobody answers."""

    async def get(self, url: str, **how: Any) -> Page:
        raise FetchFailed(f"get {url!r}: there is no web here", transient=True)

    async def post(self, url: str, fields: Any, **how: Any) -> Page:
        raise FetchFailed(f"post {url!r}: there is no web here", transient=True)


async def here(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers 200 with its path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"app at {scope['path']}".encode()})


def mentioned(store: str = "memory://") -> Holdfast:
    return Holdfast(store, webmention=Webmention(store, site=SITE, web=Nowhere(), background=False))


@asynccontextmanager
async def visited(hold: Holdfast, root: str = "") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=hold.asgi(here), root_path=root)
    async with hold, httpx.AsyncClient(transport=transport, base_url=SITE + root) as client:
        yield client


async def test_mentions_need_a_site_and_a_store_of_their_own_where_persist_has_a_driver_by_hand() -> None:
    with pytest.raises(StoreMisconfigured, match="no mentions"):
        _ = Holdfast().webmention
    with pytest.raises(StoreMisconfigured, match="webmention=Webmention"):
        Holdfast(Counted(), site=SITE)
    assert Holdfast(site=SITE).webmention.site == SITE


async def test_mentions_open_and_close_with_the_rest_and_have_tables_and_health() -> None:
    hold = Holdfast("memory://", site=SITE)
    with pytest.raises(Closed):
        await hold.webmention.states()
    async with hold:
        assert (await hold.webmention.states())["pending"] == 0
        assert (await hold.health())["webmention"].ok
    assert not hold.webmention.is_open


async def test_migrate_makes_the_tables_of_mentions_too(tmp_path: Path) -> None:
    hold = Holdfast(f"sqlite:///{tmp_path}/app.db", site=SITE)
    assert "webmention" in {each.capability for each in await hold.migrate()}


@pytest.mark.parametrize("path", ["/webmention", "/webmention/"])
async def test_asgi_takes_mentions_in_beside_the_app_with_a_slash_and_without(path: str) -> None:
    async with visited(mentioned()) as client:
        sent = {"source": "https://bob.example/reply", "target": f"{SITE}/post"}
        answer = await client.post(path, data=sent)
        assert answer.status_code == 201
        status = await client.get(answer.headers["location"])
        assert status.json()["state"] == "queued"


async def test_asgi_shows_mentions_and_photos_and_leaves_every_other_path_to_the_app() -> None:
    async with visited(mentioned()) as client:
        assert (await client.get("/api/count")).json()["count"] == 0
        for ending in ("", ".json", ".jf2", ".html", ".atom"):
            assert (await client.get(f"/api/mentions{ending}")).headers["access-control-allow-origin"] == "*"
        assert (await client.get(f"/api/photo/{'a' * 40}")).headers["content-type"] == "image/svg+xml"
        for path in ("/", "/webmentions", "/api/users", "/api/mentions.exe", "/socket/websocket"):
            assert (await client.get(path)).text == f"app at {path}"


async def test_asgi_names_the_endpoint_in_the_answers_of_the_app_below_its_root_path() -> None:
    async with visited(mentioned()) as client:
        assert (await client.get("/post")).headers["link"] == '</webmention>; rel="webmention"'
    async with visited(mentioned(), "/my blog") as client:
        answer = await client.get("/post")
        assert answer.headers["link"] == '</my%20blog/webmention>; rel="webmention"'
        sent = {"source": "https://bob.example/reply", "target": f"{SITE}/post"}
        assert (await client.post("/webmention", data=sent)).status_code == 201


async def test_without_mentions_the_app_has_these_paths_and_no_link_is_added() -> None:
    async with visited(Holdfast()) as client:
        answer = await client.get("/webmention")
        assert answer.text == "app at /webmention"
        assert "link" not in answer.headers
