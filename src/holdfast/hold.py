"""`Holdfast`: every capability behind one URL, for the life of one application."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

from holdfast.asgi import serve_lifespan
from holdfast.channels import Channel, Channels, Connect, User
from holdfast.errors import StoreMisconfigured
from holdfast.persist import Persist
from holdfast.persist.driver import Driver
from holdfast.store import Health, Migration
from holdfast.webmention import Webmention

__all__ = ["Holdfast", "Lifespan"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


SOCKET = "/socket"
"""Where `Holdfast.asgi` serves the rooms: ``new Socket("/socket")``."""
ENDPOINT = "/webmention"
"""Where it takes mentions in."""
_READING = re.compile(r"/api/(mentions(\.(json|jf2|html|atom))?|count|photo/[0-9a-f]{40})")


class Holdfast:
    """What the application remembers, behind one store URL. No I/O until it is entered.

    Three ways to open it, which may be combined; the first in opens, the last
    out closes::

        app = FastAPI(lifespan=hold.lifespan)      # Starlette, FastAPI, Litestar
        app = hold.asgi(app)                       # any ASGI app; Django too
        async with hold: ...                       # a script, a test

    Args:
        store: a URL, or a `persist` driver made by hand.
        namespace: keeps applications apart in one store.
        persist: a `Persist` of one's own, instead of one made from `store`.
        channels: the `Channel` classes of the rooms to serve, or a `Channels` of one's own.
        connect: who a socket's connection belongs to; see `Channels`.
        site: the URL of one's site, ``"https://alice.example"``: mentions are sent from it and taken in for it.
        webmention: a `Webmention` of one's own, instead of one made from `store` and `site`.
        auto_migrate: as for `Persist`.
    """

    def __init__(
        self,
        store: str | Driver = "memory://",
        *,
        namespace: str = "holdfast",
        persist: Persist | None = None,
        channels: Iterable[type[Channel]] | Channels | None = None,
        connect: Callable[[Connect], User | Awaitable[User | None] | None] | None = None,
        webmention: Webmention | None = None,
        site: str | None = None,
        auto_migrate: bool | None = None,
    ) -> None:
        self.persist = persist or Persist(store, namespace=namespace, auto_migrate=auto_migrate)
        if channels is not None and not isinstance(channels, Channels):
            if not isinstance(store, str):
                raise StoreMisconfigured(
                    "Holdfast: a driver by hand serves persist alone; hand in channels=Channels(...)"
                )
            channels = Channels(
                store, channels, connect=connect, namespace=namespace, auto_migrate=auto_migrate
            )
        if webmention is None and site is not None:
            if not isinstance(store, str):
                raise StoreMisconfigured(
                    "Holdfast: a driver by hand serves persist alone; hand in webmention=Webmention(...)"
                )
            webmention = Webmention(store, site=site, namespace=namespace, auto_migrate=auto_migrate)
        self._channels = channels
        self._webmention = webmention
        self._opened: AsyncExitStack | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # that `_lock` is for, and where it is open
        # INVARIANT: `persist` is open exactly while `_users` is more than zero.
        self._users = 0
        self._opened_by_use = False

    @property
    def channels(self) -> Channels:
        """The rooms; `StoreMisconfigured` where none were named."""
        if self._channels is None:
            raise StoreMisconfigured("Holdfast: no channels; Holdfast(store, channels=[ChatRoom])")
        return self._channels

    @property
    def webmention(self) -> Webmention:
        """The mentions; `StoreMisconfigured` where no site was named."""
        if self._webmention is None:
            raise StoreMisconfigured('Holdfast: no mentions; Holdfast(store, site="https://alice.example")')
        return self._webmention

    @property
    def _turn(self) -> asyncio.Lock:
        """Opening and closing happen one at a time. A loop has its own: an `asyncio.Lock` cannot change loops."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_closed():
                self._users, self._opened_by_use = 0, False  # who opened it there cannot close it any more
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def __aenter__(self) -> Self:
        async with self._turn:
            if self._users == 0:
                await self._open()
            self._users += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        async with self._turn:
            await self._leave()

    async def _open(self) -> None:
        """All of it, or nothing."""
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self.persist)
            if self._channels is not None:
                await opened.enter_async_context(self._channels)
            if self._webmention is not None:
                await opened.enter_async_context(self._webmention)
            self._opened = opened.pop_all()

    async def _leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            opened, self._opened = self._opened, None
            if opened is not None:
                await opened.aclose()

    def lifespan(self, app_or_lifespan: Any) -> Lifespan:
        """The ASGI lifespan to give to a framework, or one that nests the framework's own.

        ``FastAPI(lifespan=hold.lifespan)``, or
        ``FastAPI(lifespan=hold.lifespan(existing))``: the store opens before
        `existing` starts and closes after it has ended.
        """
        return Lifespan(self, app_or_lifespan)

    def asgi(self, app: App) -> App:
        """The app with the store open around it, the rooms at ``/socket`` and mentions at ``/webmention`` beside it.

        With mentions, ``/api/mentions``, ``/api/count`` and ``/api/photo/…`` are
        served too, and every answer of `app` names the endpoint in a `Link` header.

        Where the server sends lifespan events, the store opens at startup and
        closes at shutdown, whether `app` knows lifespan or not. Where none
        arrive, it opens with the first request and stays open with the event
        loop; test clients that give each request a loop of its own are served too.
        """

        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await serve_lifespan(self, app, scope, receive, send)
                return
            if self._users == 0 or self._loop is not asyncio.get_running_loop():
                await self._open_by_use()
            await self._served(app, scope)(scope, receive, send)

        return held

    def _served(self, app: App, scope: Scope) -> App:
        """What answers this: a capability under its path, else the app."""
        root = scope.get("root_path", "")
        asked = scope["path"].removeprefix(root)
        if self._channels is not None and asked.startswith(SOCKET + "/"):
            return self._channels
        if self._webmention is None or scope["type"] != "http":
            return app
        if asked == ENDPOINT or asked.startswith(ENDPOINT + "/"):
            return self._webmention
        if _READING.fullmatch(asked):
            return self._webmention.reading
        return self._webmention.advertise(app, quote(root) + ENDPOINT)

    async def _open_by_use(self) -> None:
        async with self._turn:
            if self._users == 0:
                await self._open()
                self._users += 1
                self._opened_by_use = True

    async def close(self) -> None:
        """Close a store that a request opened because no lifespan did; otherwise nothing. Twice is once."""
        async with self._turn:
            if self._opened_by_use:
                self._opened_by_use = False
                await self._leave()

    async def migrate(self) -> Sequence[Migration]:
        """Make or update the tables of every capability; what was applied."""
        applied = list(await self.persist.migrate())
        if self._channels is not None:
            applied += await self._channels.migrate()
        if self._webmention is not None:
            applied += await self._webmention.migrate()
        return applied

    async def health(self) -> dict[str, Health]:
        """Whether the store answers each capability, by its name. Never raises for a store that is down."""
        found = {"persist": await self.persist.health()}
        if self._channels is not None:
            found["channels"] = await self._channels.health()
        if self._webmention is not None:
            found["webmention"] = await self._webmention.health()
        return found


class Lifespan:
    """Both forms of `Holdfast.lifespan`: a context manager, and a callable that makes one around another."""

    def __init__(self, hold: Holdfast, app_or_lifespan: Any) -> None:
        self._hold = hold
        self._inner = app_or_lifespan

    def __call__(self, app: Any) -> AbstractAsyncContextManager[Any]:
        return self._nested(app)

    @asynccontextmanager
    async def _nested(self, app: Any) -> AsyncIterator[Any]:
        async with self._hold, self._inner(app) as state:
            yield state

    async def __aenter__(self) -> None:
        await self._hold.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hold.__aexit__(kind, error, trace)
