"""How a WebSocket begins and ends, under every server: refusals, limits, codes, slow readers, shutdown."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time

import pytest
from tests.acceptance.wire import SECONDS, SERVERS, Client, Server, is_installed
from tests.acceptance.wire_app import FRAME
from tests.conftest import missing
from websockets.exceptions import InvalidStatus

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
