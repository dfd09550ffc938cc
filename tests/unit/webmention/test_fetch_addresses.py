"""The guard where it counts: real connections, and the ones that are never made."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from holdfast.errors import AddressRefused, FetchFailed
from holdfast.webmention.fetch import Fetcher
from holdfast.webmention.fetch_addresses import SystemNames, connecting_to, guarded_connector
from holdfast.webmention.policy import NetworkPolicy

from .certificates import tls_for
from .site_lab import Lab, Site, head


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab() as lab:
        yield lab


@pytest.fixture
async def bob(lab: Lab) -> Site:
    """A site that may be reached."""
    site = await lab.site("bob.example")
    site.page("/", "hello")
    return site


@pytest.fixture
async def inner(lab: Lab, bob: Site) -> Site:
    """A service of this machine that may not, on the same port as `bob`."""
    site = await lab.site(host="127.0.0.3", port=bob.port)
    site.page("/", "secret")
    return site


def only(site: Site) -> NetworkPolicy:
    return NetworkPolicy(allow=[site.where])


async def test_a_name_is_connected_to_at_its_address_with_the_name_as_host(lab: Lab, bob: Site) -> None:
    async with lab.fetcher(only(bob)) as web:
        page = await web.get(bob.url(name="bob.example"))
    assert page.body == b"hello"
    assert bob.requests[0].headers["host"] == f"bob.example:{bob.port}"
    assert lab.resolved == ["bob.example"]


async def test_without_an_exception_nothing_on_this_machine_is_reached(
    lab: Lab, bob: Site, inner: Site
) -> None:
    lab.names |= {"local.example": ["127.0.0.1"]}
    port = bob.port
    async with lab.fetcher(NetworkPolicy()) as web:
        for url in (
            bob.url(),
            f"http://local.example:{port}/",
            f"http://2130706433:{port}/",
            f"http://0x7f000001:{port}/",
            f"http://0177.0.0.1:{port}/",
            f"http://127.1:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/",
            f"http://①②⑦.0.0.1:{port}/",
            inner.url(),
        ):
            with pytest.raises(AddressRefused):
                await web.get(url)
            with pytest.raises(AddressRefused):
                await web.post(url, {"source": "s"})
    assert (bob.connections, inner.connections) == (0, 0)


async def test_a_name_with_mixed_answers_is_refused_whichever_comes_first(
    lab: Lab, bob: Site, inner: Site
) -> None:
    async with lab.fetcher(only(bob)) as web:
        for answers in (
            ["127.0.0.1", "127.0.0.3"],
            ["127.0.0.3", "127.0.0.1"],
            ["127.0.0.1", "::ffff:127.0.0.1"],
        ):
            lab.names["mixed.example"] = answers
            with pytest.raises(AddressRefused, match=r"mixed\.example"):
                await web.get(f"http://mixed.example:{bob.port}/")
    assert (bob.connections, inner.connections) == (0, 0)


async def test_a_name_whose_answer_changes_is_asked_once_and_connected_to_as_it_was_checked(
    lab: Lab, bob: Site, inner: Site
) -> None:
    """Rebinding: the first answer is one that may be reached, each later one is not."""
    lab.names["rebind.example"] = [["127.0.0.1"], ["127.0.0.3"]]
    async with lab.fetcher(only(bob)) as web:
        page = await web.get(f"http://rebind.example:{bob.port}/")
        assert page.body == b"hello"
        assert lab.resolved == ["rebind.example"]
    async with lab.fetcher(only(bob)) as web:
        with pytest.raises(AddressRefused):
            await web.get(f"http://rebind.example:{bob.port}/")
    assert inner.connections == 0


async def test_answers_are_not_remembered_beyond_the_connection(lab: Lab, bob: Site, inner: Site) -> None:
    bob.page("/", "hello", headers=[("Connection", "close")])
    lab.names["rebind.example"] = [["127.0.0.1"], ["127.0.0.3"]]
    async with lab.fetcher(only(bob)) as web:
        await web.get(f"http://rebind.example:{bob.port}/")
        bob.requests[0].writer.transport.abort()
        await bob.until(lambda: not bob.open_now)
        with pytest.raises(AddressRefused):
            await web.get(f"http://rebind.example:{bob.port}/")
    assert (inner.connections, lab.resolved) == (0, ["rebind.example"] * 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_into_private_space_is_refused_at_its_hop(
    lab: Lab, bob: Site, inner: Site, status: int
) -> None:
    lab.names["inner.example"] = ["127.0.0.3"]
    async with lab.fetcher(only(bob)) as web:
        for to in (
            inner.url(),
            inner.url(name="inner.example"),
            f"http://2130706435:{inner.port}/",
            f"//127.0.0.3:{inner.port}/",
            "http://169.254.169.254/latest/",
            "http://[::1]/",
        ):
            bob.redirect("/onward", to, status)
            with pytest.raises(AddressRefused):
                await web.get(bob.url("/onward"))
            if status in (307, 308):
                with pytest.raises(AddressRefused):
                    await web.post(bob.url("/onward"), {"source": "s"})
    assert inner.connections == 0


async def test_an_exception_by_name_is_for_that_name_alone(lab: Lab, bob: Site) -> None:
    lab.names["other.example"] = ["127.0.0.1"]
    async with lab.fetcher(NetworkPolicy(allow=[f"bob.example:{bob.port}"])) as web:
        assert (await web.get(bob.url(name="bob.example"))).body == b"hello"
        for url in (bob.url(name="other.example"), bob.url()):
            with pytest.raises(AddressRefused):
                await web.get(url)
    assert bob.connections == 1


async def test_a_name_without_answers_or_with_nonsense_is_not_connected_to(lab: Lab) -> None:
    async with lab.fetcher(NetworkPolicy()) as web:
        lab.names["none.example"] = []
        with pytest.raises(FetchFailed, match="no address"):
            await web.get("http://none.example/")
        for nonsense in ("localhost", "2130706433", ""):
            lab.names["odd.example"] = [nonsense]
            with pytest.raises(AddressRefused):
                await web.get("http://odd.example/")


async def test_a_socket_is_made_for_checked_addresses_only_whoever_asks(bob: Site) -> None:
    """Past `check_url` and the resolver: what a URL parser of another opinion hands to the connector."""

    async def never(name: str) -> list[str]:
        raise AssertionError("a literal address is not resolved")

    connector = guarded_connector(NetworkPolicy(), never, None)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(AddressRefused):
            await session.get(bob.url())
        token = connecting_to.set("bob.example")
        with pytest.raises(AddressRefused):
            await session.get(bob.url())
        connecting_to.reset(token)
    assert bob.connections == 0


async def test_the_resolver_checks_before_a_socket_is_made(
    lab: Lab, bob: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.names["mixed.example"] = ["127.0.0.1", "10.0.0.1"]
    made: list[Any] = []
    real = socket.socket

    def counted(*args: Any, **kwargs: Any) -> socket.socket:
        made.append(args)
        return real(*args, **kwargs)

    async with lab.fetcher(only(bob)) as web:
        monkeypatch.setattr("holdfast.webmention.fetch_addresses.socket.socket", counted)
        with pytest.raises(AddressRefused):
            await web.get(f"http://mixed.example:{bob.port}/")
    monkeypatch.undo()
    assert made == []


async def test_the_systems_names_are_resolved_to_addresses_as_text() -> None:
    names = SystemNames()
    try:
        assert "127.0.0.1" in await names("localhost")
        assert await names("127.0.0.1") == ["127.0.0.1"]
        for nonsense in ("a" * 70 + ".example", "nothing.invalid"):
            with pytest.raises(OSError):
                await names(nonsense)
    finally:
        names.close()


async def test_localhost_is_refused_as_the_system_resolves_it(bob: Site) -> None:
    async with Fetcher() as web:
        with pytest.raises(AddressRefused, match="loopback"):
            await web.get(bob.url(name="localhost"))
    assert bob.connections == 0


# --- TLS


@pytest.fixture
async def secure(lab: Lab, tmp_path: Path) -> tuple[Site, ssl.SSLContext, list[str | None]]:
    """A site with a certificate for `bob.example`, a context that trusts it, and the names it is greeted with."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    server, roots = tls_for("bob.example", tmp_path)
    greeted: list[str | None] = []
    server.sni_callback = lambda socket, name, context: greeted.append(name)
    site = await lab.site("bob.example", tls=server)
    site.page("/", "hello")
    return site, ssl.create_default_context(cafile=str(roots)), greeted


