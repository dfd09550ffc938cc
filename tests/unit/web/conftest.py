"""The server in this process: on memory and on SQLite, with a client that knows the token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
from starlette.applications import Starlette

from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.web.app import make_app

TOKEN = "the-token-of-the-tests"
BASE = "http://localhost:8000"

Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    persist: Persist | None = None,
    faults_raise: bool = True,
    base: str = BASE,
    allow: Sequence[str] = (),
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running application; `client.app` is that application."""
    app = make_app(settings, persist=persist, allow=allow)
    transport = httpx.ASGITransport(
        app=app, raise_app_exceptions=faults_raise, client=("127.0.0.1", 40000), root_path=settings.root_path
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=base) as client,
    ):
        client.app = app  # type: ignore[attr-defined]
        yield client


def app_of(client: httpx.AsyncClient) -> Starlette:
    app = client.app  # type: ignore[attr-defined]
    assert isinstance(app, Starlette)
    return app


def store_of(client: httpx.AsyncClient) -> Persist:
    store = app_of(client).state.persist
    assert isinstance(store, Persist)
    return store


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
async def anybody(store_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no token."""
    async with serving(Settings(store=store_url, token=TOKEN, max_bytes=2000)) as client:
        yield client


@pytest.fixture
async def client(anybody: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that sends the token."""
    anybody.headers["Authorization"] = f"Bearer {TOKEN}"
    return anybody


@pytest.fixture
def store(client: httpx.AsyncClient) -> Persist:
    """The store that the client's server serves."""
    return store_of(client)
