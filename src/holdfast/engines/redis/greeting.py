"""What a server says of itself when a connection begins, and whether it is one that can serve."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.engines.redis.refusals import Refusal, refusal_word
from holdfast.errors import StoreMisconfigured, StoreUnavailable

__all__ = ["Server", "introduced", "wanted"]

OLDEST: Final = (6, 2)  # GETEX


class Server(msgspec.Struct, frozen=True):
    """What the server said of itself in its greeting; empty where it may not say."""

    name: str = ""
    version: str = ""
    mode: str = ""
    role: str = ""


def introduced(hello: Any) -> Server:
    """The answer to HELLO. One that is refused for want of rights is of a server that may be anything."""
    if type(hello) is Refusal:
        if refusal_word(hello) == "ERR":
            raise StoreMisconfigured("redis: the server is older than 6: it does not know HELLO")
        return Server()
    pairs = hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=False)
    known = {_text(name): _text(value) for name, value in pairs}
    return Server(
        known.get("server", ""), known.get("version", ""), known.get("mode", ""), known.get("role", "")
    )


def wanted(server: Server, *, master: bool, cluster: bool) -> None:
    """Raise where this is not the server that was asked for."""
    if server.version and _numbers(server.version) < OLDEST:
        raise StoreMisconfigured(
            f"redis: {server.name} {server.version} is too old; Redis 6.2 or any Valkey is needed"
        )
    if server.mode == "cluster" and not cluster:
        raise StoreMisconfigured("redis: this is a node of a cluster; use redis+cluster://")
    if server.mode == "sentinel":
        raise StoreMisconfigured("redis: this is a sentinel; use redis+sentinel://host:port/name")
    if master and server.role not in ("", "master"):
        raise StoreUnavailable(f"redis: the server named as master is a {server.role} still")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
