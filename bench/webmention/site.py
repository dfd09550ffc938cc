"""The web that is told: many hosts of one process, each answer so many milliseconds late.

`python -m bench.webmention.site --hosts 200` prints its port, and ends when its input does.
Hosts are addresses of loopback, so that nobody has to resolve anything:

===============  ===================================================================
`GET /<any>`     a page that names an endpoint in its head, and links to `BLOG`
`POST /<any>`    202, counted
`GET /hang...`   nothing, ever
`GET /_told`     how many were told since the last time, at once
===============  ===================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
from collections.abc import Sequence
from typing import cast

import uvloop

__all__ = ["BLOG", "addresses"]

BLOG = "http://blog.example/post"
BACKLOG = 1024
TRIES = 20
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_HOST = re.compile(rb"^host: *([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_TEXT = "<p>Some words that a page has, and none of them matters to whoever looks for an endpoint.</p>\n" * 40


def addresses(hosts: int) -> list[str]:
    """Of so many hosts: 127.0.1.1, 127.0.1.2 ..."""
    return [f"127.0.{1 + at // 250}.{1 + at % 250}" for at in range(hosts)]


def page(host: str) -> bytes:
    """Some 4 KB, as a post is."""
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>A post</title>\n'
        f'<link rel="webmention" href="http://{host}/webmention"></head>\n'
        f'<body class="h-entry"><p class="e-content">About <a href="{BLOG}">a post</a>.</p>\n{_TEXT}</body></html>'
    ).encode()


class _Told:
    count = 0


class _Conversation(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, delay: float, told: _Told) -> None:
        self._delay, self._told = delay, told
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not blank or (length and len(body) < int(length[1])):
            return
        self._got = b""
        delay = self._delay
        if head.startswith(b"GET /hang"):
            return
        if head.startswith(b"GET /_told"):
            reply, delay, self._told.count = _reply(200, str(self._told.count).encode()), 0.0, 0
        elif head.startswith(b"POST"):
            self._told.count += 1
            reply = _reply(202, b"thank you")
        else:
            host = _HOST.search(head)
            reply = _reply(200, page(host[1].decode() if host else ""))
        asyncio.get_running_loop().call_later(delay, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(reply)


def _reply(status: int, body: bytes) -> bytes:
    kind = "text/html; charset=utf-8"
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _sockets(hosts: int) -> list[socket.socket]:
    """One for each host, all with one port that is free on all of them."""
    for _ in range(TRIES):
        made: list[socket.socket] = []
        port = 0
        try:
            for address in addresses(hosts):
                made.append(socket.create_server((address, port), backlog=BACKLOG))
                port = made[0].getsockname()[1]
        except OSError:
            for each in made:
                each.close()
        else:
            return made
    raise OSError(f"no port is free on {hosts} addresses")


async def _serve(hosts: int, delay: float) -> None:
    loop, told = asyncio.get_running_loop(), _Told()
    sockets = _sockets(hosts)
    for each in sockets:
        await loop.create_server(lambda: _Conversation(delay, told), sock=each, backlog=BACKLOG)
    print(sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.05)
    options = parser.parse_args(arguments)
    uvloop.run(_serve(options.hosts, options.delay))


if __name__ == "__main__":
    main()
