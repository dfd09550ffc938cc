"""The receiving side as ASGI apps, without a framework: the endpoint, the reading side, the header that names it.

Each finds its own path wherever it is mounted, with or without a slash at the
end, and never answers with a redirect: senders do not repeat a POST.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from holdfast.errors import MentionRefused, StoreError
from holdfast.webmention import link_header
from holdfast.webmention.inbound import Inbound
from holdfast.webmention.mentions import ReceivedMention
from holdfast.webmention.reading import reading
from holdfast.webmention.replies import (
    App,
    Receive,
    Reply,
    Scope,
    Send,
    escaped,
    fields,
    here,
    html,
    json,
    path_of,
    prefers_html,
    quoted,
    respond,
)

__all__ = ["advertise", "endpoint", "reading"]

_STATUS = re.compile(r"[0-9a-f]{40}")
_ALLOW = {True: "GET, HEAD, OPTIONS", False: "GET, HEAD, OPTIONS, POST"}  # of a status page, of the endpoint

SAYS = {
    "queued": "Received. It will be verified soon.",
    "pending": "Verified. The owner of this site decides whether it is shown.",
    "accepted": "Verified and accepted.",
    "declined": "It is not shown on this site.",
    "invalid": "Not accepted: it could not be verified.",
    "gone": "The source no longer links to the target. It is not shown any more.",
}


def endpoint(inbound: Inbound) -> App:
    """``POST <mount>`` takes a mention in; ``GET <mount>/<id>`` says what became of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(
                f"webmention: no {scope['type']} here; mount it in an app that opens it"
            )
        try:
            reply = await _answer(inbound, scope, receive)
        except MentionRefused as refused:
            reply = _refusal(scope, refused)
        except StoreError:
            reply = _problem(scope, 503, "The store does not answer; try again later.", retry_after="60")
        if reply is not None:
            await respond(scope, send, reply)

    return app


async def _answer(inbound: Inbound, scope: Scope, receive: Receive) -> Reply | None:
    method, last = scope["method"], path_of(scope).rpartition("/")[2]
    is_status = _STATUS.fullmatch(last) is not None
    if method == "POST" and not is_status:
        return await _received(inbound, scope, receive)
    if method in ("GET", "HEAD"):
        return await _status(inbound, scope, last) if is_status else _about(scope)
    if method == "OPTIONS":
        return Reply(204, headers=(("allow", _ALLOW[is_status]), *_CORS))
    return _problem(scope, 405, f"Not {method}.", allow=_ALLOW[is_status])


_CORS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, POST"),
    ("access-control-max-age", "86400"),
)


async def _received(inbound: Inbound, scope: Scope, receive: Receive) -> Reply | None:
    form = await fields(scope, receive)
    if form is None:
        return None
    client = scope.get("client")
    mention = await inbound.receive(
        form.get("source", ""), form.get("target", ""), client=client[0] if client else None
    )
    where = f"{here(scope, inbound.site)}{quoted(path_of(scope))}/{mention.id}"
    if prefers_html(scope):
        link = f'<p>{escaped(SAYS[mention.state])} <a href="{escaped(where)}">See what becomes of it.</a></p>'
        return html("Thank you", link, 201, location=where, access_control_allow_origin="*")
    says = {"status": where, "state": mention.state, "says": SAYS[mention.state]}
    return json(says, 201, location=where, access_control_allow_origin="*")


async def _status(inbound: Inbound, scope: Scope, id: str) -> Reply:
    mention = await inbound.get(id)
    if mention is None:
        return _problem(scope, 404, "There is no such mention; what did not link to its target is forgotten.")
    reason = _reason(mention)
    if not prefers_html(scope):
        says = {
            "source": mention.source_url,
            "target": mention.target_url,
            "state": mention.state,
            "says": SAYS[mention.state],
            "reason": reason,
        }
        return json(says, cache_control="no-store", access_control_allow_origin="*")
    rows = (
        ("From", mention.source_url),
        ("To", mention.target_url),
        ("State", mention.state),
        ("Why", reason),
    )
    body = "\n".join(f"<dt>{name}</dt><dd>{escaped(value)}</dd>" for name, value in rows)
    return html(
        "Webmention",
        f"<p>{SAYS[mention.state]}</p>\n<dl>\n{body}\n</dl>",
        cache_control="no-store",
    )


def _reason(mention: ReceivedMention) -> str:
    """The latest step, in words made for this page too: they name no address and no person.

    Of what was declined they say nothing: a pattern that blocks would say how to get around it.
    """
    return mention.log[-1].says if mention.log and mention.state != "declined" else ""


def _about(scope: Scope) -> Reply:
    """For whoever opens it in a browser: it can be used by hand."""
    body = (
        "<p>This is where this site hears of pages that link to it. Programs send"
        ' <a href="https://www.w3.org/TR/webmention/">webmentions</a>; you can tell of yours here.</p>\n'
        f'<form method="post" action="{escaped(path_of(scope))}">\n'
        '<label for="source">Your page</label>'
        '<input id="source" name="source" type="url" required autocomplete="url" placeholder="https://">\n'
        '<label for="target">The page here that it links to</label>'
        '<input id="target" name="target" type="url" required placeholder="https://">\n'
        "<button>Send</button>\n</form>"
    )
    return html("Webmention", body)


def _refusal(scope: Scope, refused: MentionRefused) -> Reply:
    more = {} if refused.retry_after is None else {"retry_after": str(refused.retry_after)}
    said = str(refused)
    return _problem(scope, refused.status, f"{said[:1].upper()}{said[1:]}.", **more)


_TITLES = {
    400: "This is no webmention for this site",
    404: "There is no such mention",
    405: "This cannot be done here",
    408: "The request took too long",
    429: "Too many mentions wait",
    503: "The store does not answer",
}


def _problem(scope: Scope, status: int, detail: str, **headers: str) -> Reply:
    title = _TITLES.get(status, "This cannot be done")
    headers = {"cache_control": "no-store", "access_control_allow_origin": "*", **headers}
    if prefers_html(scope):
        return html(title, f"<p>{escaped(detail)}</p>", status, **headers)
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return json(problem, status, media_type="application/problem+json", **headers)


def advertise(app: App, url: str = "/webmention") -> App:
    """The same app, with ``Link: <url>; rel="webmention"`` on every answer that does not name an endpoint itself."""
    if not url or not url.isascii() or any(character in "<>\"'\\" or character <= " " for character in url):
        raise ValueError(f"advertise: {url!r} is no URL to put in a header")
    link = (b"link", f'<{url}>; rel="webmention"'.encode())

    async def advertised(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def marked(message: Scope) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers") or ())
                if not _names_one(headers):
                    message = {**message, "headers": [*headers, link]}
            await send(message)

        await app(scope, receive, marked)

    return advertised


def _names_one(headers: Iterable[Any]) -> bool:
    links = [bytes(value).decode("latin-1") for name, value in headers if bytes(name).lower() == b"link"]
    return bool(links) and any("webmention" in each.rels for each in link_header.parse(links))
