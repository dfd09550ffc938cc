"""The wire as a client sees it, under every server: the table of states, vectors, refusals, closes, long-poll."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.acceptance.wire import SECONDS, SERVERS, Client, Server, is_installed
from tests.acceptance.wire_app import FRAME
from tests.conftest import missing
from websockets.exceptions import InvalidStatus


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not is_installed(request.param):
        missing(f"{request.param} is not installed")
    with Server(request.param, tmp_path_factory.mktemp("wire")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def topic() -> str:
    return f"room:{secrets.token_hex(4)}"


# --- the table of states: `phoenix` ---


def test_a_heartbeat_is_answered(client: Client) -> None:
    client.send(None, "20", "phoenix", "heartbeat", {})
    assert client.receive() == [None, "20", "phoenix", "phx_reply", {"status": "ok", "response": {}}]


# --- joins ---


def test_a_topic_that_nobody_serves_cannot_be_joined(client: Client) -> None:
    client.send("1", "1", "elsewhere:a", "phx_join", {})
    answer = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert client.receive() == [None, "1", "elsewhere:a", "phx_reply", answer]


def test_no_more_than_so_many_topics_can_be_joined(client: Client) -> None:
    for n in range(5):
        assert client.join(f"room:{n}", str(n))["status"] == "ok"
    client.send("6", "6", "room:6", "phx_join", {})
    answer = {"status": "error", "response": {"reason": "too many channels joined"}}
    assert client.receive()[1:] == ["6", "room:6", "phx_reply", answer]
    client.send("4", "7", "room:4", "phx_leave", {})
    assert client.receive()[3] == "phx_reply"
    assert client.receive()[3] == "phx_close"
    assert client.join("room:6", "8")["status"] == "ok"


def test_a_join_is_answered_with_what_the_application_says(client: Client, topic: str) -> None:
    reply = client.join(topic, "6", a=1, since=None)
    assert reply["status"] == "ok"
    assert reply["response"]["params"] == {"a": 1}


def test_a_join_without_a_join_ref_goes_by_its_ref(client: Client, topic: str) -> None:
    client.send(None, "6", topic, "phx_join", {})
    assert client.receive()[:4] == ["6", "6", topic, "phx_reply"]
    client.send("6", "7", topic, "push", {"n": 1})
    assert client.receive() == ["6", None, topic, "pushed", {"n": 1}]


def test_a_join_may_be_refused_or_crash_and_be_tried_again(client: Client, topic: str) -> None:
    assert client.join(topic, "1", refuse=True) == {"status": "error", "response": {"reason": "not you"}}
    assert client.join(topic, "2", crash=True) == {"status": "error", "response": {"reason": "join crashed"}}
    client.send("2", "3", topic, "echo", {})
    assert client.receive()[4]["response"] == {"reason": "unmatched topic"}
    assert client.join(topic, "4")["status"] == "ok"


def test_a_second_join_replaces_the_first_and_closes_it_behind_its_reply(client: Client, topic: str) -> None:
    client.join(topic, "1")
    client.join(topic, "2")
    assert client.receive() == ["1", "1", topic, "phx_close", {}]
    client.send("1", "3", topic, "echo", {})
    client.is_silent()
    client.send("2", "4", topic, "echo", {"n": 1})
    assert client.receive() == ["2", "4", topic, "phx_reply", {"status": "ok", "response": {"n": 1}}]


# --- leaving ---


@pytest.mark.parametrize("join_ref", ["6", None])
def test_leaving_is_answered_and_then_closed(client: Client, topic: str, join_ref: str | None) -> None:
    client.join(topic, "6")
    client.send(join_ref, "7", topic, "phx_leave", {})
    reply = client.receive()
    assert reply == ["6", "7", topic, "phx_reply", {"status": "ok", "response": {}}]
    assert client.receive() == ["6", "6", topic, "phx_close", {}]


def test_a_stale_leave_is_ignored(client: Client, topic: str) -> None:
    client.join(topic, "6")
    client.send("5", "7", topic, "phx_leave", {})
    client.is_silent()
    client.send("6", "8", topic, "echo", {})
    assert client.receive()[1] == "8"


def test_leaving_twice_is_answered_too(client: Client, topic: str) -> None:
    client.send("6", "7", topic, "phx_leave", {})
    assert client.receive() == ["6", "7", topic, "phx_reply", {"status": "ok", "response": {}}]


# --- anything else ---


@pytest.mark.parametrize("join_ref", ["6", None])
def test_a_push_to_a_joined_topic_is_handled(client: Client, topic: str, join_ref: str | None) -> None:
    client.join(topic, "6")
    client.send(join_ref, "7", topic, "echo", {"text": "\u00fc\U0001f642"})
    answer = {"status": "ok", "response": {"text": "\u00fc\U0001f642"}}
    assert client.receive() == ["6", "7", topic, "phx_reply", answer]


def test_a_reply_may_have_any_status_and_may_be_empty(client: Client, topic: str) -> None:
    client.join(topic)
    client.send("1", "2", topic, "status", {"n": 1})
    assert client.receive()[4] == {"status": "odd", "response": {"n": 1}}
    client.send("1", "3", topic, "nothing", {})
    assert client.receive()[4] == {"status": "ok", "response": {}}


def test_a_push_without_a_ref_is_handled_and_not_answered(client: Client, topic: str) -> None:
    client.join(topic)
    client.send("1", None, topic, "push", {"n": 1})
    assert client.receive() == ["1", None, topic, "pushed", {"n": 1}]
    client.is_silent()


def test_a_push_of_an_earlier_stay_is_ignored(client: Client, topic: str) -> None:
    client.join(topic, "6")
    client.send("5", "7", topic, "push", {})
    client.is_silent()


def test_a_push_to_a_topic_that_is_not_joined_is_refused(client: Client, topic: str) -> None:
    client.send("6", "7", topic, "echo", {})
    answer = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert client.receive() == [None, "7", topic, "phx_reply", answer]


def test_elements_after_the_fifth_are_ignored(client: Client, topic: str) -> None:
    client.send("1", "1", topic, "phx_join", {}, "more", 7)
    assert client.receive()[4]["status"] == "ok"


def test_a_handler_that_raises_makes_the_client_join_anew_and_nothing_else(
    client: Client, topic: str
) -> None:
    client.join(f"{topic}:other", "5")
    client.join(topic, "6")
    client.send("6", "7", topic, "crash", {})
    assert client.receive() == ["6", "6", topic, "phx_error", {"reason": "channel_crash"}]
    client.send("5", "8", f"{topic}:other", "echo", {})
    assert client.receive()[4]["status"] == "ok"
    assert client.join(topic, "9")["status"] == "ok"


# --- what a room sees ---


def test_a_broadcast_reaches_everyone_with_both_refs_null_and_before_the_reply(
    server: Server, client: Client, topic: str
) -> None:
    with server.client() as other:
        client.join(topic, "1")
        other.join(topic, "9")
        client.send("1", "2", topic, "whisper", {"n": 1})
        broadcast = [None, None, topic, "whispered", {"n": 1}]
        assert client.receive() == broadcast
        assert client.receive()[:4] == ["1", "2", topic, "phx_reply"]
        assert other.receive() == broadcast


def test_what_is_kept_is_replayed_after_the_reply_oldest_first_and_resumed_from_a_position(
    server: Server, client: Client, topic: str
) -> None:
    client.join(topic)
    for n in range(5):
        client.send("1", None, topic, "say", {"n": n})
    said = [client.receive() for _ in range(5)]
    assert [each[4]["n"] for each in said] == list(range(5))
    with server.client() as other:
        reply = other.join(topic, "4")
        assert reply["response"]["recovered"] is False
        replayed = [other.receive() for _ in range(3)]
        assert [each[:4] for each in replayed] == [["4", None, topic, "said"]] * 3
        assert [each[4] for each in replayed] == [each[4] for each in said[2:]]
        other.is_silent()
    with server.client() as third:
        reply = third.join(topic, "4", since=said[0][4]["_holdfast"]["position"])
        assert reply["response"]["recovered"] is True
        assert [third.receive()[4]["n"] for _ in range(4)] == [1, 2, 3, 4]
        third.is_silent()


def test_order_is_kept_in_a_burst(server: Server, client: Client, topic: str) -> None:
    with server.client() as other:
        client.join(topic)
        other.join(topic)
        for n in range(300):
            client.send("1", str(n), topic, "say", {"n": n})
        own = [client.receive() for _ in range(600)]
        assert [each[4]["n"] for each in own if each[3] == "said"] == list(range(300))
        assert [each[1] for each in own if each[3] == "phx_reply"] == [str(n) for n in range(300)]
        assert [other.receive()[4]["n"] for _ in range(300)] == list(range(300))


# --- binary, byte for byte ---


def test_the_binary_vectors(server: Server, client: Client) -> None:
    push = bytes.fromhex("0001020603 36 3137 726f6f6d3a61 62696e 0908")
    with server.client() as other:
        client.join("room:a", "6")
        other.join("room:a", "1")
        client.connection.send(push)
        assert client.receive() == bytes.fromhex("00010608 36 726f6f6d3a61 62696e5f70757368 0001")
        broadcast = bytes.fromhex("02060d 726f6f6d3a61 62696e5f62726f616463617374 fffe")
        assert client.receive() == broadcast
        assert client.receive() == bytes.fromhex("0101020602 36 3137 726f6f6d3a61 6f6b 09080304")
        assert other.receive() == broadcast


def test_a_binary_push_may_have_no_refs_and_its_lengths_are_bytes(client: Client, topic: str) -> None:
    named = f"{topic}:\u00fc"
    client.join(named, "1")
    size = len(named.encode())
    client.connection.send(bytes([0, 0, 0, size, 3]) + named.encode() + b"bin")
    pushed = client.receive()
    assert pushed == bytes([0, 1, size, 8]) + b"1" + named.encode() + b"bin_push\x00\x01"
    assert client.receive()[0] == 2
    client.is_silent()


# --- the handshake ---


def refused(server: Server, query: str = "vsn=2.0.0", path: str = "/socket/websocket", **headers: str) -> int:
    """The HTTP status that a WebSocket is refused with; 101 where it is not."""
    try:
        with Client(server.url(query, path), additional_headers=headers) as client:
            client.is_silent()
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code


@pytest.mark.parametrize("query", ["", "vsn=1.0.0", "vsn=2.1.0", "vsn=x", "vsn[]=2.0.0"])
def test_another_version_is_refused_before_it_is_accepted(server: Server, query: str) -> None:
    assert refused(server, query) == 403


@pytest.mark.parametrize("origin", ["https://mallory.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_somebody_else_is_refused_before_it_is_accepted(server: Server, origin: str) -> None:
    assert refused(server, Origin=origin) == 403


def test_our_own_page_is_let_in(server: Server) -> None:
    assert refused(server, Origin=f"http://127.0.0.1:{server.port}") == 101


def test_another_host_is_refused_before_it_is_accepted(server: Server) -> None:
    assert raw_status(server, "mallory.example") == 403
    assert raw_status(server, f"127.0.0.1:{server.port}") == 101


def raw_status(server: Server, host: str) -> int:
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as raw:
        raw.sendall(request(host))
        return int(raw.recv(4096).split()[1])


def request(host: str, query: str = "vsn=2.0.0") -> bytes:
    lines = (
        f"GET /socket/websocket?{query} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_who_connect_refuses_is_refused_and_one_that_fails_is_an_error(server: Server) -> None:
    assert refused(server, "vsn=2.0.0&refuse=1") == 403
    assert refused(server, "vsn=2.0.0&crash=1") == 500
    assert refused(server, path="/socket/elsewhere") == 404


def test_the_token_comes_by_subprotocol_and_phoenix_is_answered(server: Server, topic: str) -> None:
    token = "a token \u00fc?>"
    encoded = base64.b64encode(token.encode()).decode().rstrip("=")
    offered = ["phoenix", f"base64url.bearer.phx.{encoded}"]
    with server.client("user%5Bid%5D=ada&&vsn=2.0.0&", subprotocols=offered) as client:
        assert client.connection.subprotocol == "phoenix"
        client.join(topic)
        client.send("1", "2", topic, "who", {})
        assert client.receive()[4]["response"] == {"id": "ada", "token": token}


# --- the end ---


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "[1,2,3,4,5]",
        '["1","1","t","e"]',
        '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}',
        json.dumps(["1", "1", "x" * 256, "e", {}]),
        b"",
        b"\x00\x01\x01",
        b"\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\xff\x00abc",
        b"\x00\x00\x00\x01\x00\xff",
    ],
)
def test_what_is_malformed_ends_the_connection_with_1007(client: Client, frame: str | bytes) -> None:
    client.connection.send(frame)
    assert client.closed()[0] == 1007


def test_text_that_is_no_utf_8_ends_the_connection(server: Server, client: Client) -> None:
    client.connection.send(b'[null,"\xff","phoenix","heartbeat",{}]', text=True)
    code = client.closed()[0]
    if server.name in ("uvicorn-wsproto", "hypercorn", "granian"):  # which end it without a word
        assert code in (None, 1005, 1007)
    else:
        assert code == 1007


def test_a_frame_may_be_as_large_as_the_limit_and_no_larger(client: Client, topic: str) -> None:
    client.join(topic)
    frame = json.dumps(["1", "2", topic, "nothing", {"text": ""}])
    client.connection.send(frame.replace('""', '"' + "x" * (FRAME - len(frame)) + '"'))
    assert client.receive()[4]["status"] == "ok"
    client.connection.send(frame.replace('""', '"' + "x" * (FRAME - len(frame) + 1) + '"'))
    assert client.closed()[0] == 1009


def test_a_binary_frame_that_is_too_large_ends_the_connection(client: Client) -> None:
    client.connection.send(b"\0" * (FRAME + 1))
    assert client.closed()[0] == 1009


def test_a_message_in_fragments_is_one(client: Client, topic: str) -> None:
    client.connection.send(['["1","1","', topic, '","phx_join",', "{}]"])
    assert client.receive()[4]["status"] == "ok"
    size = len(topic)
    client.connection.send([bytes([0, 1, 1, size, 3]) + b"1", b"2" + topic.encode(), b"bin", b"\x09"])
    client.receive()
    client.receive()
    assert client.receive() == bytes([1, 1, 1, size, 2]) + b"12" + topic.encode() + b"ok\x09\x03\x04"


def test_a_ping_is_answered(client: Client) -> None:
    assert client.connection.ping(b"hello").wait(SECONDS)


def test_an_expired_user_is_sent_away_with_a_code_to_come_back(server: Server) -> None:
    with server.client("user[id]=ada&expires=0.2&vsn=2.0.0") as client:
        assert client.closed() == (1001, "expired")


def test_a_disconnected_user_is_sent_away_on_all_connections(
    server: Server, client: Client, topic: str
) -> None:
    name = secrets.token_hex(4)
    with (
        server.client(f"user[id]={name}&vsn=2.0.0") as one,
        server.client(f"user[id]={name}&vsn=2.0.0") as two,
    ):
        one.join(topic)
        client.join(topic)
        client.send("1", "2", topic, "disconnect", {"id": name})
        assert client.receive()[4]["status"] == "ok"
        assert one.closed() == two.closed() == (1001, "disconnected")
    client.is_silent()


def test_a_client_that_leaves_is_forgotten(server: Server, client: Client, topic: str) -> None:
    client.join(topic)

    def connections() -> int:
        client.send("1", "2", topic, "dropped", {})
        found: int = client.receive()[4]["response"]["connections"]
        return found

    before = connections()
    with server.client() as one, server.client() as two:
        one.is_silent()
        two.is_silent()
        assert connections() == before + 2
        two.connection.socket.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + SECONDS
    while connections() > before:
        assert time.monotonic() < deadline
    assert connections() == before


def test_a_reader_that_is_too_slow_is_let_go_and_the_room_goes_on(
    server: Server, client: Client, topic: str
) -> None:
    with server.client() as quick, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(SECONDS)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(request(f"127.0.0.1:{server.port}"))
        assert b" 101 " in slow.recv(4096)
        join = json.dumps(["1", "1", topic, "phx_join", {}]).encode()
        slow.sendall(bytes([0x81, 0x80 | len(join)]) + b"\0\0\0\0" + join)
        assert b"phx_reply" in slow.recv(4096)
        client.join(topic)
        quick.join(topic)
        dropped = 0
        count = 0
        while not dropped:
            assert count < 600, "it is never let go"
            client.send("1", None, topic, "whisper", {"n": count, "text": "x" * 50_000})
            count += 1
            assert client.receive()[4]["n"] == count - 1
            assert quick.receive()[4]["n"] == count - 1
            client.send("1", "d", topic, "dropped", {})
            dropped = client.receive()[4]["response"]["dropped"]
        assert said_too_slow(slow)


def said_too_slow(slow: socket.socket) -> bool:
    """Read on: there is a close, unless the connection was cut, which no client that does not read can tell."""
    end = time.monotonic() + SECONDS
    read = b""
    try:
        while data := slow.recv(1 << 20):
            assert time.monotonic() < end
            read = (read + data)[-200:]
            if read.endswith(b"\x03\xf5too slow"):
                return True
    except ConnectionResetError:
        pass
    return b"\x88" not in read[-140:]


# --- long-poll ---


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


# --- shutdown ---


@pytest.mark.parametrize("name", SERVERS)
def test_the_end_of_the_server_is_one_to_come_back_from(
    name: str, tmp_path_factory: pytest.TempPathFactory, topic: str
) -> None:
    if not is_installed(name):
        missing(f"{name} is not installed")
    with Server(name, tmp_path_factory.mktemp("end")) as server, server.client() as client:
        client.join(topic)
        server.terminate()
        code, _ = client.closed()
        assert code != 1000
        if name.startswith("uvicorn"):
            assert code == 1012
