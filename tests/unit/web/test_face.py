"""What holds for every address: who gets in, which headers, which errors, and the description of it all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from holdfast.persist import Persist
from holdfast.settings import Settings
from holdfast.web import token
from holdfast.web.problems import PROBLEMS

from .conftest import TOKEN, app_of, serving, store_of

ROOT = Path(__file__).parents[3]
OPEN = {("GET", "/health"), ("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/static/{name}")}


def addresses(client: httpx.AsyncClient) -> set[tuple[str, str]]:
    """Every method and path that the application serves."""
    found = set()
    for route in app_of(client).routes:
        methods = getattr(route, "methods", None) or ()
        found |= {(method, str(getattr(route, "path", ""))) for method in methods if method != "HEAD"}
    return found


async def test_everything_but_health_and_the_door_is_shut_without_a_token(anybody: httpx.AsyncClient) -> None:
    assert len(addresses(anybody)) > 15
    assert addresses(anybody) >= OPEN
    for method, path in addresses(anybody) - OPEN:
        address = path.replace("{key}", "k/increment")
        answer = await anybody.request(method, address, content=b"" if method in ("GET", "DELETE") else b"1")
        if method == "GET" and answer.status_code == 303:
            assert answer.headers["location"].startswith("/sign-in")
        elif method == "POST" and not path.startswith("/persist"):
            assert answer.status_code == 415  # a form is what they take
            form = await anybody.post(address, data={"csrf": ""})
            assert form.status_code == 401
        else:
            assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic dGhlOnRva2Vu", f"Token {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Bearer {TOKEN} x", "Bearer \xff\xff", TOKEN],
)  # fmt: skip
async def test_only_the_token_itself_opens(anybody: httpx.AsyncClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = await anybody.get("/persist/k", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:holdfast:problem:unauthorized"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="holdfast"')
    assert TOKEN not in answer.text


async def test_the_scheme_is_read_in_any_case(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/persist", headers={"Authorization": f"bearer  {TOKEN} "})
    assert answer.status_code == 200


async def test_the_token_in_the_query_or_in_a_cookie_opens_nothing(anybody: httpx.AsyncClient) -> None:
    assert (await anybody.get(f"/persist?token={TOKEN}")).status_code == 401
    assert (await anybody.get("/persist", headers={"Cookie": f"token={TOKEN}"})).status_code == 401


async def test_the_token_in_the_store_opens_and_a_rotation_shuts(store_url: str) -> None:
    async with serving(Settings(store=store_url)) as client:
        store = store_of(client)
        made = await token.ensure(store)
        assert (await client.get("/persist", headers={"Authorization": f"Bearer {made}"})).status_code == 200
        new = await token.rotate(store)
        assert (await client.get("/persist", headers={"Authorization": f"Bearer {new}"})).status_code == 200
        assert (await client.get("/persist", headers={"Authorization": f"Bearer {made}"})).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/health", "/persist/k", "/sign-in", "/static/app.css", "/nowhere", "/metrics"]
)
async def test_every_answer_carries_the_security_headers(anybody: httpx.AsyncClient, path: str) -> None:
    headers = (await anybody.get(path)).headers
    policy = headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


async def test_nothing_but_the_static_files_is_cached(client: httpx.AsyncClient) -> None:
    page = await client.get("/sign-in")
    assert page.headers["cache-control"] == "no-store"
    style = re.search(r'href="(/static/app\.css\?v=\w+)"', page.text)
    assert style is not None
    assert "immutable" in (await client.get(style[1])).headers["cache-control"]
    assert (await client.get("/static/app.css?v=old")).headers["cache-control"] == "no-cache"
    assert (await client.get("/static/..%2Fapp.py")).status_code == 404
    assert (await client.get("/static/nothing.css")).status_code == 404


async def test_an_unknown_address_is_a_problem_for_programs_and_a_page_for_browsers(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:holdfast:problem:not-found"
    page = await client.get("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/persist/none", "/persist?limit=0"):
        problem = await client.get(path, headers={"Accept": "text/html"})
        assert problem.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/health"), ("DELETE", "/persist"), ("PUT", "/metrics"), ("PATCH", "/keys")]
)
async def test_a_method_that_is_not_there_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]


async def test_no_address_redirects_to_a_name_from_the_request(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/")).status_code == 404


# --- the description ---


async def description(client: httpx.AsyncClient) -> dict[str, Any]:
    document = (await client.get("/openapi.json")).json()
    assert isinstance(document, dict)
    return document


async def test_the_description_is_valid_openapi(client: httpx.AsyncClient) -> None:
    document = await description(client)
    assert document["openapi"].startswith("3.1")
    validate(document)


async def test_the_description_names_what_is_served_and_nothing_else(client: httpx.AsyncClient) -> None:
    dashboard = {
        "/",
        "/keys",
        "/value",
        "/new",
        "/edit",
        "/remove",
        "/sign-in",
        "/sign-out",
        "/live.json",
        "/static/{name}",
        "/rooms",
        "/room",
        "/room/new",
        "/room/edit",
        "/room/save",
        "/room/remove",
        "/room/clear",
        "/connections",
        "/connections/close",
    }
    served = {(method, path) for method, path in addresses(client) if path not in dashboard}
    served.remove(("POST", "/persist/{key}"))
    served.add(("POST", "/persist/{key}/increment"))
    paths = (await description(client))["paths"]
    named = {
        (method.upper(), path)
        for path, item in paths.items()
        for method in item
        if method not in ("parameters", "head")
    }
    assert named == served
    assert all(isinstance(route, Route) or route.path == "/persist/{key}" for route in app_of(client).routes)  # type: ignore[attr-defined]


async def test_every_status_that_is_met_is_described(client: httpx.AsyncClient) -> None:
    paths = (await description(client))["paths"]
    await client.put("/persist/text", json="text")
    met = [
        ("put", "/persist/{key}", await client.put("/persist/k", json=1)),
        ("put", "/persist/{key}", await client.put("/persist/n", json=1, headers={"If-None-Match": "*"})),
        ("put", "/persist/{key}", await client.put("/persist/k", json=1, headers={"If-Match": '"x"'})),
        ("put", "/persist/{key}", await client.put("/persist/k", content=b"{")),
        (
            "put",
            "/persist/{key}",
            await client.put("/persist/k", content=b"1", headers={"Content-Type": "a/b"}),
        ),
        ("put", "/persist/{key}", await client.put("/persist/k", content=b"1" * 3000)),
        ("get", "/persist/{key}", await client.get("/persist/k")),
        ("get", "/persist/{key}", await client.get("/persist/k", headers={"If-None-Match": "*"})),
        ("get", "/persist/{key}", await client.get("/persist/none")),
        ("get", "/persist/{key}", await client.get("/persist/k", headers={"If-Match": '"x"'})),
        ("delete", "/persist/{key}", await client.delete("/persist/k")),
        ("delete", "/persist/{key}", await client.delete("/persist/k")),
        ("post", "/persist/{key}/increment", await client.post("/persist/c/increment")),
        ("post", "/persist/{key}/increment", await client.post("/persist/text/increment")),
        ("post", "/persist/{key}/increment", await client.post("/persist/c/increment", json={"by": 2**64})),
        ("get", "/persist", await client.get("/persist")),
        ("get", "/persist", await client.get("/persist?limit=x")),
        ("get", "/health", await client.get("/health", headers={"Host": "evil"})),
    ]
    for method, path, answer in met:
        assert str(answer.status_code) in paths[path][method]["responses"], (method, path, answer.status_code)


def test_every_problem_stands_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "http.md").read_text()
    rows = set(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", text, re.M))
    assert rows == {(name, str(status)) for name, (status, _) in PROBLEMS.items()}


# --- health and metrics ---


async def test_health_says_up_to_anybody_and_nothing_more(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "up", "store": "up"})


async def test_health_says_down_when_the_store_does_not_answer(
    anybody: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.store import Health

    async def down(self: Persist) -> Health:
        return Health(False, "redis", 1.0, "connection to secret-host refused")

    monkeypatch.setattr(Persist, "health", down)
    answer = await anybody.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "down", "store": "down"})
    assert answer.headers["retry-after"]


def sample(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    assert found is not None, name
    return float(found[1])


async def test_metrics_count_what_was_done(client: httpx.AsyncClient, store: Persist) -> None:
    driver = store.traits.name
    for n in range(3):
        await client.put(f"/persist/k{n}", json=n)
    await client.get("/persist")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert sample(text, f'holdfast_store_up{{store="{driver}"}}') == 1
    assert (
        sample(text, f'holdfast_operations_total{{capability="persist",operation="set",store="{driver}"}}')
        == 3
    )
    assert (
        sample(text, f'holdfast_operations_total{{capability="persist",operation="keys",store="{driver}"}}')
        == 1
    )
    assert "process_resident_memory_bytes" in text
    assert "this worker process" in text


async def test_metrics_show_batches_errors_and_connections(client: httpx.AsyncClient) -> None:
    from holdfast import events

    events.publish(events.BatchApplied("redis", {"get": 3, "set": 2}, 0.002, None))
    events.publish(events.BatchApplied("redis", {"set": 1}, 0.3, "StoreUnavailable"))
    events.publish(events.Disconnected("redis", "gone"))
    events.publish(events.Connected("redis", 2))
    events.publish(events.Swept("redis", 9))
    text = (await client.get("/metrics")).text
    assert sample(text, 'holdfast_batch_operations_bucket{capability="persist",le="4.0",store="redis"}') == 1
    assert sample(text, 'holdfast_batch_operations_bucket{capability="persist",le="+Inf",store="redis"}') == 2
    assert sample(text, 'holdfast_batch_operations_sum{capability="persist",store="redis"}') == 6
    assert sample(text, 'holdfast_batch_seconds_bucket{capability="persist",le="0.0025",store="redis"}') == 1
    assert (
        sample(text, 'holdfast_errors_total{capability="persist",error="StoreUnavailable",store="redis"}')
        == 1
    )
    assert sample(text, 'holdfast_connects_total{store="redis"}') == 1
    assert sample(text, 'holdfast_disconnects_total{store="redis"}') == 1
    assert sample(text, 'holdfast_swept_total{store="redis"}') == 9


async def test_metrics_tell_what_goes_on_in_rooms(client: httpx.AsyncClient) -> None:
    from holdfast import events
    from holdfast.channels import Channels

    channels = app_of(client).state.channels
    assert isinstance(channels, Channels)
    for n in range(3):
        await channels.publish("room:a", "said", {"n": n})
    events.publish(events.BatchApplied("redis", {"append": 5}, 0.002, None, "channels"))
    events.publish(events.BatchApplied("redis", {"read": 5}, 0.3, None, "channels"))
    events.publish(events.MessageRefused("join", "StoreUnavailable"))
    text = (await client.get("/metrics")).text
    driver = channels.traits.name
    assert (
        sample(
            text, f'holdfast_operations_total{{capability="channels",operation="append",store="{driver}"}}'
        )
        == 3
    )
    assert sample(text, "holdfast_channels_kept_total") == 3
    for name in ("connections", "rooms", "unread_bytes"):
        assert sample(text, f"holdfast_channels_{name}") == 0
    for name in ("joins", "received", "sent", "dropped", "crashed"):
        assert sample(text, f"holdfast_channels_{name}_total") == 0
    assert sample(text, 'holdfast_channels_refused_total{error="StoreUnavailable",where="join"}') == 1
    assert sample(text, 'holdfast_channels_commit_seconds_bucket{le="0.0025",store="redis"}') == 1
    assert sample(text, 'holdfast_channels_commit_seconds_sum{store="redis"}') == 0.002
    reference = (ROOT / "docs" / "reference" / "http.md").read_text()
    for name in set(re.findall(r"^# TYPE (holdfast_\w+)", text, re.M)):
        assert f"`{name}" in reference, name


async def test_a_stopped_server_listens_to_no_events() -> None:
    from holdfast import events

    async with serving(Settings(token=TOKEN)):
        assert events.listeners
    assert not events.listeners
