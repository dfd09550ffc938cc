"""What a Redis promises to topics as it is configured, in words."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.engines.redis import RedisEngine, doctor
from holdfast.store import Finding

__all__ = ["buffers", "eviction", "findings"]


async def findings(engine: RedisEngine) -> list[Finding]:
    """Version, role, durability, eviction, buffers and clock; a note where the server may not say."""
    return await doctor.findings(engine, _judge, "the time and the age of messages")


def _judge(config: Mapping[str, str] | None) -> list[Finding]:
    if config is None:
        text = f"{doctor.FORBIDDEN}: make sure that maxmemory-policy is noeviction"
        return [Finding("note", "eviction", text)]
    return [eviction(config), buffers(config)]


def eviction(config: Mapping[str, str]) -> Finding:
    """What happens when memory is full."""
    policy = config.get("maxmemory-policy", "noeviction")
    limit = config.get("maxmemory", "0")
    if policy == "noeviction" or policy.startswith("volatile"):  # topics have no expiry
        full = "when memory is full, messages are refused" if limit != "0" else "no maxmemory is set"
        return Finding("ok", "eviction", f"{policy}: {full}; no topic vanishes")
    unless = " (no maxmemory is set, so not yet)" if limit == "0" else ""
    text = f"{policy}: when memory is full, topics vanish, each with its whole history{unless}"
    return Finding("warning", "eviction", f"{text}; noeviction keeps them")


def buffers(config: Mapping[str, str]) -> Finding:
    """What happens to a process that reads announcements too slowly."""
    words = config.get("client-output-buffer-limit", "").split()
    hard, soft = words[words.index("pubsub") + 1 :][:2] if "pubsub" in words else ("0", "0")
    if hard == soft == "0":
        text = "client-output-buffer-limit pubsub is 0: a process that stalls makes Redis grow without bound"
        return Finding("warning", "buffers", text)
    most = max(int(hard), int(soft)) >> 20
    return Finding(
        "ok",
        "buffers",
        f"a process that stalls is dropped with {most} MiB unread, at the latest, and then reads what it missed",
    )
