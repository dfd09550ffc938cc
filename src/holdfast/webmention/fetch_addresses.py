"""Connections to checked addresses only: aiohttp's connector with a guard at the two places where addresses pass.

A name is resolved once per connection, every answer is checked, and one that is
refused refuses all of them: a name that leads to both worlds is an attempt. The
connection then goes to one of those very addresses, while `Host` and SNI keep
the name. What reaches a socket without having been resolved (a literal address,
whatever a URL parser made of it) is checked where the socket is made, which
nothing that connects can bypass.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from holdfast.webmention.policy import NetworkPolicy

__all__ = ["Resolve", "SystemNames", "connecting_to", "guarded_connector"]

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a name, as text; OSError where there are none."""

connecting_to: Final[ContextVar[str]] = ContextVar("connecting_to", default="")
"""The host of the request under way: an exception of the policy may name it."""

PER_HOST: Final = 4
_KEPT_SECONDS: Final = 2.0  # shorter than servers keep theirs: a POST on a connection just closed is lost
_LOOKUPS: Final = 64


class SystemNames:
    """Names as the system resolves them, in threads of its own.

    Threads, as `getaddrinfo` cannot be interrupted; of its own, as a name
    server that never answers holds one far beyond the deadline, and the loop's
    own few serve the whole application. Beyond 64 lookups at a time the next
    waits, within its deadline.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="holdfast-names")

    async def __call__(self, name: str) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, name)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Let go of the threads; one that still waits ends when the system gives up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(name: str) -> list[str]:
    try:
        # No AI_ADDRCONFIG: an address of a family that this machine does not speak still tells of its name.
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from exc
    return [str(info[4][0]) for info in infos]


class _GuardedNames(AbstractResolver):
    def __init__(self, policy: NetworkPolicy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._resolve(host)
        for address in addresses:
            self._policy.check_address(host, address, port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing: whoever brought `resolve` closes it."""


def guarded_connector(
    policy: NetworkPolicy, resolve: Resolve, tls: ssl.SSLContext | None
) -> aiohttp.TCPConnector:
    """A pool of connections, four at most to each host and port, to addresses that `policy` lets through."""

    def checked_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        policy.check_address(connecting_to.get(), address[0], address[1])
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(
        resolver=_GuardedNames(policy, resolve),
        use_dns_cache=False,
        socket_factory=checked_socket,
        ssl=True if tls is None else tls,
        limit=0,  # how many hosts are asked at once is the caller's to say: one that hangs takes nobody's turn
        limit_per_host=PER_HOST,
        keepalive_timeout=_KEPT_SECONDS,
    )
