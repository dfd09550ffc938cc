"""Who is connected to this process, and the end of a connection."""

from __future__ import annotations

import os
import secrets
from typing import Final

from starlette.responses import Response

from holdfast.channels import Channels, ConnectionInfo
from holdfast.settings import Settings
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages

__all__ = ["Connections"]

PAGE_CONNECTIONS: Final = 100
TOPICS: Final = 5
"""Topics of a connection that are named; the others are a number."""


class Connections:
    """`/connections`. A number names a connection of one process: a form says which process it was made by."""

    def __init__(self, channels: Channels, pages: Pages, settings: Settings) -> None:
        self._channels = channels
        self._pages = pages
        self._settings = settings
        self._process = secrets.token_hex(8)

    async def show(self, visit: Visit) -> Response:
        query = visit.request.query_params
        user, after = query.get("user", ""), query.get("after", "")
        start = int(after) if after.isdecimal() and len(after) < 18 else 0
        found = [
            each for each in self._channels.connections() if not user or (each.user or "").startswith(user)
        ]
        found.sort(key=_number)
        rest = [each for each in found if each.number > start]
        rows = rest[:PAGE_CONNECTIONS]
        return self._pages.render(
            visit.request,
            "connections.html",
            session=visit.session,
            user=user,
            rows=rows,
            total=len(found),
            named=TOPICS,
            later=start > 0,
            following=rows[-1].number if len(rest) > len(rows) else None,
            process=self._process,
            workers=self._settings.workers,
            worker=os.getpid(),
        )

    async def close(self, visit: Visit) -> Response:
        number = visit.form.get("number", "")
        if visit.form.get("process") != self._process:
            return self._pages.message(
                visit.request,
                409,
                "Another worker has this connection",
                "Nothing was closed: each worker knows its own connections, and this answer is another's. "
                "Trying again may reach the right one.",
                session=visit.session,
                again=True,
                fields=visit.form,
            )
        closed = number.isdecimal() and len(number) < 18 and self._channels.close_connection(int(number))
        return self._pages.redirect(
            visit.request, f"/connections?done={'closed' if closed else 'closed-gone'}"
        )


def _number(connection: ConnectionInfo) -> int:
    return connection.number
