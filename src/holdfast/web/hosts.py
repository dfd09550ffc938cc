"""Answers only to the names it was given, which keeps DNS rebinding out.

A page of another site can point its own name at 127.0.0.1 and so make a browser
talk to a server that is bound there; the `Host` header still says the other name.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast.settings import Settings
from holdfast.web.problems import Problem

__all__ = ["HostCheck", "allowed_hosts", "host_name"]


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The bind address, localhost, the site's host and `allow_hosts`; `*` lets every name in."""
    hosts = {settings.host, "localhost", *settings.allow_hosts}
    if _loopback(settings.host):
        hosts |= {"127.0.0.1", "::1"}
    if settings.site is not None:
        hosts.add(urlsplit(settings.site).hostname or "")
    return frozenset(host.strip("[]").rstrip(".").lower() for host in hosts) - {"", "0.0.0.0", "::"}


def host_name(header: str) -> str | None:
    """The name in a Host header, without its port, in lower case; None: it is not well-formed.

    >>> host_name("Alice.Example:8000"), host_name("[::1]:8000"), host_name("a@b")
    ('alice.example', '::1', None)
    """
    try:
        parts = urlsplit(f"//{header}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if name is None or parts.netloc != header or parts.username is not None:
        return None
    return name.rstrip(".")


class HostCheck:
    """ASGI middleware: 421 to any other name, on requests and on WebSockets."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self.app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._admits(scope):
            await self.app(scope, receive, send)
            return
        detail = "Name it with --allow-host or HOLDFAST_ALLOW_HOST if it is yours."
        response = Problem("wrong-host", detail).response()
        if scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await response(scope, receive, send)  # it prefixes its messages with "websocket." itself
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    def _admits(self, scope: Scope) -> bool:
        if "*" in self._allowed:
            return True
        headers = [value for name, value in scope["headers"] if name == b"host"]
        if len(headers) != 1:
            return False
        name = host_name(headers[0].decode("latin-1"))
        if name is None:
            return False
        _, dot, parent = name.partition(".")
        return name in self._allowed or (bool(dot) and f"*.{parent}" in self._allowed)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
