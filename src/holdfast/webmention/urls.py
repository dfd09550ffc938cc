"""The URL rules of both directions: one spelling for one URL, and everything that is no web address is None.

What the WHATWG's URL standard says of http and https, as far as links are
concerned. Stricter in two places, because these URLs are stored, shown and
fetched: userinfo makes it no URL at all, and neither do percent signs in a host.
Pure, and linear in the length of what it is given.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["clean", "digest", "host_of", "resolve", "same_site", "without_fragment"]

MAX_LENGTH: Final = 8192
"""Of a URL in its clean form. Longer ones exist and are links to nowhere that receives mentions."""

_AROUND = "".join(map(chr, range(0x21)))  # what the standard strips at both ends: C0 controls and space
_BREAKS = str.maketrans("", "", "\t\n\r")  # and what it takes out of the middle
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*+):")
_TO_ENCODE = re.compile(
    r"[^!#-;=?-_a-z|~]++"
)  # in path, query and fragment; what is encoded already stays so
_IN_HOST = re.compile(r"[a-z0-9._~!$&'()*+,;=-]+")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class _Parts(NamedTuple):
    """A clean URL, taken apart."""

    scheme: str
    authority: str  # host and, where it is not the default, port
    path: str
    query: str | None
    fragment: str | None

    def __str__(self) -> str:
        query = "" if self.query is None else "?" + self.query
        fragment = "" if self.fragment is None else "#" + self.fragment
        return f"{self.scheme}://{self.authority}{self.path}{query}{fragment}"


def clean(url: str) -> str | None:
    """The absolute http(s) URL in its one spelling; None where it is none, or has userinfo.

    Scheme and host in lower case, the host in ASCII, the default port dropped,
    an empty path `/`, dot segments resolved; what is not ASCII or no URL
    character is percent-encoded. Query and fragment stay.

    >>> clean(" HTTPS://Alice.Example:443/a/./b c#d "), clean("https://me@alice.example/")
    ('https://alice.example/a/b%20c#d', None)
    """
    parts = _absolute(_trimmed(url))
    return None if parts is None else _bounded(parts)


def resolve(base: str, href: str) -> str | None:
    """Where a link in the document at `base` leads, clean; None where that is no web address. Never raises.

    >>> resolve("https://alice.example/a/b?c", "../d"), resolve("https://alice.example/a?c#d", "")
    ('https://alice.example/d', 'https://alice.example/a?c')
    """
    href = _trimmed(href)
    found = _SCHEME.match(href)
    if found is None:
        start = _absolute(_trimmed(base))
        return None if start is None else _joined(start, href)
    scheme, rest = found[1].lower(), href[found.end() :]
    if scheme not in _PORTS:
        return None
    start = _absolute(_trimmed(base))
    if start is not None and start.scheme == scheme and rest[:2].replace("\\", "/") != "//":
        return _joined(start, rest)  # `https:page` is relative, where the page is https itself
    parts = _absolute(f"{scheme}://{rest.lstrip(_SLASHES)}")
    return None if parts is None else _bounded(parts)


def without_fragment(url: str) -> str:
    """The URL up to its fragment, otherwise as it is."""
    return url.partition("#")[0]


def host_of(url: str) -> str:
    """In lower case, without port, an IPv6 address without brackets; empty where it is no URL."""
    parts = _absolute(_trimmed(url))
    if parts is None:
        return ""
    host, _ = _split_port(parts.authority)
    return host.strip("[]")


def same_site(url: str, site: str) -> bool:
    """Whether the URL is the site's or below it, whichever of http and https either says.

    A site may have a path: its own are then those below it, by whole segments.
    """
    mine, other = _absolute(_trimmed(site)), _absolute(_trimmed(url))
    if mine is None or other is None or mine.authority != other.authority:
        return False
    root = mine.path.rstrip("/")
    return other.path == root or other.path.startswith(root + "/")


def digest(*parts: str) -> str:
    """An id for documents, made of the parts and of where they begin and end: 40 hex digits of a SHA-256."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]


_SLASHES = "/\\"


def _trimmed(url: str) -> str:
    return url.strip(_AROUND).translate(_BREAKS)


def _bounded(parts: _Parts) -> str | None:
    url = str(parts)
    return url if len(url) <= MAX_LENGTH else None


