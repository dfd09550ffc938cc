"""What a Redis promises as it is configured, in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from holdfast.engines.redis.engine import RedisEngine
from holdfast.errors import HoldfastError, StoreUnavailable
from holdfast.store import Finding

__all__ = ["FORBIDDEN", "Judge", "durability", "findings", "role"]

FORBIDDEN: Final = "the server does not show its configuration (CONFIG is forbidden, as managed services do)"

Judge: TypeAlias = Callable[[Mapping[str, str] | None], list[Finding]]
"""What a configuration means to one capability; None: the server does not show it."""

_SETTINGS: Final = (
    "appendonly",
    "appendfsync",
    "save",
    "maxmemory",
    "maxmemory-policy",
    "client-output-buffer-limit",
)


async def findings(engine: RedisEngine, judge: Judge, decides: str) -> list[Finding]:
    """A finding for each of version, role, durability, what `judge` says, and clock.

    Args:
        judge: sees what the server shows of its configuration.
        decides: what the server's clock decides about.
    """
    server = engine.server
    told = [Finding("ok", "version", f"{server.name or 'redis'} {server.version or 'of unknown version'}")]
    told.append(role(await _role(engine)))
    config = await _config(engine)
    if config is None:
        told.append(Finding("note", "durability", f"{FORBIDDEN}: ask its provider what survives a crash"))
    else:
        told.append(durability(config))
    return [*told, *judge(config), await _clock(engine, decides)]


def role(name: str) -> Finding:
    if name in ("", "master"):
        return Finding("ok", "replication", "this server is the master")
    return Finding("warning", "replication", f"this server is a read-only {name}: every write will fail")


def durability(config: Mapping[str, str]) -> Finding:
    """What is lost when redis-server is killed, and when the power goes."""
    save = config.get("save", "")
    if config.get("appendonly") == "yes":
        sync = config.get("appendfsync", "everysec")
        if sync == "always":
            text = "appendonly with appendfsync always: every acknowledged write is on disk; nothing is lost"
            return Finding("ok", "durability", text)
        if sync == "everysec":
            # While a sync is slow Redis puts off even the write to the file, for up to two seconds.
            text = (
                "appendonly with appendfsync everysec: a power cut loses about a second of acknowledged writes,"
                " a killed redis-server nothing, or two seconds where the disk is slow"
            )
        else:
            text = (
                f"appendonly with appendfsync {sync}: a power cut loses tens of seconds of acknowledged writes,"
                " a killed redis-server nothing"
            )
        return Finding("note", "durability", text)
    if save:
        return Finding(
            "warning",
            "durability",
            f"snapshots only (save {save}): a killed redis-server or a power cut loses every write since the last one",
        )
    return Finding(
        "warning",
        "durability",
        "no persistence (appendonly no, save empty): a restart of redis-server loses everything",
    )


async def _role(engine: RedisEngine) -> str:
    """Asked now: a master may have become a replica since the connection was made."""
    try:
        name: bytes = (await engine.call("ROLE"))[0]
    except StoreUnavailable:
        raise
    except HoldfastError:
        return engine.server.role
    return name.decode()


async def _config(engine: RedisEngine) -> dict[str, str] | None:
    found: dict[str, str] = {}
    try:
        for name in _SETTINGS:
            reply: Any = await engine.call("CONFIG", "GET", name)
            pairs = (
                list(reply.items())
                if isinstance(reply, dict)
                else list(zip(reply[::2], reply[1::2], strict=True))
            )
            found |= {key.decode(): value.decode() for key, value in pairs}
    except StoreUnavailable:
        raise
    except HoldfastError:
        return None
    return found or None


async def _clock(engine: RedisEngine, decides: str) -> Finding:
    before = time.time()
    try:
        seconds, micros = await engine.call("TIME")
    except StoreUnavailable:
        raise
    except HoldfastError:
        return Finding("note", "clock", "the server does not tell its time")
    after = time.time()
    skew = int(seconds) + int(micros) / 1e6 - (before + after) / 2
    unsure = (after - before) / 2
    if abs(skew) - unsure > 1.0:
        return Finding(
            "warning",
            "clock",
            f"the server's clock is {skew:+.1f} s off ours; its own decides about {decides}",
        )
    return Finding(
        "ok", "clock", f"the server's clock agrees with ours to a second; its own decides about {decides}"
    )
