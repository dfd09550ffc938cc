"""Templates become answers here; each is told the root path, who is signed in, and where the files lie."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from holdfast.web.dashboard import words
from holdfast.web.dashboard.forms import UNITS, escaped
from holdfast.web.dashboard.sessions import Session
from holdfast.web.dashboard.static import Static

__all__ = ["NOTICES", "Pages"]

_HERE = Path(__file__).parent.parent

# What a page says once after it was redirected to: ?done=<name>. Fixed texts, so that a link cannot put words here.
NOTICES: Final[Mapping[str, str]] = {
    "saved": "Saved.",
    "created": "Created.",
    "removed": "Removed.",
    "gone": "It was gone already: removed by somebody else, or expired.",
    "published": "Sent.",
    "edited": "Changed.",
    "message-removed": "Removed. Whoever is in the room saw it go.",
    "message-gone": "That message is gone: removed, or no longer kept.",
    "cleared": "The history is forgotten.",
    "unkept": "There is no history to forget.",
    "closed": "Closed. Its client comes back by itself.",
    "closed-gone": "That connection had ended already.",
    "told": "Done: what became of each is below.",
    "told-before": "Nothing in it has changed since it was sent; who has to be told was told.",
    "told-nobody": "It links to nobody else.",
    "telling": "They are being told: it takes a while. Look again in a moment.",
    "retried": "Tried again.",
    "retrying": "Being tried again: it takes a while to answer. Look again in a moment.",
    "mention-accepted": "Accepted. It is shown from now on.",
    "mention-declined": "Declined. It is not shown, whatever its sender does.",
    "mention-gone": "There is no such mention any more.",
    "mention-unverified": "It was not verified, or is gone: there is nothing to show.",
    "rule-block": "Blocked. What was there from it is declined.",
    "rule-accept": "From now on accepted without a question; so is what waited.",
    "rule-removed": "The rule is forgotten. What it decided stays decided.",
    "rule-gone": "There was no such rule any more.",
    "signed-out": "You are signed out.",
}


class Pages:
    """Renders the templates."""

    def __init__(self, *, chat: bool = False, rooms: bool = False, mentions: bool = False) -> None:
        self.static = Static(_HERE / "static")
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters |= {
            "key": words.key_markup,
            "at": escaped,
            "ttl": words.ttl_words,
            "size": words.size_words,
            "count": words.count_words,
            "json": words.highlighted,
            "when": words.when_markup,
            "link": words.link_markup,
        }
        self._jinja.globals |= {
            "units": tuple(UNITS),
            "chat": chat,
            "rooms": rooms,
            "mentions": mentions,
        }

    def forget_rooms(self) -> None:
        """Lead nobody to them."""
        self._jinja.globals["rooms"] = False

    def render(
        self,
        request: Request,
        template: str,
        *,
        session: Session | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """The template as an answer."""
        root = request.scope.get("root_path", "")
        context.setdefault("notice", NOTICES.get(request.query_params.get("done", ""), ""))
        text = self._jinja.get_template(template).render(
            context,
            root=root,
            session=session,
            asset=lambda name: f"{root}/{self.static.address(name)}",
        )
        return HTMLResponse(text, status, dict(headers or {}))

    def message(
        self,
        request: Request,
        status: int,
        title: str,
        text: str,
        *,
        session: Session | None = None,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """A page that says one thing."""
        context = {
            "again": False,
            "fields": {},
            "retry": request.method == "GET" and status >= 500,
            **context,
        }
        return self.render(
            request,
            "message.html",
            session=session,
            status=status,
            headers=headers,
            title=title,
            text=text,
            code=f"{status} {HTTPStatus(status).phrase}",
            **context,
        )

    def redirect(self, request: Request, path: str) -> Response:
        """Go on with a GET below the root path."""
        return RedirectResponse(request.scope.get("root_path", "") + path, 303)
