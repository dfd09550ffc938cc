"""How a Holdfast process is set up: what the environment says, and what the command line says over it.

Every field has one variable, `HOLDFAST_<FIELD>`; `HOLDFAST_ALLOW_HOST` is a
list with commas. What the command line gives wins. A `HOLDFAST_*` variable that
nobody reads is an error that suggests the right one, because a setting that is
silently ignored is found weeks later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from holdfast.errors import StoreMisconfigured
from holdfast.store import closest, masked

__all__ = ["Settings"]

_PREFIX = "HOLDFAST_"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

# Kubernetes describes a service called "holdfast" to every container beside it in variables of these names.
# HOLDFAST_SOAK is the test suite's own.
_NOT_OURS = re.compile(r"HOLDFAST_(SOAK|SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands and the server go by. `repr()` shows neither the token nor a password."""

    store: str = "memory://"
    namespace: str = "holdfast"
    auto_migrate: bool | None = None  # None: as the driver does by default
    max_bytes: int = 1 << 20  # of one value, encoded
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    root_path: str = ""  # where a proxy serves this: "/store"
    forwarded_allow_ips: str = "127.0.0.1"  # whose X-Forwarded-* are believed
    allow_hosts: tuple[str, ...] = ()  # names the server answers to, beside the bind address and localhost
    site: str | None = None  # "https://alice.example"; its host is allowed too, and mentions of it are served
    webmention_accept: str = "known"  # who needs no moderation: all, known or none
    dry_outbox: bool = False  # rehearse mentions that go out, and tell nobody
    chat: bool = False  # the demonstration chat, at /chat
    token: str | None = None  # instead of the one that the store holds the hash of
    token_file: str | None = None  # a file whose first line is that token

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """The settings of the environment, with those in `given` that are not None put over them.

        Raises:
            StoreMisconfigured: a variable is unknown or cannot be read; `given` is checked alike.
        """
        environ = os.environ if environ is None else environ
        fields = {name: value for name, value in given.items() if value is not None}
        for name, text in environ.items():
            field = _field(name, text)
            if field is not None and field not in fields and text != "":
                fields[field] = _read(field, name, text)
        unknown = sorted(set(fields) - set(cls.__struct_fields__))
        if unknown:
            raise TypeError(f"Settings: unknown {unknown[0]!r}{closest(unknown[0], cls.__struct_fields__)}")
        return cls(**fields)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise StoreMisconfigured(f"port {self.port}: not between 0 and 65535")
        if self.workers < 1:
            raise StoreMisconfigured(f"workers {self.workers}: at least one is needed")
        if self.max_bytes < 1:
            raise StoreMisconfigured(f"max_bytes {self.max_bytes}: at least one is needed")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise StoreMisconfigured(f"root path {self.root_path!r}: it starts with a slash and ends without")
        if self.site is not None and not re.match(r"https?://[^/?#@\s]+(/[^?#\s]*)?$", self.site):
            raise StoreMisconfigured(f"site {self.site!r}: a URL such as https://alice.example")
        if self.webmention_accept not in ("all", "known", "none"):
            raise StoreMisconfigured(f"webmention accept {self.webmention_accept!r}: all, known or none")
        if self.token is not None and (not self.token.isascii() or len(self.token) < 16):
            raise StoreMisconfigured("token: at least 16 ASCII characters, so that it cannot be guessed")

    def environment(self) -> dict[str, str]:
        """The variables from which `from_environment` reads these settings again, for worker processes."""
        found: dict[str, str] = {}
        for field, name in _NAMES.items():
            value = getattr(self, field)
            if isinstance(value, tuple):
                value = ",".join(value)
            if isinstance(value, bool):
                value = "true" if value else "false"
            if value is not None:
                found[name] = str(value)
        return found

    def given_token(self) -> str | None:
        """The token that was set, by value or by file; None: the store holds the hash of one.

        Raises:
            StoreMisconfigured: the file cannot be read, or what it holds is no token.
        """
        if self.token is not None or self.token_file is None:
            return self.token
        try:
            with Path(self.token_file).open(encoding="ascii") as file:
                text = file.readline(4096).strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise StoreMisconfigured(f"token file {self.token_file!r}: {_reason(exc)}") from exc
        if len(text) < 16:
            raise StoreMisconfigured(f"token file {self.token_file!r}: its first line is under 16 characters")
        return text

    def __repr__(self) -> str:
        shown = {field: getattr(self, field) for field in self.__struct_fields__}
        shown["store"] = masked(self.store)
        shown["token"] = None if self.token is None else "***"
        return f"Settings({', '.join(f'{field}={value!r}' for field, value in shown.items())})"

    __str__ = __repr__


# field -> variable
_NAMES = {
    field: _PREFIX + ("ALLOW_HOST" if field == "allow_hosts" else field.upper())
    for field in Settings.__struct_fields__
}
_FIELDS = {name: field for field, name in _NAMES.items()}


def _field(name: str, text: str) -> str | None:
    """The field that a variable sets; None: it is not ours."""
    if not name.startswith(_PREFIX) or _NOT_OURS.fullmatch(name):
        return None
    if name == "HOLDFAST_PORT" and text.startswith(("tcp://", "udp://")):
        return None  # Kubernetes again
    if name not in _FIELDS:
        raise StoreMisconfigured(f"environment: unknown {name}{closest(name, _FIELDS)}")
    return _FIELDS[name]


def _read(field: str, name: str, text: str) -> Any:
    if field in ("port", "workers", "max_bytes"):
        try:
            return int(text)
        except ValueError:
            raise StoreMisconfigured(f"environment: {name}={text!r} is not a whole number") from None
    if field in ("auto_migrate", "chat", "dry_outbox"):
        if text.lower() not in _YES + _NO:
            raise StoreMisconfigured(f"environment: {name}={text!r} is neither true nor false")
        return text.lower() in _YES
    if field == "allow_hosts":
        return tuple(host.strip() for host in text.split(",") if host.strip())
    return text


def _reason(exc: Exception) -> str:
    return (exc.strerror or "cannot be read") if isinstance(exc, OSError) else "not ASCII text"
