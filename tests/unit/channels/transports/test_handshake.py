import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.channels.transports.lab import Browser, Connection, Room, scope_of

from holdfast import events
from holdfast.channels import Channels, Connect, Limits, Refuse, User
from holdfast.channels.transports.handshake import Denied, authenticate, subprotocol
from holdfast.errors import StoreUnavailable


async def status(channels: Channels, **scope: Any) -> int:
    """What a connection is denied with; 101 where it is let in."""
    try:
        await authenticate(channels, scope_of("websocket", "/socket/websocket", **scope))
    except Denied as denied:
        return denied.status
    return 101


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("vsn=2.0.0", 101),
        ("vsn=2.0.7", 101),
        ("", 403),
        ("vsn=1.0.0", 403),
        ("vsn=2.1.0", 403),
        ("vsn=2.0", 403),
        ("vsn=2.0.0x", 403),
        ("vsn[a]=2.0.0", 403),
        ("&".join(["a=1"] * 300) + "&vsn=2.0.0", 400),
    ],
)
async def test_only_version_2_0_is_spoken(query: str, expected: int) -> None:
    async with Channels("memory://", [Room]) as channels:
        assert await status(channels, query=query) == expected


@pytest.mark.parametrize(
    ("origins", "origin", "host", "expected"),
    [
        (None, None, "alice.example", 101),
        (None, "https://alice.example", "alice.example", 101),
        (None, "https://ALICE.example", "alice.EXAMPLE", 101),
        (None, "https://alice.example", "alice.example:443", 101),
        (None, "http://alice.example:80", "alice.example", 101),
        (None, "http://alice.example:8000", "alice.example:8000", 101),
        (None, "http://alice.example:8001", "alice.example:8000", 403),
        (None, "https://alice.example:80", "alice.example", 403),
        (None, "http://[::1]:8000", "[::1]:8000", 101),
        (None, "https://mallory.example", "alice.example", 403),
        (None, "https://alice.example.mallory.example", "alice.example", 403),
        (None, "null", "alice.example", 403),
        (None, "", "alice.example", 403),
        (None, "https://", "", 403),
        ("*", "null", "alice.example", 101),
        (["https://bob.example"], "https://bob.example", "alice.example", 101),
        (["https://bob.example/"], "https://Bob.example", "alice.example", 101),
        (["https://bob.example"], "http://bob.example", "alice.example", 403),
        (["https://bob.example"], "https://alice.example", "alice.example", 403),
        (["https://bob.example"], None, "alice.example", 101),
        ([], "https://alice.example", "alice.example", 403),
    ],
)
async def test_pages_of_somebody_else_are_not_let_in(
    origins: str | Sequence[str] | None, origin: str | None, host: str, expected: int
) -> None:
    headers = [("host", host), *([] if origin is None else [("origin", origin)])]
    async with Channels("memory://", [Room], origins=origins) as channels:
        assert await status(channels, headers=headers) == expected


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        (None, "anything", 101),
        (["alice.example"], "alice.example", 101),
        (["alice.example"], "Alice.Example:8000", 101),
        (["alice.example"], "www.alice.example", 403),
        (["*.alice.example"], "www.alice.example", 101),
        (["*.alice.example"], "alice.example", 403),
        (["alice.example"], "127.0.0.1", 403),
        (["127.0.0.1", "::1"], "127.0.0.1:80", 101),
        (["127.0.0.1", "::1"], "[::1]:80", 101),
        (["127.0.0.1", "::1"], "[::1]", 101),
        (["*"], "x", 101),
        ([], "alice.example", 403),
    ],
)
async def test_only_hosts_that_are_named_are_served(
    hosts: list[str] | None, host: str, expected: int
) -> None:
    async with Channels("memory://", [Room], hosts=hosts) as channels:
        assert await status(channels, headers=[("host", host)]) == expected


async def test_connect_hears_what_the_client_says_and_names_the_user() -> None:
    heard: list[Connect] = []

    async def connect(asked: Connect) -> User:
        heard.append(asked)
        return User("ada")

    async with Channels("memory://", [Room], connect=connect) as channels:
        scope = scope_of(
            "websocket",
            "/socket/websocket",
            "user[id]=1&token=secret&vsn=2.0.0",
            [("X-Tenant", "b")],
        )
        assert await authenticate(channels, scope) == User("ada")
    (asked,) = heard
    assert asked.params == {"user": {"id": "1"}, "token": "secret", "vsn": "2.0.0"}
    assert asked.headers["x-tenant"] == "b"
    assert asked.client == "192.0.2.1"
    assert asked.token is None
    assert asked.scope is scope


