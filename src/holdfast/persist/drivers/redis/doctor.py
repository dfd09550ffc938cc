"""What a Redis promises to values as it is configured, in words."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.engines.redis import RedisEngine, doctor
from holdfast.engines.redis.doctor import durability, role
from holdfast.store import Finding

__all__ = ["durability", "eviction", "findings", "role"]


async def findings(engine: RedisEngine) -> list[Finding]:
    """A finding for each of version, role, durability, eviction and clock; a note where the server may not say."""
    return await doctor.findings(engine, _judge, "expiry")


def _judge(config: Mapping[str, str] | None) -> list[Finding]:
    if config is None:
        text = f"{doctor.FORBIDDEN}: make sure that maxmemory-policy is noeviction"
        return [Finding("note", "eviction", text)]
    return [eviction(config)]


def eviction(config: Mapping[str, str]) -> Finding:
    """What happens when memory is full."""
    policy = config.get("maxmemory-policy", "noeviction")
    limit = config.get("maxmemory", "0")
    if policy == "noeviction":
        full = "when memory is full, writes fail" if limit != "0" else "no maxmemory is set"
        return Finding("ok", "eviction", f"noeviction: {full}; no value vanishes")
    if policy.startswith("volatile"):
        text = f"{policy}: when memory is full, values that have an expiry vanish before it"
    else:
        text = f"{policy}: when memory is full, values vanish, locks and counters among them"
    unless = " (no maxmemory is set, so not yet)" if limit == "0" else ""
    return Finding("warning", "eviction", f"{text}{unless}; noeviction keeps them")
