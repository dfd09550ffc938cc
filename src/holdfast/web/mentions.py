"""Mentions in the server: the `Webmention` of its site, and what of it anybody may ask, without a token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.settings import Settings
from holdfast.webmention import NetworkPolicy, Webmention

if TYPE_CHECKING:
    from holdfast.webmention import Fetcher, Rehearsal

__all__ = ["Mentions"]


class Mentions:
    """A site's mentions: an async context manager, and the routes of their public side.

    Attributes:
        webmention: what sends and receives.
        web: what fetches for it.
        policy: which addresses that may connect to.
        rehearsing: whether nobody is told of anything.
    """

    def __init__(self, settings: Settings, *, allow: Sequence[str] = (), background: bool = True) -> None:
        self.policy = NetworkPolicy(allow=tuple(allow))
        self.rehearsing = settings.dry_outbox
        self.web = _web(self.policy, rehearsing=settings.dry_outbox)
        self.webmention = Webmention(
            settings.store,
            site=settings.site,
            namespace=settings.namespace,
            accept=cast("Any", settings.webmention_accept),  # the settings have seen to it
            auto_migrate=settings.auto_migrate,
            web=self.web,
            background=background,
        )
        self._opened: AsyncExitStack | None = None
        self._until: float | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self.web)
            await opened.enter_async_context(self.webmention)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            async with asyncio.timeout_at(self._until):
                await opened.aclose()
        except TimeoutError:
            pass  # what was being told just now is told again once its lease has ended

    def end_by(self, until: float) -> None:
        """Closing must not last longer than to this time of the loop: endpoints may take longer to answer."""
        self._until = until

    def routes(self) -> list[BaseRoute]:
        """The endpoint with a slash and without, for senders do not follow redirects, and the reading side."""
        endpoint, reading = _App(self.webmention), _App(self.webmention.reading)
        paths = {
            "/webmention": endpoint,
            "/webmention/": endpoint,
            "/webmention/{id}": endpoint,
            "/api/mentions": reading,
            "/api/mentions.{ending}": reading,
            "/api/count": reading,
            "/api/photo/{digest}": reading,
        }
        return [Route(path, app) for path, app in paths.items()]


def _web(policy: NetworkPolicy, *, rehearsing: bool) -> Fetcher | Rehearsal:
    from holdfast.webmention import Fetcher, Rehearsal  # which a server without a site need not load

    return Rehearsal(policy) if rehearsing else Fetcher(policy)


class _App:
    """An ASGI app as the framework knows one; what it answers, pages of any origin may show."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["cross-origin-resource-policy"] = "cross-origin"
            await send(message)

        await self._app(scope, receive, opened)
