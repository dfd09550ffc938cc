"""Which addresses may be connected to: one object, asked for each URL and for each address.

Whoever sends or verifies webmentions fetches URLs that strangers wrote. Without
a guard they reach what only this machine can: the database's port, the cloud's
metadata, the printer. The rules are a list of what may never be connected to;
everything else is the public internet.

Pure: no name is resolved here. `fetch` asks `check_url` before each hop, then
`check_address` for every address that the name has, then once more for the one
that a socket is made for. So a name whose answer changes meanwhile gains nothing.

Any port may be asked for: people run sites on 8080 and 8443, and a list of
"good" ports would keep them out without keeping out a service on port 80.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from holdfast.errors import AddressRefused

__all__ = ["NetworkPolicy"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# The registries of special addresses (RFC 6890 and what came since), spelled out: the standard library's
# `is_global` differs between the Python versions that Holdfast runs on.
_SPECIAL: Final = tuple(
    (ipaddress.ip_network(network), what)
    for what, networks in {
        "a metadata service of a cloud": "169.254.169.254/32 100.100.100.200/32 192.0.0.192/32 168.63.129.16/32"
        " fd00:ec2::254/128 fd20:ce::254/128",
        "the unspecified address, or one of this network": "0.0.0.0/8 ::/128",
        "a loopback address": "127.0.0.0/8 ::1/128",
        "a private address": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        "a carrier's own address": "100.64.0.0/10",
        "a link-local address": "169.254.0.0/16 fe80::/10",
        "a unique local address": "fc00::/7 fec0::/10",
        "a multicast or broadcast address": "224.0.0.0/4 255.255.255.255/32 ff00::/8",
        "reserved for protocols": "192.0.0.0/24 192.88.99.0/24 100::/64 2001:20::/28 2001:10::/28",
        "reserved for documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        "reserved for benchmarks": "198.18.0.0/15 2001:2::/48",
        "reserved": "240.0.0.0/4",
        "an IPv4 address inside IPv6": "::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48"
        " 2002::/16 2001::/32",
    }.items()
    for network in networks.split()
)
_PUBLIC_IPV6: Final = ipaddress.ip_network("2000::/3")  # all that was ever given out
_PROTOCOLS_IPV6: Final = ipaddress.ip_network("2001::/23")  # anycast, relays, identifiers: no web site
_ISATAP: Final = 0x0000_5EFE  # the middle of an interface identifier that ends in an IPv4 address (RFC 5214)

_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")
_ODD: Final = re.compile(r"[\x00-\x20\x7f\\]")
_NAME: Final = re.compile(r"[a-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What may be fetched, and from which addresses.

    `allow` names exceptions, for development: ``"127.0.0.1:8931"``,
    ``"[::1]:8931"``, or a name, ``"blog.test:8931"``, which then may lead
    anywhere. Each is one host with one port. There is no switch that lets
    everything through, here or in the environment.

    Raises:
        ValueError: an exception is not one host with one port.
    """

    allow: Sequence[str] = ()
    _exceptions: frozenset[tuple[str, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.allow, str):
            raise TypeError("allow is a list of exceptions, each 'host:port'")
        exceptions = [_exception(each) for each in self.allow]
        object.__setattr__(self, "allow", tuple(self.allow))
        object.__setattr__(self, "_exceptions", frozenset(exceptions))

    def check_url(self, url: str) -> None:
        """Nothing, where the URL may be fetched as far as can be seen without resolving its name.

        Raises:
            AddressRefused: it is not http or https, carries a user name, has no host, or its host is an
                address that may not be connected to, however that is spelled.
        """
        host, port = _host_and_port(url)
        if host.startswith("[") or _ENDS_IN_A_NUMBER.search(host):
            self.check_address(host, host.strip("[]"), port)

    def check_address(self, host: str, address: str, port: int) -> None:
        """Nothing, where `address`, found under `host`, may be connected to.

        The message does not name the address: it may be shown to whoever sent the URL, who is not to learn
        what a name of the inner network leads to.

        Raises:
            AddressRefused: with the reason.
        """
        where = _plain(host)
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError as exc:
            raise AddressRefused(f"connect to {where!r}: no address as they are commonly spelled") from exc
        if (where, port) in self._exceptions or (str(parsed), port) in self._exceptions:
            return
        what = _special(parsed)
        if what is not None:
            raise AddressRefused(f"connect to {where!r}: it is {what}")


def _special(address: Address) -> str | None:
    """What kind of address this is, where it is not one of the public internet."""
    for network, what in _SPECIAL:
        if address.version == network.version and address in network:
            return what
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "an address of one link"
        if address not in _PUBLIC_IPV6 or address in _PROTOCOLS_IPV6:
            return "not a public address"
        if (int(address) >> 32) & 0xFDFF_FFFF == _ISATAP:
            return "an IPv4 address inside IPv6"
    return None


def _host_and_port(url: str) -> tuple[str, int]:
    """The host in lower case, IPv6 in its brackets, and the port."""
    if _ODD.search(url):
        # Spaces, backslashes and control characters are where two readers of one URL see different hosts.
        raise AddressRefused("a URL with a space, a backslash or a control character is not fetched")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise AddressRefused("a URL that cannot be read is not fetched") from exc
    if parts.scheme not in ("http", "https"):
        raise AddressRefused(
            f"a URL with the scheme {parts.scheme[:20]!r} is not fetched, only http and https"
        )
    if "@" in parts.netloc:
        raise AddressRefused("a URL with a user name or a password is not fetched")
    if port == 0:
        raise AddressRefused("a URL with port 0 is not fetched")
    return _host(parts), port or (443 if parts.scheme == "https" else 80)


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return f"[{host}]"
    if not host.isascii():
        try:
            # As whoever connects will: full-width digits and the like become plain ones.
            host = host.encode("idna").decode()
        except UnicodeError as exc:
            raise AddressRefused("a URL whose host is no name is not fetched") from exc
    if not _NAME.fullmatch(host):
        raise AddressRefused("a URL whose host is no name is not fetched")
    return host


def _plain(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")


def _exception(entry: str) -> tuple[str, int]:
    """``host:port`` taken apart, or ValueError."""
    host, colon, port = entry.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"allow {entry!r}: each exception is one host with one port, such as '127.0.0.1:8931'"
        )
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if _ENDS_IN_A_NUMBER.search(host):
        return str(ipaddress.IPv4Address(host)), int(port)
    if not _NAME.fullmatch(host.lower()):
        raise ValueError(f"allow {entry!r}: no pattern and no range, but one host with one port")
    return _plain(host), int(port)
