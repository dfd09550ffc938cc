from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.types import Message

from holdfast.settings import Settings
from holdfast.web.app import make_app
from holdfast.web.hosts import allowed_hosts, host_name

from .conftest import TOKEN, serving

SETTINGS = Settings(
    token=TOKEN,
    host="127.0.0.1",
    site="https://alice.example:8443/blog",
    allow_hosts=("Store.Example", "*.lan"),
)


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "ALICE.example", "store.example", "alice.example.",
     "db.lan"],
)  # fmt: skip
async def test_it_answers_to_the_names_it_was_given(name: str) -> None:
    async with serving(SETTINGS) as client:
        assert (await client.get("/health", headers={"Host": name})).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "alice.example.evil.example", "localhost.evil.example", "evil@localhost", "localhost:x", "",
     "127.0.0.1.evil.example", "[::2]", "a.b.lan", "lan", "localhost/x", "localhost\\@evil"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/health", "/", "/persist/k", "/sign-in", "/static/app.css", "/nowhere"])
async def test_any_other_name_is_refused_on_every_path(name: str, path: str) -> None:
    async with serving(SETTINGS) as client:
        answer = await client.get(path, headers={"Host": name, "Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:holdfast:problem:wrong-host"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_two_host_headers_are_one_too_many() -> None:
    async with serving(SETTINGS) as client:
        answer = await client.get("/health", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert answer.status_code == 421


async def test_a_star_lets_every_name_in() -> None:
    async with serving(Settings(token=TOKEN, allow_hosts=("*",))) as client:
        assert (await client.get("/health", headers={"Host": "any.example"})).status_code == 200


@pytest.mark.parametrize(
    ("extensions", "first"),
    [({}, "websocket.close"), ({"websocket.http.response": {}}, "websocket.http.response.start")],
)
async def test_a_websocket_under_another_name_is_refused_before_it_is_accepted(
    extensions: dict[str, Any], first: str
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/socket",
        "raw_path": b"/socket",
        "query_string": b"",
        "headers": [(b"host", b"evil.example")],
        "extensions": extensions,
    }
    await make_app(SETTINGS)(scope, receive, send)
    assert sent[0]["type"] == first
    assert sent[0].get("status", 421) == 421


def test_a_wildcard_bind_address_is_no_name() -> None:
    assert allowed_hosts(Settings(host="0.0.0.0")) == {"localhost"}
    assert allowed_hosts(Settings(host="::")) == {"localhost"}
    assert allowed_hosts(Settings(host="10.1.2.3")) == {"localhost", "10.1.2.3"}


@pytest.mark.parametrize("header", ["a b", "a,b", "http://a", "a:99999", "[::1", "a?b", "a#b", "u:p@a"])
def test_a_header_that_is_no_name_is_none(header: str) -> None:
    assert host_name(header) in (None, header)
    assert host_name(header) not in allowed_hosts(Settings())


async def test_the_answer_to_a_wrong_name_is_a_problem_even_for_a_browser() -> None:
    async with serving(SETTINGS) as client:
        answer = await client.get("/", headers={"Host": "evil.example", "Accept": "text/html"})
    assert isinstance(answer, httpx.Response)
    assert answer.headers["content-type"] == "application/problem+json"
