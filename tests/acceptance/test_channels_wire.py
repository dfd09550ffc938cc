"""The wire as a client sees it, under every server: the table of states, what a room sees, binary vectors."""

from __future__ import annotations

import pytest
from tests.acceptance.wire import Client, Server

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
