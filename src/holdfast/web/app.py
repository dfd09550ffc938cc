"""The composition root of the server: which parts there are, and what each is given.

Everything that faces the network is one Starlette application that owns one
`Persist`, one `Channels` and, where it has a site, its `Mentions`. A
further capability brings its routes and its lifespan here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import HTTPExceptionHandler

from holdfast import events
from holdfast.channels import AnyTopic, Channels
from holdfast.errors import HoldfastError, StoreMisconfigured
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.web import metrics, openapi, values
from holdfast.web.access import Access, Bearer
from holdfast.web.chat import Chat
from holdfast.web.cursors import Cursors
from holdfast.web.dashboard import Dashboard
from holdfast.web.headers import SecurityHeaders, protect
from holdfast.web.hosts import HostCheck, allowed_hosts
from holdfast.web.mentions import Mentions
from holdfast.web.problems import Problem, problem_of, problem_of_status
from holdfast.web.tally import Tally

__all__ = ["make_app"]


def make_app(settings: Settings, *, persist: Persist | None = None, allow: Sequence[str] = ()) -> Starlette:
    """The server as an ASGI application; no I/O before its lifespan starts, but for reading a token file.

    It serves the store of the settings, or `persist`, made by hand and not yet
    opened. Either is open as long as the lifespan lasts, as `app.state.persist`;
    so are the store's rooms, as `app.state.channels` (None where it has none),
    and the site's mentions, as `app.state.mentions`; `allow` names addresses of
    inner networks that those may be fetched from.
    """
    persist = _persist(settings) if persist is None else persist
    tally = Tally()
    access = Access(persist, settings.given_token())
    cursors = Cursors(persist, access)
    chat = Chat(persist, settings) if settings.chat else None
    channels = _channels(settings, chat)
    mentions = None if settings.site is None else Mentions(settings, allow=allow)
    dashboard = Dashboard(persist, channels, mentions, cursors, access, tally, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        stop = events.subscribe(tally.hear)
        try:
            async with AsyncExitStack() as opened:
                await opened.enter_async_context(persist)
                if channels is not None:
                    if chat is not None or await _has_tables(channels, settings.auto_migrate):
                        await opened.enter_async_context(channels)
                    else:
                        dashboard.without_rooms()
                        app.state.channels = None
                if mentions is not None:
                    await opened.enter_async_context(mentions)
                yield
        finally:
            stop()

    routes = [
        *values.routes(persist, cursors, access, max_bytes=settings.max_bytes),
        *metrics.routes(persist, channels, mentions, tally, access),
        _description(settings, access),
        *dashboard.routes(),
    ]
    if mentions is not None:
        routes += mentions.routes()
    if chat is not None and channels is not None:
        routes += [*chat.routes(channels), Mount("/socket", channels)]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders), Middleware(HostCheck, allowed=allowed_hosts(settings))],
        exception_handlers=_answers(dashboard),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would be built from the Host header
    app.state.persist = persist
    app.state.channels = channels
    app.state.mentions = mentions
    return app


def _persist(settings: Settings) -> Persist:
    return Persist(
        settings.store,
        namespace=settings.namespace,
        auto_migrate=settings.auto_migrate,
        max_bytes=settings.max_bytes,
    )


def _channels(settings: Settings, chat: Chat | None) -> Channels | None:
    """The store's rooms: those of the chat are served, all others can be looked at."""
    try:
        return Channels(
            settings.store,
            [AnyTopic] if chat is None else [chat.room, AnyTopic],
            connect=None if chat is None else chat.connect,
            namespace=settings.namespace,
            auto_migrate=settings.auto_migrate,
        )
    except StoreMisconfigured:
        if chat is not None:
            raise
        return None  # a store for values alone, such as a Redis Cluster


async def _has_tables(channels: Channels, auto_migrate: bool | None) -> bool:
    """Whether the store's rooms can be opened: an upgrade does not keep a server of values from starting."""
    wanted = channels.traits.auto_migrate if auto_migrate is None else auto_migrate
    return wanted or all(each.version > 1 for each in await channels.pending())


def _description(settings: Settings, access: Access) -> BaseRoute:
    try:
        number = version("holdfast")
    except PackageNotFoundError:  # a source tree that was never installed
        number = "0"
    document = openapi.describe(version=number, root_path=settings.root_path, max_bytes=settings.max_bytes)
    text = msgspec.json.encode(document)

    async def description(request: Request) -> Response:
        return Response(text, media_type="application/json")

    guard = [Middleware(Bearer, access=access)]
    return Route("/openapi.json", description, methods=["GET"], middleware=guard)


def _answers(dashboard: Dashboard) -> dict[type[Exception], HTTPExceptionHandler]:
    """What an exception is to whoever asked: a page for a browser, else a problem document."""

    def render(request: Request, problem: Problem) -> Response:
        if dashboard.wants_page(request):
            return dashboard.problem_page(request, problem)
        return problem.response()

    async def own(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return render(request, exc)

    async def of_framework(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        detail = "" if exc.status_code in (404, 405) else exc.detail
        return render(request, problem_of_status(exc.status_code, detail, exc.headers))

    async def of_store(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HoldfastError)
        return render(request, problem_of(exc))

    async def unforeseen(request: Request, exc: Exception) -> Response:
        response = render(request, Problem("error"))
        protect(response.headers)  # this answer is made outside all middleware
        return response

    async def gone(request: Request, exc: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    return {
        Problem: own,
        HTTPException: of_framework,
        HoldfastError: of_store,
        ClientDisconnect: gone,
        Exception: unforeseen,
    }