@lru_cache(maxsize=512)  # one URL is asked about a dozen times while it is told
def _absolute(url: str) -> _Parts | None:
    """Of a trimmed URL, with its scheme and both slashes; the host must not be empty."""
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    rest = url[len(scheme) + 1 :]
    if scheme not in _PORTS or rest[:2].replace("\\", "/") != "//":
        return None
    end = min((at for mark in "/\\?#" if (at := rest.find(mark, 2)) >= 0), default=len(rest))
    authority = _authority(rest[2:end], scheme)
    if authority is None:
        return None
    path, query, fragment = _tail(rest[end:])
    return _encoded(scheme, authority, path, query, fragment)


def _encoded(
    scheme: str, authority: str, path: str, query: str | None, fragment: str | None
) -> _Parts | None:
    try:
        return _Parts(
            scheme,
            authority,
            _flat(_percent(path)),
            None if query is None else _percent(query),
            None if fragment is None else _percent(fragment),
        )
    except UnicodeEncodeError:  # a lone surrogate is no text
        return None


def _joined(base: _Parts, href: str) -> str | None:
    """A trimmed reference without scheme, seen from a clean URL."""
    if href[:2].replace("\\", "/") == "//":
        parts = _absolute(f"{base.scheme}://{href.lstrip(_SLASHES)}")
        return None if parts is None else _bounded(parts)
    path, query, fragment = _tail(href)
    if not path:
        path = base.path
        query = base.query if query is None else query
    elif not path.startswith("/"):
        path = base.path[: base.path.rfind("/") + 1] + path
    parts = _encoded(base.scheme, base.authority, path, query, fragment)
    return None if parts is None else _bounded(parts)


def _tail(rest: str) -> tuple[str, str | None, str | None]:
    """Path, query and fragment; a backslash in the path is a slash, as browsers have it."""
    rest, hash_, fragment = rest.partition("#")
    path, mark, query = rest.partition("?")
    return path.replace("\\", "/"), query if mark else None, fragment if hash_ else None


def _percent(text: str) -> str:
    return _TO_ENCODE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def _flat(path: str) -> str:
    """Without dot segments; it begins with a slash."""
    if "/." not in path and "/%2" not in path:
        return path or "/"
    kept: list[str] = []
    segments = path.split("/")[1:]
    for at, segment in enumerate(segments):
        dots = _DOT.sub(".", segment) if len(segment) <= 6 else ""
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(segment)
            continue
        if at == len(segments) - 1:
            kept.append("")  # what ends in a dot segment is a folder
    return "/" + "/".join(kept)


def _authority(text: str, scheme: str) -> str | None:
    host, port = _split_port(text)
    if port and not (port.isascii() and port.isdigit() and len(port.lstrip("0")) <= 5):
        return None
    number = int(port) if port else _PORTS[scheme]
    host = _host(host) or ""
    if not host or number > 65535:
        return None
    return host if number == _PORTS[scheme] else f"{host}:{number}"


def _split_port(authority: str) -> tuple[str, str]:
    """Host (with its brackets) and port, as they stand there."""
    if authority.startswith("["):
        host, closed, port = authority.partition("]")
        return (host + "]", port[1:]) if closed and port[:1] in ("", ":") else ("", "")
    host, _, port = authority.partition(":")
    return host, port


def _host(host: str) -> str | None:
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]" if "%" not in host else None
        except ValueError:
            return None
    if len(host) > 253:
        return None
    if not host.isascii():
        host = unicodedata.normalize("NFKC", host.lower()).lower().replace("。", ".")
        try:
            host = ".".join(label if label.isascii() else _punycode(label) for label in host.split("."))
        except UnicodeError:
            return None
    host = host.lower()
    if _IN_HOST.fullmatch(host) is None or host.startswith("."):
        return None
    last = host.rstrip(".").rpartition(".")[2]
    return host if _NUMBER.fullmatch(last) is None else _ipv4(host)


def _punycode(label: str) -> str:
    label.encode()  # a lone surrogate raises here; the codec below would take it
    return "xn--" + label.encode("punycode").decode("ascii")


def _ipv4(host: str) -> str | None:
    """Dotted, of the decimal, octal, hexadecimal and shortened forms that name resolvers take for an address."""
    numbers: list[int] = []
    for part in host.removesuffix(".").split("."):
        if _NUMBER.fullmatch(part) is None:
            return None
        radix = 16 if part.startswith("0x") else 8 if part.startswith("0") else 10
        try:
            numbers.append(int(part[2:] or "0", 16) if radix == 16 else int(part, radix))
        except ValueError:  # an 8 or 9 in an octal number
            return None
    *high, low = numbers
    if len(numbers) > 4 or any(number > 255 for number in high) or low >= 256 ** (5 - len(numbers)):
        return None
    value = low + sum(number << (8 * (3 - at)) for at, number in enumerate(high))
    return str(ipaddress.IPv4Address(value))
