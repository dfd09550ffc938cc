"""The first page: does the store answer, what does it promise, what is going on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from holdfast.channels import Channels
from holdfast.errors import StoreError
from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.store import Finding
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.rooms import Rooms
from holdfast.web.dashboard.words import size_words, spark
from holdfast.web.pace import Pace
from holdfast.web.tally import Tally

__all__ = ["Overview"]

_DURABLE = {
    "no": "until the server stops",
    "yes": "also after a crash of the store",
    "as configured": "as far as the store is configured to",
}
_SHARED = {
    "process": "this process only",
    "machine": "every process on this machine",
    "network": "every process that reaches the store",
}
_CLOCK = {"process": "this process", "machine": "this machine", "server": "the store's server"}


class Overview:
    """`/` and the figures behind it."""

    def __init__(
        self,
        persist: Persist,
        channels: Channels | None,
        rooms: Rooms | None,
        tally: Tally,
        pages: Pages,
        settings: Settings,
    ) -> None:
        self._persist = persist
        self._list = rooms
        self._channels = (
            channels if settings.chat else None
        )  # without, no socket is served and nobody is there
        self._pace = Pace()
        self._tally = tally
        self._pages = pages
        self._settings = settings

    async def show(self, visit: Visit) -> Response:
        figures = await self._figures()
        if self._list is not None:
            self._list.look()  # whoever goes on to the list finds rates there
        traits = self._persist.traits
        return self._pages.render(
            visit.request,
            "overview.html",
            session=visit.session,
            store=self._persist.store,
            namespace=self._settings.namespace,
            facts=[
                ("Driver", traits.name),
                ("Keeps what it acknowledged", _DURABLE[traits.durable]),
                ("Seen by", _SHARED[traits.shared]),
                ("Expiry goes by the clock of", _CLOCK[traits.clock]),
            ],
            findings=await self._findings(),
            workers=self._settings.workers,
            line=spark(figures["series"]),
            live=self._channels is not None,
            **figures,
        )

    async def live(self, visit: Visit) -> Response:
        """The figures as JSON, for the script that keeps the page up to date."""
        return Response(msgspec.json.encode(await self._figures()), media_type="application/json")

    async def _figures(self) -> dict[str, Any]:
        health = await self._persist.health()
        recent = self._tally.recent()
        return {
            "up": health.ok,
            "milliseconds": round(health.seconds * 1000, 2),
            "rate": recent.reads + recent.writes,
            "reads": recent.reads,
            "writes": recent.writes,
            "batch": recent.batch,
            "largest": recent.largest,
            "trip": recent.milliseconds,
            "errors": recent.errors,
            "lost": sum(self._tally.disconnects.values()),
            "series": recent.series,
            "worker": os.getpid(),
            **self._rooms(),
        }

    def _rooms(self) -> dict[str, Any]:
        """What goes on in this process; None: not known at the first look."""
        if self._channels is None:
            return {}
        counts = self._channels.counts()
        pace = self._pace.look({"heard": counts.received, "said": counts.sent})
        return {
            "connections": counts.connections,
            "topics": counts.rooms,
            "heard": pace.get("heard"),
            "said": pace.get("said"),
            "unread": size_words(counts.unread),
            "dropped": counts.dropped,
        }

    async def _findings(self) -> Sequence[Finding]:
        try:
            return await self._persist.describe()
        except StoreError:
            return [Finding("warning", "store", "the store does not answer, so it cannot be asked")]
