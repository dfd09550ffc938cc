"""HTTP for webmentions: every hop through the guard, everything within bounds.

=======================  ============================================================================
the whole fetch          `deadline` seconds: names, connecting, redirects, the last byte of the body
the body                 `max_bytes` after decompression; what is more is cut, which is no error
the head                 64 KiB, 128 lines, 8190 bytes each; what is promised before it (1xx) included
the wire                 twice the body: what chunks and compression add to an honest one
redirects                `redirects`, each looked at by the policy anew
connections              4 to one host and port; what is beyond waits, within its deadline
=======================  ============================================================================

No cookies, no proxies out of the environment, no credentials out of a `.netrc`.
Certificates are verified. A certificate that is not good is `transient` all the
same: most have expired and are renewed within days, and nothing was sent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from holdfast.errors import Closed, FetchFailed, MissingExtra
from holdfast.webmention.pages import Page
from holdfast.webmention.policy import NetworkPolicy
from holdfast.webmention.urls import resolve as resolved
from holdfast.webmention.urls import without_fragment

try:
    import aiohttp
    from yarl import URL

    from holdfast.webmention.fetch_addresses import Resolve, SystemNames, connecting_to, guarded_connector
    from holdfast.webmention.fetch_bodies import ACCEPTED_CODINGS, Body
    from holdfast.webmention.fetch_wire import bound_the_wire
except ModuleNotFoundError as exc:
    if (exc.name or "").startswith("holdfast"):
        raise
    raise MissingExtra('fetch: pip install "holdfast[webmention]"') from exc

__all__ = ["Fetcher"]

USER_AGENT: Final = "Holdfast (Webmention)"
_LOG: Final = logging.getLogger("holdfast.webmention")
_MAX_ANSWER_BYTES: Final = 1 << 16  # to a POST: a sentence or a page with one
_ANSWER_SECONDS: Final = 2.0  # that the body of such an answer is waited for
_ONWARD: Final = {"GET": {301, 302, 303, 307, 308}, "POST": {307, 308}}
_SECRET: Final = {"authorization", "cookie", "proxy-authorization"}
_NO_TIMEOUTS: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)


class _Asked(msgspec.Struct, frozen=True):
    """One fetch, as it was asked for."""

    method: str
    url: str
    headers: dict[str, str]
    until: float  # on the loop's clock
    max_bytes: int
    data: bytes | None = None
    enough: Callable[[Page, bytes], bool] | None = None


class Fetcher:
    """The `Web` of `webmention.pages`: an async context manager over one pool of connections.

    `resolve` replaces the system's resolver: an async function from a name to
    its addresses, each of which is checked all the same. `tls` is a context
    with other roots than the system's; one that does not verify is refused.

    Safe for any number of tasks of one event loop; how many fetch at once is
    theirs to bound.
    """

    def __init__(
        self,
        policy: NetworkPolicy | None = None,
        *,
        user_agent: str = USER_AGENT,
        deadline: float = 10.0,
        max_bytes: int = 1 << 20,
        redirects: int = 20,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if tls is not None and not (tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED):
            raise ValueError("tls: a context that verifies neither name nor certificate is not used")
        self.policy = NetworkPolicy() if policy is None else policy
        self.deadline = deadline
        self._user_agent = user_agent
        self._max_bytes = max_bytes
        self._redirects = redirects
        self._resolve = resolve
        self._tls = tls
        self._names: SystemNames | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> Self:
        """Ready to fetch; opened already is no error. Exceptions of the policy are logged, once here."""
        if self._session is not None:
            return self
        if self.policy.allow:
            _LOG.warning(
                "fetches may connect to these besides the public internet: %s", ", ".join(self.policy.allow)
            )
        resolve = self._resolve
        if resolve is None:
            resolve = self._names = SystemNames()
        connector = guarded_connector(self.policy, resolve, self._tls)
        bound_the_wire(connector, self._max_bytes)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=_NO_TIMEOUTS,
            raise_for_status=False,
        )
        return self

    async def close(self) -> None:
        """Close every connection; fetches under way fail."""
        session, self._session = self._session, None
        names, self._names = self._names, None
        try:
            if session is not None:
                await session.close()
        finally:
            if names is not None:
                names.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(
        self,
        url: str,
        *,
        accept: str = "text/html, */*;q=0.5",
        headers: Mapping[str, str] = {},
        max_bytes: int = 1 << 20,
        enough: Callable[[Page, bytes], bool] | None = None,
    ) -> Page:
        """One GET, redirects followed; a body that is too long is `cut`, at the smaller of both bounds.

        `enough(page, body so far)` is asked once before the body, then as it
        grows, by a quarter each time, so that all calls together see about five
        times the body; where it says so, the rest is not read.

        Raises:
            AddressRefused: the guard said no, at whichever hop.
            FetchFailed: no answer within the deadline, or none that can be used.
        """
        asked = self._asked("GET", url, {"Accept": accept, **headers}, min(max_bytes, self._max_bytes))
        return await self._follow(msgspec.structs.replace(asked, enough=enough))

    async def post(self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] = {}) -> Page:
        """One form-encoded POST; 307 and 308 are followed with the body, other redirects are the answer.

        Once the status is there it counts: a body that never ends, or breaks,
        is `cut` and no failure, or what was accepted would be delivered again.

        Raises:
            AddressRefused: the guard said no, at whichever hop.
            FetchFailed: no answer within the deadline, or none that can be used.
        """
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/plain, */*;q=0.5"}
        asked = self._asked("POST", url, {**kind, **headers}, min(_MAX_ANSWER_BYTES, self._max_bytes))
        return await self._follow(msgspec.structs.replace(asked, data=urlencode(fields).encode()))

    def _asked(self, method: str, url: str, headers: dict[str, str], max_bytes: int) -> _Asked:
        always = {"User-Agent": self._user_agent, "Accept-Encoding": ACCEPTED_CODINGS}
        until = asyncio.get_running_loop().time() + self.deadline
        return _Asked(method, url, {**always, **headers}, until, max_bytes)

    async def _follow(self, asked: _Asked) -> Page:
        """Hop by hop to the answer."""
        trail: list[str] = []
        url, headers = asked.url, asked.headers
        while True:
            self.policy.check_url(url)
            with _as_ours(asked.method, url, self.deadline):
                response = await self._head(asked, url, headers)
                try:
                    onward = _onward(asked.method, url, response)
                    if onward is None:
                        return await self._answer(asked, url, tuple(trail), response)
                finally:
                    _let_go(response)
            trail.append(url)
            if len(trail) > self._redirects:
                raise FetchFailed(
                    f"{asked.method} {asked.url!r}: more than {self._redirects} redirects", transient=False
                )
            if _origin(onward) != _origin(url):
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET}
            url = onward

    async def _head(self, asked: _Asked, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """The response without its body."""
        if self._session is None:
            raise Closed(f"{asked.method}: the Fetcher is not open")
        target = _target(url)
        connecting_to.set(target.raw_host or "")
        async with asyncio.timeout_at(asked.until):
            response = await self._session.request(
                asked.method, target, headers=headers, data=asked.data, allow_redirects=False
            )
        if response.status < 200:  # 101: it would speak another protocol from now on
            _let_go(response)
            raise FetchFailed(
                f"{asked.method} {url!r}: the answer's head is none to be used", transient=False
            )
        return response

    async def _answer(
        self, asked: _Asked, url: str, trail: tuple[str, ...], response: aiohttp.ClientResponse
    ) -> Page:
        """The page, its body read as far as it is wanted."""
        page = Page(
            url=without_fragment(url), status=response.status, headers=_headers(response), redirects=trail
        )
        if asked.enough is not None and asked.enough(page, b""):
            return page
        body = Body(f"{asked.method} {url!r}", page.header("content-encoding"), asked.max_bytes)
        if asked.method == "POST":
            return await self._whatever_is_said(asked, page, body, response)
        async with asyncio.timeout_at(asked.until):
            found = await _read(response, body, page, asked.enough)
        data = bytes(body.data) if found else body.finish()
        return msgspec.structs.replace(page, body=data, cut=body.cut)

    async def _whatever_is_said(
        self, asked: _Asked, page: Page, body: Body, response: aiohttp.ClientResponse
    ) -> Page:
        soon = min(asked.until, asyncio.get_running_loop().time() + _ANSWER_SECONDS)
        cut = False
        try:
            async with asyncio.timeout_at(soon):
                await _read(response, body, page, None)
        except (TimeoutError, aiohttp.ClientError, OSError, FetchFailed):
            cut = True  # the status has said what counts
        return msgspec.structs.replace(page, body=bytes(body.data), cut=cut or body.cut)


async def _read(
    response: aiohttp.ClientResponse,
    body: Body,
    page: Page,
    enough: Callable[[Page, bytes], bool] | None,
) -> bool:
    """Fill `body` to its end or its bound; True where `enough` ended it before."""
    ask_at = 1
    async for raw in response.content.iter_any():
        body.feed(raw)
        if enough is not None and len(body.data) >= ask_at:
            if enough(page, bytes(body.data)):
                return True
            ask_at = len(body.data) + len(body.data) // 4 + 1
        if body.full:
            break
    return False


@contextmanager
def _as_ours(method: str, url: str, deadline: float) -> Iterator[None]:
    """What the client library raises, as FetchFailed."""
    what = f"{method} {url!r}"
    try:
        yield
    except TimeoutError as exc:
        raise FetchFailed(f"{what}: no end after {deadline:g} s") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise FetchFailed(f"{what}: its certificate is not good") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise FetchFailed(f"{what}: its name has no address") from exc
    except aiohttp.ClientConnectorError as exc:
        raise FetchFailed(f"{what}: cannot be connected to ({exc.os_error.strerror or 'no TLS'})") from exc
    except aiohttp.ClientResponseError as exc:
        raise FetchFailed(f"{what}: the answer's head is not HTTP, or too large", transient=False) from exc
    except aiohttp.ClientPayloadError as exc:
        raise FetchFailed(f"{what}: the answer breaks off, or is not framed as HTTP says") from exc
    except ValueError as exc:  # InvalidURL is one
        raise FetchFailed(f"{what}: cannot be asked for", transient=False) from exc
    except (aiohttp.ClientError, OSError, RuntimeError) as exc:
        raise FetchFailed(f"{what}: the connection was lost") from exc


def _onward(method: str, url: str, response: aiohttp.ClientResponse) -> str | None:
    """Where this answer leads; None where it is the last."""
    if response.status not in _ONWARD[method]:
        return None
    location = next((value for name, value in _headers(response) if name == "location"), "").strip()
    if not location:
        return None
    onward = resolved(url, location)
    if onward is None:
        raise FetchFailed(f"{method} {url!r}: redirects to what is no http or https URL", transient=False)
    return onward


def _target(url: str) -> URL:
    """The URL as it was given, byte for byte, where it can be sent so; else with what cannot escaped."""
    plain = url.isascii() and not any(odd in url for odd in ' "<>`{}|^')
    return URL(without_fragment(url), encoded=plain)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _headers(response: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name).lower(), _text(value)) for name, value in response.raw_headers)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _let_go(response: aiohttp.ClientResponse) -> None:
    """Back to the pool where the body was read to its end; else closed at once, whatever still comes."""
    connection = response.connection
    if connection is not None and connection.transport is not None and not response.content.is_eof():
        # A polite end of TLS would wait for the other side.
        connection.transport.abort()
    response.release()
