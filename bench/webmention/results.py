"""All that one run found out."""

from __future__ import annotations

import msgspec

from bench.webmention.posting import Posted
from bench.webmention.sending import Sent

__all__ = ["Run"]


class Run(msgspec.Struct):
    """By number of targets, sender and round; the rest by name, one entry a round."""

    command: str
    machine: str
    versions: str
    load: str
    rounds: int
    hosts: int
    targets: int
    many: int
    delay: float
    limit: float  # seconds for a hostile page
    queued: int
    posts: int
    minutes: float = 0.0
    shapes: int = 0
    sent: dict[int, dict[str, dict[int, Sent]]] = {}
    worst: dict[str, list[dict[str, float]]] = {}  # of Holdfast: by what is looked for, every shape
    looked: dict[tuple[str, str], dict[str, float | str]] = {}
    posted: dict[str, list[Posted]] = {}
    failed: dict[str, str] = {}
