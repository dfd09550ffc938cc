"""Where a batch's statements go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec

__all__ = ["Fetch", "Line"]

Fetch: TypeAlias = Callable[..., Awaitable[list[Any]]]
"""Sends a statement with its arguments down one lane."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One lane, and in whose name announcements are made over it."""

    fetch: Fetch
    origin: str
    inline: bool  # whether what is sent may travel in the announcement: false where some can only poll
