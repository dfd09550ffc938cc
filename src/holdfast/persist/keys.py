"""What may be a key, a namespace, a lifetime: the checks, once, in front of every driver."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, TypeAlias

__all__ = ["Expires", "Namespace", "check_key", "check_prefix", "milliseconds"]

Expires: TypeAlias = int | float | timedelta | None
"""Seconds, or a timedelta; None: never."""

MAX_KEY_BYTES: Final = 512
MAX_NAMESPACE_BYTES: Final = 192
LONGEST_MS: Final = 1 << 48
LONGEST_SECONDS: Final = LONGEST_MS // 1000
"""About 8,900 years: far beyond any use, and far from overflowing any engine's clock."""


def check_key(operation: str, key: str) -> str:
    """The key, if it is 1 to 512 bytes of UTF-8 without NUL; else `ValueError` or `TypeError`."""
    if not isinstance(key, str):
        raise TypeError(f"{operation}: a key is a str, not {type(key).__name__}")
    if not key:
        raise ValueError(f"{operation}: the key is empty")
    check_prefix(operation, key)
    return key


def check_prefix(operation: str, prefix: str) -> str:
    """The same for the start of a key, which may be empty."""
    if not isinstance(prefix, str):
        raise TypeError(f"{operation}: a prefix is a str, not {type(prefix).__name__}")
    shown = prefix if len(prefix) <= 60 else f"{prefix[:60]}…"
    if "\0" in prefix:
        raise ValueError(f"{operation} {shown!r}: a key cannot hold NUL")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{operation} {shown!r}: a key cannot hold lone surrogates") from None
    if size > MAX_KEY_BYTES:
        raise ValueError(f"{operation} {shown!r}: {size} bytes, over the {MAX_KEY_BYTES} that a key may have")
    return prefix


def milliseconds(expires: Expires) -> int | None:
    """The lifetime in whole milliseconds, rounded up; None: never expires.

    Raises:
        ValueError: zero, less, NaN, infinite, or beyond 8,900 years.
        TypeError: neither a number of seconds nor a timedelta.
    """
    if type(expires) is int and 0 < expires < LONGEST_SECONDS:  # nearly every call
        return expires * 1000
    if expires is None:
        return None
    if isinstance(expires, timedelta):
        ms = -(-expires // timedelta(milliseconds=1))
    elif isinstance(expires, bool) or not isinstance(expires, int | float):
        raise TypeError(f"expires: seconds or a timedelta, not {type(expires).__name__}")
    elif isinstance(expires, int):
        ms = expires * 1000
    elif math.isfinite(expires):
        # 1.1 s is 1,100 ms, not the 1,101 of its binary expansion; a nanosecond is still one.
        ms = math.ceil(round(expires * 1000, 6)) or int(expires > 0)
    else:
        raise ValueError(f"expires: {expires} is no lifetime")
    if not 0 < ms <= LONGEST_MS:
        raise ValueError(f"expires: {expires} is no lifetime; it must be more than zero seconds")
    return ms


class Namespace:
    """A place of one's own for keys: a path of names, and the texts that its keys start with.

    A stored key is `<path>:<family>:<key>`. The path joins its names with `/`,
    and a name's own `%`, `:` and `/` are escaped as in a URL, so that no two
    paths, and no path and key, can be taken for each other. Families keep apart
    what users store from what Holdfast itself does:

    ====== =====================================
    p      values
    o      leases of loaders (`get_or_create`)
    l      locks
    f      fences, which outlive their locks
    s      what the server keeps for itself
    ====== =====================================
    """

    __slots__ = ("path",)

    def __init__(self, name: str, above: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"namespace: a str, not {type(name).__name__}")
        check_key("namespace", name)
        escaped = name.replace("%", "%25").replace(":", "%3A").replace("/", "%2F")
        self.path = f"{above}/{escaped}" if above else escaped
        if len(self.path.encode()) > MAX_NAMESPACE_BYTES:
            raise ValueError(f"namespace {self.path!r}: over {MAX_NAMESPACE_BYTES} bytes")

    def prefix(self, family: str) -> str:
        """What the keys of one family start with."""
        return f"{self.path}:{family}:"