async def test_the_checked_address_is_greeted_with_the_name_and_must_prove_it(
    lab: Lab, secure: tuple[Site, ssl.SSLContext, list[str | None]]
) -> None:
    site, roots, greeted = secure
    async with lab.fetcher(tls=roots) as web:
        assert (await web.get(site.url(name="bob.example"))).body == b"hello"
        assert greeted == ["bob.example"]
        lab.names["eve.example"] = ["127.0.0.1"]
        for wrong in ("eve.example", None):
            with pytest.raises(FetchFailed, match="certificate") as failed:
                await web.get(site.url(name=wrong))
            assert failed.value.transient
    assert len(site.requests) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    lab: Lab, secure: tuple[Site, ssl.SSLContext, list[str | None]]
) -> None:
    site, _, _ = secure
    async with lab.fetcher() as web:
        with pytest.raises(FetchFailed, match="certificate"):
            await web.get(site.url(name="bob.example"))
    assert site.requests == []


async def test_a_page_that_was_read_enough_of_is_left_at_once_whatever_its_site_does(
    lab: Lab, tmp_path: Path
) -> None:
    """The polite end of TLS waits for the other side, which here never answers."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    server, roots = tls_for("bob.example", tmp_path)
    lab.names["bob.example"] = ["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"

        def deaf() -> None:
            plain, _ = listener.accept()
            below = plain.dup()
            with server.wrap_socket(plain, server_side=True) as connection, below:
                connection.recv(1 << 16)
                connection.sendall(head(200) + b"x")
                try:
                    while below.recv(1 << 16):
                        pass  # whatever TLS says, it is not answered
                except ConnectionError:
                    return  # left

        site = asyncio.create_task(asyncio.to_thread(deaf))
        context = ssl.create_default_context(cafile=str(roots))
        async with lab.fetcher(NetworkPolicy(allow=[where]), tls=context) as web:
            url = f"https://bob.example:{listener.getsockname()[1]}/"
            await web.get(url, enough=lambda page, body: b"x" in body)
            async with asyncio.timeout(3):
                await site


async def test_tls_that_does_not_verify_is_no_option() -> None:
    for name, value in (("check_hostname", False), ("verify_mode", ssl.CERT_NONE)):
        context = ssl.create_default_context()
        context.check_hostname = False
        setattr(context, name, value)
        with pytest.raises(ValueError, match="verif"):
            Fetcher(tls=context)


async def test_a_site_without_tls_is_a_failure_where_https_was_asked_for(lab: Lab, bob: Site) -> None:
    async with lab.fetcher(deadline=0.5) as web:
        with pytest.raises(FetchFailed):
            await web.get(bob.url(name="bob.example").replace("http:", "https:"))
