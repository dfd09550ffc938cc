"""Which driver serves which URL: the one place that names drivers, and only as text.

Third parties register a scheme with an entry point in the group
`holdfast.persist` whose name is the scheme and whose object is the driver
class; `Driver.from_url(url)` and an `OPTIONS` tuple is all it needs beside the
contract.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import msgspec

from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.persist.driver import Driver
from holdfast.store import StoreURL, closest, masked

__all__ = ["SCHEMES", "driver_for", "schemes"]


class Registered(msgspec.Struct, frozen=True):
    """A driver class as text, what installs it, and the options its URL may carry."""

    target: str  # "module:Class"
    extra: str | None = None
    options: tuple[str, ...] = ()
    foreign: bool = False  # the rest of the query belongs to the client library
    example: str = ""


_D = "holdfast.persist.drivers"
_REDIS = Registered(f"{_D}.redis:RedisDriver", "redis", ("timeout",), True, "redis://localhost:6379/0")
_POSTGRES = Registered(
    f"{_D}.postgres:PostgresDriver",
    "postgres",
    ("pgbouncer", "lanes", "listen", "timeout"),
    True,
    "postgresql://user@localhost/app",
)

SCHEMES: dict[str, Registered] = {
    "memory": Registered(f"{_D}.memory:MemoryDriver", example="memory://"),
    "sqlite": Registered(
        f"{_D}.sqlite:SqliteDriver",
        options=("synchronous", "busy_timeout", "max_page_count"),
        example="sqlite:///app.db",
    ),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+unix": _REDIS,
    "redis+sentinel": _REDIS,
    "redis+cluster": Registered(
        f"{_D}.redis:RedisClusterDriver", "redis", ("timeout",), True, "redis+cluster://localhost:7000"
    ),
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "sqlalchemy": Registered(
        f"{_D}.sqlalchemy:SQLAlchemyDriver",
        "sqlalchemy",
        ("timeout", "poll"),
        True,
        "sqlalchemy+mysql+asyncmy://user@localhost/app",
    ),
}


def schemes() -> dict[str, Registered]:
    """Every scheme with its driver: Holdfast's own, and those that installed packages add."""
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    found = dict(SCHEMES)
    for point in entry_points(group="holdfast.persist"):
        if point.name not in found:
            try:
                options = tuple(getattr(point.load(), "OPTIONS", ()))
            except Exception:  # noqa: BLE001 - a broken package is told to who names its scheme, not to everyone
                options = ()
            found[point.name] = Registered(point.value, options=options, foreign=True)
    return found


def driver_for(store: str | Driver) -> Driver:
    """The driver for a URL, made without I/O; a driver is answered as it is.

    Raises:
        StoreMisconfigured: unknown scheme or option, with the nearest known one.
        MissingExtra: the client library is not installed, with the line that installs it.
    """
    if not isinstance(store, str):
        return store
    scheme = store.partition("://")[0]
    name = "sqlalchemy" if scheme.startswith("sqlalchemy+") else scheme
    known = SCHEMES if name in SCHEMES else schemes()
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
    return cast("Driver", cast("Any", kind).from_url(url))
