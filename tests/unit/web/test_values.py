"""The HTTP face of persist, rule by rule, on memory and on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.types import Message

from holdfast.errors import Overloaded
from holdfast.persist import Persist
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.settings import Settings
from holdfast.testing.clock import ManualClock
from holdfast.testing.faults import EVERY, Dropping, Failing

from .conftest import TOKEN, app_of, serving

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def name_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    return str(problem["type"].removeprefix("urn:holdfast:problem:"))


def at(key: str) -> str:
    """A key's path; clients resolve a lone dot themselves unless it is escaped."""
    return "/persist/" + quote(key, safe="").replace(".", "%2E")


async def raw(client: httpx.AsyncClient, path: bytes, method: str = "GET", query: bytes = b"") -> Message:
    """An answer's head to a path as no client library would send it."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"null", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())],
    }
    await app_of(client)(scope, receive, send)
    return sent[0]


# --- storing and reading ---


async def test_a_value_comes_back_compact_with_its_version_and_its_life(client: httpx.AsyncClient) -> None:
    put = await client.put("/persist/k?expires=60", content=b'{ "a": [1, 2.50] }')
    assert put.status_code == 204
    got = await client.get("/persist/k")
    assert got.content == b'{"a":[1,2.50]}'
    assert got.headers["content-type"] == "application/json"
    assert got.headers["etag"] == put.headers["etag"]
    assert 59 < float(got.headers["expires-in"]) <= 60
    assert got.headers["cache-control"] == "private, no-cache"


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    await client.put("/persist/k", json="hello")
    head, got = await client.head("/persist/k"), await client.get("/persist/k")
    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "expires-in"):
        assert head.headers[name] == got.headers[name]
    assert (await client.head("/persist/none")).status_code == 404


async def test_python_and_http_see_the_same_value(client: httpx.AsyncClient, store: Persist) -> None:
    await client.put("/persist/user", json={"name": "Ada"})
    assert await store.get("user", dict[str, str]) == {"name": "Ada"}
    await store.set("user", {"name": "Grace"})
    assert (await client.get("/persist/user")).json() == {"name": "Grace"}


async def test_a_stored_null_is_not_absence(client: httpx.AsyncClient) -> None:
    assert name_of(await client.get("/persist/k")) == "no-value"
    await client.put("/persist/k", content=b"null")
    assert (await client.get("/persist/k")).json() is None


async def test_a_put_keeps_the_life_unless_it_names_one(client: httpx.AsyncClient) -> None:
    await client.put("/persist/k?expires=60", json=1)
    await client.put("/persist/k", json=2)
    assert 0 < float((await client.get("/persist/k")).headers["expires-in"]) <= 60
    await client.put("/persist/k?expires=none", json=3)
    assert (await client.get("/persist/k")).headers["expires-in"] == "none"
    await client.put("/persist/k?expires=0.5", json=4)
    assert float((await client.get("/persist/k")).headers["expires-in"]) <= 0.5


async def test_what_expires_in_says_can_be_sent_back_as_expires(client: httpx.AsyncClient) -> None:
    for expires in ("none", "12.5"):
        await client.put(f"/persist/k?expires={expires}", json=1)
        left = (await client.get("/persist/k")).headers["expires-in"]
        assert (await client.put(f"/persist/k?expires={left}", json=1)).status_code == 204


async def test_expired_is_absent() -> None:
    clock = ManualClock()
    persist = Persist(MemoryDriver(now_ms=clock))
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        client.headers.update(BEARER)
        await client.put("/persist/k?expires=60", json=1)
        clock.advance(60)
        assert (await client.get("/persist/k")).status_code == 404
        assert (await client.delete("/persist/k")).status_code == 404
        created = await client.put("/persist/k", json=2, headers={"If-None-Match": "*"})
        assert created.status_code == 201
        assert created.headers["expires-in"] == "none"


async def test_removing_answers_whether_there_was_a_value(client: httpx.AsyncClient) -> None:
    await client.put("/persist/k", json=1)
    assert (await client.delete("/persist/k")).status_code == 204
    assert name_of(await client.delete("/persist/k")) == "no-value"


# --- keys ---


@pytest.mark.parametrize(
    "key",
    ["a/b", "/", "a//b", ".", "..", "a/../b", "ü:漢", "a b", "a+b", "a%2Fb", "100%", "?#", "a\nb", "\r\n", " ", '"',
     "x/increment", "increment", "persist/k", "\u202e", "k" * 512, "\x7f"],
)  # fmt: skip
async def test_any_text_can_be_a_key_and_is_decoded_once(
    client: httpx.AsyncClient, store: Persist, key: str
) -> None:
    assert (await client.put(at(key), json=key)).status_code == 204
    assert await store.get(key, str) == key
    assert (await client.get(at(key))).json() == key
    assert (await client.delete(at(key))).status_code == 204


async def test_slashes_of_a_key_may_stand_as_they_are(client: httpx.AsyncClient) -> None:
    await client.put("/persist/a/b/c", json=1)
    assert (await client.get("/persist/a%2Fb/c")).json() == 1
    assert (await client.get("/persist/a/b")).status_code == 404


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (b"/persist/", "empty"),
        (b"/persist/%FF", "UTF-8"),
        (b"/persist/%ED%A0%80", "UTF-8"),
        (b"/persist/a%00b", "NUL"),
        (b"/persist/%zz", "percent"),
        (b"/persist/50%", "percent"),
        (b"/persist/" + b"k" * 513, "512"),
        (b"/persist/" + b"%C3%BC" * 257, "512"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_cannot_be_a_key_is_refused(
    client: httpx.AsyncClient, path: bytes, says: str, method: str
) -> None:
    head = await raw(client, path, method)
    assert head["status"] == 400


async def test_a_path_that_only_decodes_to_ours_is_not_ours(client: httpx.AsyncClient) -> None:
    await client.put("/persist/b", json=1)
    scope_path = b"/%70ersist/persist/b"
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"1", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "PUT", "path": "/persist/persist/b", "raw_path": scope_path, "query_string": b"",
        "root_path": "", "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())],
    }  # fmt: skip
    await app_of(client)(scope, receive, send)
    assert sent[0]["status"] == 404


async def test_under_a_root_path_keys_are_the_same(store_url: str) -> None:
    async with serving(Settings(store=store_url, token=TOKEN, root_path="/store")) as client:
        client.headers.update(BEARER)
        assert (await client.put("/store/persist/a%2Fb", json=1)).status_code == 204
        assert (await client.get("/store/persist/a/b")).json() == 1
        assert (await client.get("/store/persist")).json()["keys"] == ["a/b"]
        assert (await client.get("/store/openapi.json")).json()["servers"] == [{"url": "/store"}]


# --- bodies and parameters ---


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b'"\xff"', b"1 2", b"{'a': 1}", b"[" * 3000, b'"\\ud800"']
)
async def test_a_body_that_is_not_json_changes_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    await client.put("/persist/k", json="before")
    answer = await client.put("/persist/k", content=body)
    assert answer.status_code in (400, 413)
    assert name_of(answer) in ("bad-json", "too-large")
    assert (await client.get("/persist/k")).json() == "before"


async def test_an_error_never_repeats_the_value(client: httpx.AsyncClient) -> None:
    answer = await client.put("/persist/k", content=b'{"password": "geheim"')
    assert "geheim" not in answer.text


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 204),
        ("Application/JSON; charset=utf-8", 204),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json-patch+json", 415),
    ],
)
async def test_a_body_is_json_or_says_nothing(client: httpx.AsyncClient, kind: str, status: int) -> None:
    assert (
        await client.put("/persist/k", content=b"1", headers={"Content-Type": kind})
    ).status_code == status
    answer = await client.post("/persist/n/increment", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == (200 if status == 204 else status)


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.put("/persist/k", content=b"1", headers={"Content-Encoding": "gzip"})
    assert name_of(answer) == "not-json"


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(client: httpx.AsyncClient) -> None:
    assert (await client.put("/persist/k", content=b'"' + b"x" * 1998 + b'"')).status_code == 204
    answer = await client.put("/persist/k", content=b'"' + b"x" * 1999 + b'"')
    assert name_of(answer) == "too-large"
    assert answer.json()["max_bytes"] == 2000


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(client: httpx.AsyncClient) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 10_000:  # as good as endless, and no harm where nobody stops it
            given += 1
            yield b" " * 1000

    assert name_of(await client.put("/persist/k", content=endless())) == "too-large"
    assert given == 3
    given = 0
    declared = await client.put("/persist/k", content=endless(), headers={"Content-Length": "2001"})
    assert name_of(declared) == "too-large"
    assert given == 0


@pytest.mark.parametrize(
    "query",
    ["expires=0", "expires=-1", "expires=nan", "expires=inf", "expires=soon", "expires=", "expires=1e30", "expires=1_0",
     "expires=NONE", "expire=60", "expires=1&expires=2", "expires=%FF", "x=1"],
)  # fmt: skip
async def test_a_parameter_that_cannot_be_meant_changes_nothing(
    client: httpx.AsyncClient, query: str
) -> None:
    answer = await client.put(f"/persist/k?{query}", json=1)
    assert name_of(answer) == "bad-parameter"
    assert (await client.get("/persist/k")).status_code == 404


async def test_a_mistyped_parameter_is_told_the_right_one(client: httpx.AsyncClient) -> None:
    answer = await client.put("/persist/k?expire=60", json=1)
    assert "did you mean 'expires'" in answer.json()["detail"]


async def test_reading_and_removing_take_no_parameters(client: httpx.AsyncClient) -> None:
    await client.put("/persist/k", json=1)
    assert name_of(await client.get("/persist/k?renew=60")) == "bad-parameter"
    assert name_of(await client.delete("/persist/k?version=x")) == "bad-parameter"


# --- preconditions ---


async def test_a_put_over_the_version_that_was_read_succeeds_once(client: httpx.AsyncClient) -> None:
    first = (await client.put("/persist/k?expires=60", json=1)).headers["etag"]
    second = await client.put("/persist/k", json=2, headers={"If-Match": first})
    assert second.status_code == 204
    assert second.headers["etag"] == (await client.get("/persist/k")).headers["etag"] != first
    assert (
        name_of(await client.put("/persist/k", json=3, headers={"If-Match": first})) == "precondition-failed"
    )
    got = await client.get("/persist/k")
    assert got.json() == 2
    assert float(got.headers["expires-in"]) <= 60


async def test_of_many_puts_over_one_version_one_wins(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=0)).headers["etag"]
    answers = await asyncio.gather(
        *(client.put("/persist/k", json=n + 1, headers={"If-Match": tag}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [204] + [412] * 9


async def test_if_match_takes_a_list_and_a_star(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=1)).headers["etag"]
    assert (await client.put("/persist/k", json=2, headers={"If-Match": f'"no", {tag}'})).status_code == 204
    assert (await client.put("/persist/k", json=3, headers={"If-Match": "*"})).status_code == 204
    assert (await client.put("/persist/none", json=3, headers={"If-Match": "*"})).status_code == 412
    assert (await client.put("/persist/none", json=3, headers={"If-Match": tag})).status_code == 412
    assert (await client.get("/persist/none")).status_code == 404


async def test_a_weak_tag_never_lets_a_write_pass(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=1)).headers["etag"]
    assert (await client.put("/persist/k", json=2, headers={"If-Match": f"W/{tag}"})).status_code == 412
    assert (await client.delete("/persist/k", headers={"If-Match": f"W/{tag}"})).status_code == 412


async def test_if_none_match_star_creates_and_only_creates(client: httpx.AsyncClient) -> None:
    created = await client.put("/persist/k?expires=60", json=1, headers={"If-None-Match": "*"})
    assert created.status_code == 201
    assert created.headers["etag"] == (await client.get("/persist/k")).headers["etag"]
    again = await client.put("/persist/k", json=2, headers={"If-None-Match": "*"})
    assert name_of(again) == "precondition-failed"
    assert (await client.get("/persist/k")).json() == 1


async def test_a_get_with_the_known_version_answers_304(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=1)).headers["etag"]
    for header in (tag, f"W/{tag}", f'"no", {tag}', "*"):
        same = await client.get("/persist/k", headers={"If-None-Match": header})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (await client.get("/persist/k", headers={"If-None-Match": '"no"'})).status_code == 200
    assert (await client.get("/persist/none", headers={"If-None-Match": "*"})).status_code == 404


async def test_a_get_of_another_version_than_named_answers_412(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=1)).headers["etag"]
    assert (await client.get("/persist/k", headers={"If-Match": tag})).status_code == 200
    assert (await client.get("/persist/k", headers={"If-Match": '"no"'})).status_code == 412


async def test_a_delete_removes_only_the_version_that_is_named(client: httpx.AsyncClient) -> None:
    tag = (await client.put("/persist/k", json=1)).headers["etag"]
    assert (await client.delete("/persist/k", headers={"If-Match": '"no"'})).status_code == 412
    assert (await client.delete("/persist/k", headers={"If-Match": f'"no", {tag}'})).status_code == 204
    assert (await client.delete("/persist/k", headers={"If-Match": "*"})).status_code == 412


@pytest.mark.parametrize(
    "headers", [{"If-Match": "v"}, {"If-None-Match": '"v"'}, {"If-None-Match": "*", "If-Match": "*"}]
)
async def test_a_precondition_that_cannot_be_kept_is_never_ignored(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert name_of(await client.put("/persist/k", json=1, headers=headers)) == "bad-precondition"
    assert (await client.get("/persist/k")).status_code == 404


async def test_an_unconditional_put_names_a_version_only_while_its_value_stands(
    client: httpx.AsyncClient, store: Persist, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_set = Persist.set

    async def overtaken(self: Persist, key: str, value: object, **options: Any) -> None:
        await plain_set(self, key, value, **options)
        await plain_set(self, key, "another")

    monkeypatch.setattr(Persist, "set", overtaken)
    answer = await client.put("/persist/k", json="mine")
    assert answer.status_code == 204
    assert "etag" not in answer.headers


# --- counters ---


async def test_a_counter_starts_adds_and_keeps_its_life(client: httpx.AsyncClient) -> None:
    assert (await client.post("/persist/n/increment")).json() == {"value": 1}
    assert (await client.post("/persist/n/increment", json={"by": 41})).json() == {"value": 42}
    assert (await client.post("/persist/n/increment", json={"by": -2, "expires": 60})).json() == {"value": 40}
    assert (await client.get("/persist/n")).headers["expires-in"] == "none"
    await client.post("/persist/m/increment", json={"expires": 60})
    await client.post("/persist/m/increment", json={"expires": 600})
    assert float((await client.get("/persist/m")).headers["expires-in"]) <= 60


async def test_increments_at_once_add_up(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/persist/n/increment") for _ in range(25)))
    assert sorted(answer.json()["value"] for answer in answers) == list(range(1, 26))


async def test_only_a_counter_can_be_incremented(client: httpx.AsyncClient) -> None:
    await client.put("/persist/k", json="text")
    assert name_of(await client.post("/persist/k/increment")) == "not-a-counter"
    assert (await client.get("/persist/k")).json() == "text"


async def test_a_counter_never_leaves_64_bits(client: httpx.AsyncClient) -> None:
    await client.put("/persist/n", json=2**63 - 1)
    assert name_of(await client.post("/persist/n/increment")) == "out-of-range"
    assert name_of(await client.post("/persist/n/increment", json={"by": 2**63})) == "out-of-range"
    assert (await client.get("/persist/n")).json() == 2**63 - 1


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"1", b'{"by": "1"}', b'{"by": 1.5}', b'{"By": 1}', b'{"expires": "60"}']
)
async def test_a_step_that_cannot_be_read_changes_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    assert name_of(await client.post("/persist/n/increment", content=body)) == "bad-json"
    assert (await client.get("/persist/n")).status_code == 404


@pytest.mark.parametrize("expires", [0, -1, 1e30])
async def test_a_counter_cannot_start_with_a_life_that_is_none(
    client: httpx.AsyncClient, expires: float
) -> None:
    answer = await client.post("/persist/n/increment", json={"expires": expires})
    assert name_of(answer) == "bad-parameter"


async def test_a_key_that_ends_in_increment_is_reached_and_counted(client: httpx.AsyncClient) -> None:
    await client.put("/persist/a/increment", json=5)
    assert (await client.get("/persist/a/increment")).json() == 5
    assert (await client.post("/persist/a/increment/increment")).json() == {"value": 6}
    assert (await client.get("/persist/a")).status_code == 404
    await client.post("/persist/a/increment")
    assert (await client.get("/persist/a")).json() == 1
    assert (await client.delete("/persist/a/increment")).status_code == 204


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "TRACE"])
async def test_another_method_is_told_which_there_are(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/persist/k")
    assert name_of(answer) == "method-not-allowed"
    assert answer.headers["allow"] == "GET, HEAD, PUT, DELETE"


# --- the list ---


async def test_the_list_is_paged_and_complete(client: httpx.AsyncClient) -> None:
    wanted = {f"user:{n}" for n in range(25)} | {"other", "user"}
    await asyncio.gather(*(client.put(at(key), json=1) for key in wanted))
    assert set((await client.get("/persist")).json()["keys"]) == wanted
    found: list[str] = []
    query = {"prefix": "user:", "limit": "10"}
    for _ in range(10):
        page = (await client.get("/persist", params=query)).json()
        found += page["keys"]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert sorted(found) == sorted(f"user:{n}" for n in range(25))


async def test_a_prefix_is_plain_text(client: httpx.AsyncClient) -> None:
    for key in ("a%b", "a_b", "axb", "a*", "ü/1"):
        await client.put(at(key), json=1)
    for prefix, keys in (("a%", ["a%b"]), ("a_", ["a_b"]), ("a*", ["a*"]), ("ü/", ["ü/1"]), ("A", [])):
        assert (await client.get("/persist", params={"prefix": prefix})).json() == {
            "keys": keys,
            "cursor": None,
        }


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "prefix=%00", "prefix=%FF", "page=2", "limit=²"]
)
async def test_a_list_that_cannot_be_meant_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert name_of(await client.get(f"/persist?{query}")) == "bad-parameter"


async def test_a_cursor_that_was_not_made_here_for_this_prefix_is_refused(tmp_path: Path) -> None:
    async with serving(Settings(store=f"sqlite:///{tmp_path}/store.db", token=TOKEN)) as client:
        client.headers.update(BEARER)
        for n in range(5):
            await client.put(f"/persist/k{n}", json=1)
        cursor = (await client.get("/persist?limit=2")).json()["cursor"]
        following = await client.get("/persist", params={"limit": 2, "cursor": cursor})
        assert following.json()["keys"] == ["k2", "k3"]
        for query in (
            {"prefix": "k", "cursor": cursor},
            {"cursor": cursor[:-2] + "AA"},
            {"cursor": "holdfast:l:"},
            {"cursor": "A"},
            {"cursor": "é"},
        ):
            assert name_of(await client.get("/persist", params=query)) == "bad-parameter"


async def test_what_the_server_keeps_for_itself_is_in_no_list(
    client: httpx.AsyncClient, store: Persist
) -> None:
    from holdfast.web import token

    assert await token.ensure(store)
    assert (await client.get("/persist")).json() == {"keys": [], "cursor": None}
    assert (await client.get("/persist/token")).status_code == 404


# --- a store that fails ---


@pytest.mark.parametrize(("fault", "applied"), [(Failing, False), (Dropping, True)])
async def test_a_store_that_fails_is_a_503_that_says_what_is_known(fault: type, applied: bool) -> None:
    persist = Persist(fault(MemoryDriver(), on=EVERY))
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        client.headers.update(BEARER)
        for answer in (
            await client.put("/persist/k", json=1),
            await client.delete("/persist/k"),
            await client.post("/persist/k/increment"),
            await client.get("/persist/k"),
            await client.get("/persist"),
        ):
            assert answer.status_code == 503
            assert name_of(answer) == "store-unavailable"
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["maybe_applied"] is applied


async def test_a_full_queue_is_a_503_that_says_so() -> None:
    persist = Persist(Failing(MemoryDriver(), on=EVERY, error=lambda: Overloaded("full")))
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        answer = await client.put("/persist/k", json=1, headers=BEARER)
    assert name_of(answer) == "overloaded"
    assert answer.json()["maybe_applied"] is False


async def test_an_increment_whose_answer_was_lost_is_not_sent_twice() -> None:
    persist = Persist(Dropping(MemoryDriver(), on={1}))
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        client.headers.update(BEARER)
        assert (await client.post("/persist/n/increment")).status_code == 503
        assert (await client.get("/persist/n")).json() == 1


async def test_after_the_server_has_stopped_nothing_is_promised() -> None:
    async with serving(Settings(token=TOKEN)) as client:
        await app_of(client).state.persist.close()
        answer = await client.get("/persist/k", headers=BEARER)
    assert name_of(answer) == "not-ready"


async def test_a_value_that_is_not_json_is_said_to_be_unreadable(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.errors import InvalidConversion

    async def broken(self: Persist, key: str, type: object = None) -> None:
        raise InvalidConversion("entry 'k'")

    monkeypatch.setattr(Persist, "entry", broken)
    assert name_of(await client.get("/persist/k")) == "unreadable"


async def test_a_fault_of_ours_is_a_problem_without_its_details(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Persist, key: str, type: object = None) -> None:
        raise RuntimeError("geheim")

    monkeypatch.setattr(Persist, "entry", broken)
    async with serving(Settings(store=store_url, token=TOKEN), faults_raise=False) as client:
        answer = await client.get("/persist/k", headers=BEARER)
    assert name_of(answer) == "error"
    assert "geheim" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