@pytest.mark.parametrize("token", ["a", "any carnal pleas", "\u00e9\u00ff?>~", "x" * 500])
@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
async def test_the_token_comes_among_the_subprotocols(token: str, alphabet: Any) -> None:
    heard: list[str | None] = []
    encoded = alphabet(token.encode()).decode().rstrip("=")
    async with Channels("memory://", [Room], connect=lambda asked: heard.append(asked.token)) as channels:
        offered = ["phoenix", f"base64url.bearer.phx.{encoded}"]
        assert await status(channels, subprotocols=offered) == 101
    assert heard == [token]


async def test_the_token_comes_in_a_header_too_and_nonsense_is_none() -> None:
    heard: list[str | None] = []
    async with Channels("memory://", [Room], connect=lambda asked: heard.append(asked.token)) as channels:
        await status(channels, headers=[("X-Phoenix-AuthToken", "t")])
        await status(channels, subprotocols=["phoenix", "base64url.bearer.phx.%%%"])
        await status(channels, subprotocols=["phoenix", "base64url.bearer.phx.//8"])  # not UTF-8
    assert heard == ["t", None, None]


def test_phoenix_is_answered_where_it_is_offered() -> None:
    assert subprotocol({"subprotocols": ["phoenix", "base64url.bearer.phx.YQ"]}) == "phoenix"
    assert subprotocol({"subprotocols": ["graphql-ws"]}) is None
    assert subprotocol({}) is None


async def test_who_is_refused_is_denied_and_who_is_nobody_is_let_in() -> None:
    def refuse(asked: Connect) -> User:
        raise Refuse({"reason": "no"})

    async with Channels("memory://", [Room], connect=refuse) as channels:
        assert await status(channels) == 403
    async with Channels("memory://", [Room], connect=lambda asked: None) as channels:
        assert await status(channels) == 101


async def test_a_connect_that_fails_is_the_application_s_to_hear_of_and_500_to_the_client() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def fails(asked: Connect) -> User:
        raise KeyError("id")

    for connect in (fails, lambda asked: "ada"):
        async with Channels("memory://", [Room], connect=connect) as channels:  # type: ignore[arg-type]
            assert await status(channels, query="vsn=2.0.0&token=secret") == 500
    assert [type(each["exception"]) for each in told] == [KeyError, TypeError]
    assert "secret" not in str(told)


async def test_a_connect_that_meets_a_store_that_is_away_is_503_and_nobody_s_crash() -> None:
    crashes: list[Any] = []
    told: list[events.Event] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))

    async def connect(asked: Connect) -> User:
        raise StoreUnavailable("get 'session:1': away")

    async with Channels("memory://", [Room], connect=connect) as channels:
        stop = events.subscribe(told.append)
        try:
            assert await status(channels) == 503
            wire = Connection(channels)
            async with wire as sent:
                (start, _) = await sent.got(2)
            assert start["status"] == 503
            assert (await Browser(channels).get()).said == {"status": 500}  # the one that its clients know
        finally:
            stop()
    assert told == [events.MessageRefused("connect", "StoreUnavailable")] * 3
    assert not crashes


async def test_so_many_connections_and_no_more() -> None:
    async with Channels("memory://", [Room], limits=Limits(connections=1)) as channels:
        assert await status(channels) == 101
        channels.hub.sockets[object()] = None  # type: ignore[index]
        assert await status(channels) == 503
        channels.hub.sockets.clear()


async def test_nobody_is_let_in_before_it_is_open_or_after_it_is_closed() -> None:
    channels = Channels("memory://", [Room])
    assert await status(channels) == 503
    async with channels:
        assert await status(channels) == 101
    assert await status(channels) == 503


async def test_who_was_being_asked_about_when_it_closed_is_not_let_in() -> None:
    asked = asyncio.Event()
    may_answer = asyncio.Event()

    async def connect(_: Connect) -> None:
        asked.set()
        await may_answer.wait()

    channels = Channels("memory://", [Room], connect=connect)
    async with channels:
        waiting = asyncio.ensure_future(status(channels))
        await asked.wait()
    may_answer.set()
    assert await waiting == 503
