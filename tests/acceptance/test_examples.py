"""Every example, run as its first lines say, over a real SQLite file."""

import asyncio
import importlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from holdfast.persist import Persist

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/app.db"
    monkeypatch.setenv("HOLDFAST_STORE", url)
    monkeypatch.syspath_prepend(str(ROOT))
    return url


@pytest.fixture
def example(store: str, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The example, imported afresh so that it sees this test's store."""
    name = f"examples.{request.param}"
    yield importlib.import_module(name)
    sys.modules.pop(name)


@asynccontextmanager
async def serving(app: Any, *, lifespan: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, with the lifespan that a server would give it."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.ensure_future(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, events.get, answers.put)
    )

    async def say(what: str) -> None:
        events.put_nowait({"type": f"lifespan.{what}"})
        assert (await asyncio.wait_for(answers.get(), 10))["type"] == f"lifespan.{what}.complete"

    await say("startup")
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://testserver", timeout=10
        ) as client:
            yield client
    finally:
        await say("shutdown")
        await task


@pytest.mark.parametrize("example", ["fastapi_app"], indirect=True)
async def test_fastapi_remembers_users_and_counts_views(example: ModuleType) -> None:
    async with serving(example.app) as client:
        ada = {"name": "Ada", "likes": ["engines"]}
        assert (await client.post("/users/1", json=ada)).status_code == 201
        assert (await client.post("/users/1", json=ada)).status_code == 409
        assert (await client.get("/users/2")).status_code == 404
        await client.get("/pages/a-b-c")
    async with serving(example.app) as client:  # after a restart
        assert (await client.get("/users/1")).json() == ada
        assert (await client.get("/pages/a-b-c")).json() == {"views": 2, "words": 3}


@pytest.mark.parametrize("example", ["starlette_app"], indirect=True)
async def test_starlette_takes_an_order_once(example: ModuleType) -> None:
    async with serving(example.app) as client:
        order = {"headers": {"Idempotency-Key": "abc"}, "json": {"tea": 2}}
        answers = await asyncio.gather(*(client.post("/orders", **order) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
        assert await example.hold.persist.get("started", bool) is True


@pytest.mark.parametrize("example", ["litestar_app"], indirect=True)
async def test_litestar_limits_the_rate(example: ModuleType) -> None:
    async with serving(example.app) as client:
        codes = [(await client.get("/quote")).status_code for _ in range(7)]
        assert codes == [200] * 5 + [429] * 2


@pytest.mark.parametrize("example", ["django_app"], indirect=True)
async def test_django_is_held_open_by_asgi(example: ModuleType) -> None:
    async with serving(example.app) as client:
        assert (await client.get("/nightly")).json() == {"runs": 1, "fence": 1}
        assert (await client.get("/nightly")).json() == {"runs": 2, "fence": 2}


@pytest.mark.parametrize("example", ["sessions"], indirect=True)
async def test_sessions_live_and_end(example: ModuleType) -> None:
    async with serving(example.app) as client:
        assert (await client.get("/visit")).status_code == 401
        await client.post("/login/ada")
        first = client.cookies["session"]
        assert (await client.get("/visit")).json() == {"user": "ada", "visits": 1}
        await client.post("/confirm")
        assert client.cookies["session"] != first
        assert (await client.get("/visit")).json()["visits"] == 2
        assert (await client.get("/visit", headers={"Cookie": f"session={first}"})).status_code == 401
        second = client.cookies["session"]
        assert (await client.post("/logout")).json() == {"ended": True}
        assert (await client.get("/visit", headers={"Cookie": f"session={second}"})).status_code == 401


@pytest.mark.parametrize("example", ["sessions"], indirect=True)
async def test_a_slower_request_cannot_undo_a_logout(example: ModuleType, store: str) -> None:
    async with Persist(store) as persist:
        sessions = example.Sessions(persist.namespace("sessions"))
        id = await sessions.begin("ada")

        def slow(session: Any) -> None:
            """Between this request's read and its write, another process logs out."""
            with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as other, other:
                assert (
                    other.execute("DELETE FROM holdfast_persist WHERE key LIKE '%:p:' || ?", (id,)).rowcount
                    == 1
                )
            session.visits = 99

        with pytest.raises(example.SessionEnded):
            await sessions.change(id, slow)
        assert await persist.namespace("sessions").get(id) is None


@pytest.mark.parametrize("example", ["sessions"], indirect=True)
async def test_a_session_ends_when_idle_and_at_its_absolute_limit(example: ModuleType, store: str) -> None:
    async with Persist(store) as persist:
        space = persist.namespace("sessions")
        idle = example.Sessions(space, idle=60, absolute=3600)
        id = await idle.begin("ada")
        entry = await space.entry(id)
        assert entry is not None
        assert entry.ttl is not None
        assert 59 < entry.ttl <= 60
        # Nearly an hour old: however active, what is left is less than the idle limit.
        old = example.Session("ada", began=entry.value["began"] - 3590)
        await space.set("old", old, expires=60)
        await idle.change("old", lambda session: None)
        entry = await space.entry("old")
        assert entry is not None
        assert entry.ttl is not None
        assert entry.ttl <= 10
        await space.set("older", example.Session("ada", began=old.began - 20), expires=60)
        with pytest.raises(example.SessionEnded):
            await idle.change("older", lambda session: None)
