"""Where a Redis is, and what redis-py is told when it makes a connection there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from holdfast.errors import StoreMisconfigured
from holdfast.store import StoreURL, closest

__all__ = ["Address", "address_of", "cluster_addresses", "node_address"]

_YES: Final = {"true": True, "1": True, "yes": True, "on": True, "": True}
_NO: Final = {"false": False, "0": False, "no": False, "off": False}


def _flag(text: str) -> bool:
    return {**_YES, **_NO}[text.lower()]


_COMMON: Final[Mapping[str, Callable[[str], Any]]] = {
    "db": int,
    "protocol": int,
    "client_name": str,
    "username": str,
    "password": str,
}
_TCP: Final[Mapping[str, Callable[[str], Any]]] = {"socket_keepalive": _flag, "socket_connect_timeout": float}
_TLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_check_hostname": _flag,
    "ssl_ciphers": str,
}
_SENTINEL: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl": _flag,
    "sentinel_username": str,
    "sentinel_password": str,
}


class Address:
    """A way to make connections to one place, and what to close when no more are needed."""

    def __init__(
        self,
        pool: Any,
        *,
        closing: tuple[Callable[[], Awaitable[Any]], ...] = (),
        master: bool = False,
        cluster: bool = False,
    ) -> None:
        self._pool = pool  # kept: a Sentinel's connections know it weakly
        self._closing = closing
        self.master = master  # whoever named the server said that it is the master
        self.cluster = cluster

    @classmethod
    def of_client(cls, client: Any) -> Address:
        """Where a `redis.asyncio.Redis` that was passed in connects to; it is never closed from here."""
        pool = getattr(client, "connection_pool", None)
        if pool is None or not hasattr(pool, "make_connection"):
            raise TypeError(f"a redis.asyncio.Redis client is needed, not {type(client).__name__}")
        return cls(pool, master=bool(getattr(pool, "is_master", False)))

    @property
    def database(self) -> int:
        """The number of the database that connections select."""
        return int(getattr(self._pool, "connection_kwargs", {}).get("db") or 0)

    def connection(self) -> Any:
        """A new connection of redis-py's, not yet connected. Never one of the pool's: ours is not given back."""
        return self._pool.make_connection()

    async def close(self) -> None:
        for close in self._closing:
            await close()


def address_of(url: StoreURL, timeout: float) -> Address:
    """The address in a store URL; no I/O.

    Raises:
        StoreMisconfigured: it cannot be understood, or has an option that redis-py does not know.
    """
    scheme = url.scheme
    if scheme == "redis+sentinel":
        return _sentinel(url, timeout)
    if scheme == "redis+unix":
        path = unquote(urlsplit(url.text).path)
        if not path:
            raise StoreMisconfigured(f"store URL {url}: no socket; redis+unix:///run/redis.sock")
        options = {"path": path, **_credentials(url), **_options(url, _COMMON)}
        return _pool(UnixDomainSocketConnection, options, timeout)
    tls = scheme in ("rediss", "valkeys")
    options = _options(url, {**_COMMON, **_TCP, **(_TLS if tls else {})})
    parts = urlsplit(url.text)
    try:
        options["host"], options["port"] = parts.hostname or "localhost", parts.port or 6379
    except ValueError as exc:
        raise StoreMisconfigured(f"store URL {url}: {exc}") from None
    if parts.path.strip("/"):
        options.setdefault("db", _database(url, parts.path.strip("/")))
    options = {**_credentials(url), **options}
    return _pool(SSLConnection if tls else Connection, {"socket_keepalive": True, **options}, timeout)


def cluster_addresses(url: StoreURL) -> tuple[list[tuple[str, int]], dict[str, Any], bool]:
    """The nodes named in a `redis+cluster://` URL, the options of every connection, and whether it is TLS."""
    options = _options(url, {**_COMMON, **_TCP, **_TLS, "ssl": _flag})
    if options.pop("db", 0) or urlsplit(url.text).path.strip("/") not in ("", "0"):
        raise StoreMisconfigured(f"store URL {url}: a cluster has one database, 0")
    tls = bool(options.pop("ssl", False))
    return _hosts(url, 6379), {**_credentials(url), **options}, tls


def node_address(host: str, port: int, options: Mapping[str, Any], tls: bool, timeout: float) -> Address:
    """One node of a cluster."""
    kwargs = {"socket_keepalive": True, **options, "host": host, "port": port}
    return _pool(SSLConnection if tls else Connection, kwargs, timeout, cluster=True)


def _pool(kind: type[Any], options: dict[str, Any], timeout: float, *, cluster: bool = False) -> Address:
    pool: Any = ConnectionPool(connection_class=kind, **_told(options, timeout))
    return Address(pool, closing=(pool.aclose,), cluster=cluster)


def _told(options: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """What every connection is told: RESP2 unless asked otherwise, and no second attempt behind our back."""
    return {
        "protocol": 2,
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,  # of the handshake; afterwards the wire's watchdog sees to it
        "retry": Retry(NoBackoff(), 0),
        **options,
    }


def _sentinel(url: StoreURL, timeout: float) -> Address:
    parts = urlsplit(url.text)
    name, _, database = unquote(parts.path.strip("/")).partition("/")
    if not name:
        raise StoreMisconfigured(
            f"store URL {url}: no master named; redis+sentinel://host:26379,host:26379/mymaster/0"
        )
    options = _options(url, {**_COMMON, **_TCP, **_TLS, **_SENTINEL})
    if database:
        options.setdefault("db", _database(url, database))
    tls = options.pop("ssl", False)
    asking = _told({}, timeout)
    for word in ("username", "password"):
        if f"sentinel_{word}" in options:
            asking[word] = options.pop(f"sentinel_{word}")
    if tls:
        asking.update({"ssl": True}, **{k: v for k, v in options.items() if k.startswith("ssl_")})
    untyped_sentinel, untyped_pool = cast("Any", Sentinel), cast("Any", SentinelConnectionPool)
    sentinel = untyped_sentinel(_hosts(url, 26379), sentinel_kwargs=asking)
    told = _told({**_credentials(url), **options}, timeout)
    pool = untyped_pool(name, sentinel, ssl=tls, is_master=True, **told)
    closing = (pool.aclose, *(each.aclose for each in sentinel.sentinels))
    return Address(pool, closing=closing, master=True)


def _hosts(url: StoreURL, port: int) -> list[tuple[str, int]]:
    found = []
    for place in urlsplit(url.text).netloc.rpartition("@")[2].split(","):
        try:
            each = urlsplit(f"//{place}")
            found.append((each.hostname or "localhost", each.port or port))
        except ValueError as exc:
            raise StoreMisconfigured(f"store URL {url}: {exc}") from None
    return found


def _credentials(url: StoreURL) -> dict[str, str]:
    user, _, password = urlsplit(url.text).netloc.rpartition("@")[0].partition(":")
    pairs = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in pairs.items() if value}


def _database(url: StoreURL, text: str) -> int:
    if not text.isdigit():
        raise StoreMisconfigured(f"store URL {url}: the database is a number, not {text!r}")
    return int(text)


def _options(url: StoreURL, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The query as redis-py's arguments."""
    found: dict[str, Any] = {}
    for name, text in parse_qsl(urlsplit(url.text).query, keep_blank_values=True):
        if name not in known:
            raise StoreMisconfigured(f"store URL {url}: unknown option {name!r}{closest(name, known)}")
        try:
            found[name] = known[name](text)
        except (ValueError, KeyError):
            raise StoreMisconfigured(f"store URL {url}: {name}={text!r} is no value for it") from None
    if found.get("protocol", 2) not in (2, 3):
        raise StoreMisconfigured(f"store URL {url}: protocol is 2 or 3")
    return found
