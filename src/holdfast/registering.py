"""How a store URL becomes a driver: what the registries of the capabilities have in common.

Each registry names its capability's drivers as text, in a table `SCHEMES` of
its own; nothing of them is imported before a URL asks for it. One URL serves
every capability, so they know the same schemes and the same options.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec

from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.store import StoreURL, closest, masked

__all__ = ["Registered", "driver_from", "shipped", "with_installed"]


class Registered(msgspec.Struct, frozen=True):
    """A driver class as text, what installs it, and the options its URL may carry."""

    target: str  # "module:Class"
    extra: str | None = None
    options: tuple[str, ...] = ()
    foreign: bool = False  # the rest of the query belongs to the client library
    example: str = ""


def shipped(drivers: str) -> dict[str, Registered]:
    """Holdfast's own schemes, whose drivers are the modules below the package named `drivers`."""
    redis = Registered(
        f"{drivers}.redis:RedisDriver", "redis", ("timeout",), True, "redis://localhost:6379/0"
    )
    postgres = Registered(
        f"{drivers}.postgres:PostgresDriver",
        "postgres",
        ("pgbouncer", "lanes", "listen", "timeout"),
        True,
        "postgresql://user@localhost/app",
    )
    return {
        "memory": Registered(f"{drivers}.memory:MemoryDriver", example="memory://"),
        "sqlite": Registered(
            f"{drivers}.sqlite:SqliteDriver",
            options=("synchronous", "busy_timeout", "max_page_count"),
            example="sqlite:///app.db",
        ),
        "redis": redis,
        "rediss": redis,
        "redis+unix": redis,
        "redis+sentinel": redis,
        "valkey": redis,
        "valkeys": redis,
        "postgresql": postgres,
        "postgres": postgres,
        "sqlalchemy": Registered(
            f"{drivers}.sqlalchemy:SQLAlchemyDriver",
            "sqlalchemy",
            ("timeout", "poll"),
            True,
            "sqlalchemy+mysql+asyncmy://user@localhost/app",
        ),
    }


def with_installed(own: Mapping[str, Registered], group: str) -> dict[str, Registered]:
    """The table, and what installed packages add to it by entry points of the group."""
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    found = dict(own)
    for point in entry_points(group=group):
        if point.name not in found:
            try:
                options = tuple(getattr(point.load(), "OPTIONS", ()))
            except Exception:  # noqa: BLE001 - a broken package is told to who names its scheme, not to everyone
                options = ()
            found[point.name] = Registered(point.value, options=options, foreign=True)
    return found


def driver_from(store: str, own: Mapping[str, Registered], group: str) -> Any:
    """The driver for a URL, made without I/O.

    Raises:
        StoreMisconfigured: unknown scheme or option, with the nearest known one.
        MissingExtra: the client library is not installed, with the line that installs it.
    """
    scheme = store.partition("://")[0]
    name = "sqlalchemy" if scheme.startswith("sqlalchemy+") else scheme
    known = own if name in own else with_installed(own, group)
    if "://" not in store or name not in known:
        raise StoreMisconfigured(
            f"store URL {masked(store)!r}: unknown scheme {scheme!r}{closest(scheme, known)}"
            if "://" in store
            else f"store URL {masked(store)!r}: no scheme; a file is sqlite:///app.db, memory is memory://"
        )
    entry = known[name]
    url = StoreURL.parse(store, own=entry.options, foreign=entry.foreign)
    module, _, attribute = entry.target.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except ModuleNotFoundError as exc:
        if entry.extra is None or (exc.name or "").startswith("holdfast"):
            raise
        raise MissingExtra(
            f'store URL {url}: {exc.name} is not installed; pip install "holdfast[{entry.extra}]"'
        ) from exc
    return kind.from_url(url)
