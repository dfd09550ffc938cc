"""Long-poll under every server, and over several processes on one port."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from tests.acceptance.wire import Client, Server


class Poller:
    """A long-poll client as npm's is: the token in the query."""

    def __init__(self, server: Server, limits: httpx.Limits | None = None) -> None:
        self.http = httpx.Client(timeout=20, limits=limits or httpx.Limits())
        self.url = f"http://127.0.0.1:{server.port}/socket/longpoll"
        self.token = ""

    def get(self) -> dict[str, object]:
        answer = self.http.get(f"{self.url}?vsn=2.0.0&token={self.token}")
        assert answer.status_code == 200
        said: dict[str, object] = answer.json()
        self.token = str(said.get("token") or "")
        return said

    def post(self, *lines: object) -> int:
        body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        headers = {"content-type": "application/x-ndjson"}
        answer = self.http.post(f"{self.url}?vsn=2.0.0&token={self.token}", content=body, headers=headers)
        status: int = answer.json()["status"]
        return status

    def hear(self, count: int) -> list[list[object]]:
        found: list[list[object]] = []
        while len(found) < count:
            said = self.get()
            assert said["status"] == 200, said
            found += map(json.loads, said["messages"])  # type: ignore[call-overload]
        return found


@pytest.fixture
def poller(server: Server) -> Iterator[Poller]:
    poller = Poller(server)
    with poller.http:
        yield poller


def test_long_poll_is_the_same_conversation(client: Client, poller: Poller, topic: str) -> None:
    client.join(topic)
    assert poller.get()["status"] == 410
    assert poller.post(["1", "1", topic, "phx_join", {}], ["1", "2", topic, "say", {"n": 1}]) == 200
    joined, said, replied = poller.hear(3)
    assert joined[:4] == ["1", "1", topic, "phx_reply"]
    assert said[:4] == [None, None, topic, "said"]
    assert replied == ["1", "2", topic, "phx_reply", {"status": "ok", "response": {"n": 1}}]
    assert client.receive() == said
    client.send("1", None, topic, "say", {"n": 2})
    (said,) = poller.hear(1)
    assert said == client.receive()


def test_long_poll_takes_binary_and_gives_it_as_text(poller: Poller, topic: str) -> None:
    poller.get()
    push = bytes([0, 1, 1, len(topic), 3]) + b"12" + topic.encode() + b"bin" + b"\x09"
    assert poller.post(["1", "1", topic, "phx_join", {}], base64.b64encode(push).decode()) == 200
    heard = poller.hear(4)
    assert heard[-1][:4] == ["1", "2", topic, "phx_reply"]
    answer = {"_holdfast": {"base64": base64.b64encode(b"\x09\x03\x04").decode()}}
    assert heard[-1][4] == {"status": "ok", "response": answer}


def test_long_poll_ends_with_what_is_malformed(poller: Poller) -> None:
    poller.get()
    assert poller.post("{") == 410
    assert poller.get() == {"status": 500}


def test_long_poll_refuses_whom_the_websocket_refuses(server: Server, poller: Poller) -> None:
    for query, headers in (
        ("vsn=1.0.0", {}),
        ("vsn=2.0.0&refuse=1", {}),
        ("vsn=2.0.0", {"origin": "https://mallory.example"}),
        ("vsn=2.0.0", {"host": "mallory.example"}),
    ):
        answer = poller.http.get(f"{poller.url}?{query}", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": 403})


def test_long_poll_needs_no_sticky_routing(tmp_path_factory: pytest.TempPathFactory, topic: str) -> None:
    """Two worker processes on one port: each request is a connection of its own, and goes where the kernel likes."""
    folder = tmp_path_factory.mktemp("workers")
    with Server("uvicorn", folder, "--workers", "2", store=f"sqlite:///{folder}/app.db") as server:
        pollers: list[Poller] = []
        while len(nodes := {poller.token.partition(".")[0] for poller in pollers}) < 2:
            assert len(pollers) < 100, f"all went to one worker: {nodes}"
            pollers.append(Poller(server, httpx.Limits(max_keepalive_connections=0)))
            pollers[-1].get()
        for poller in pollers:
            assert poller.post(["1", "1", topic, "phx_join", {}]) == 200
            poller.hear(1)
        assert pollers[0].post(["1", None, topic, "say", {"n": 1}]) == 200
        for poller in pollers:
            (said,) = poller.hear(1)
            assert said[:4] == [None, None, topic, "said"]
            poller.http.close()
