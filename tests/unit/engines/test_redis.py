"""The Redis engine: addresses, commands and their replies, the words of refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engines.redis_lab import LOOPS as LOOPS
from tests.unit.engines.redis_lab import connected, fake, opened, parsed, with_query

from holdfast.engines.redis import RedisEngine, Refusal, Script, as_error, pack, refusal_word
from holdfast.errors import InvalidConversion, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.testing.servers import RedisServer

# --- addresses ---


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://localhost?protocl=3", "did you mean 'protocol'"),
        ("redis://localhost?protocol=4", "protocol is 2 or 3"),
        ("redis://localhost?db=x", "db='x' is no value"),
        ("redis://localhost/zero", "the database is a number"),
        ("redis://localhost:port/0", "Port could not be cast"),
        ("redis://localhost?ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'"),
        ("redis://localhost?timeout=0", "not a number of at least"),
        ("redis+unix://?db=0", "no socket"),
        ("redis+sentinel://localhost", "no master named"),
    ],
)
def test_an_url_that_cannot_be_meant_is_refused_before_any_connection(url: str, says: str) -> None:
    with pytest.raises(StoreMisconfigured, match=says):
        RedisEngine.from_url(parsed(url))


def test_an_url_becomes_what_redis_py_is_told() -> None:
    url = parsed("valkey://ann:p%40ss@host:7000/3?timeout=2&client_name=web")
    connection = RedisEngine.from_url(url).address.connection()
    told = (connection.host, connection.port, connection.db, connection.username, connection.password)
    assert told == ("host", 7000, 3, "ann", "p@ss")
    assert connection.client_name == "web"
    assert connection.socket_connect_timeout == 2
    assert connection.retry.get_retries() == 0 if hasattr(connection.retry, "get_retries") else True


def test_a_sentinel_url_names_its_hosts_the_master_and_the_database() -> None:
    url = parsed("redis+sentinel://:secret@a:1,b,[::1]:3/the%20master/2?sentinel_password=other")
    address = RedisEngine.from_url(url).address
    pool: Any = address._pool
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("a", 1), ("b", 26379), ("::1", 3)]
    assert {each["password"] for each in asked} == {"other"}
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("the master", 2)
    assert pool.connection_kwargs["password"] == "secret"
    assert address.master


# --- commands ---


async def test_commands_are_answered_in_the_order_they_were_sent(redis_url: str) -> None:
    async with opened(redis_url) as engine:
        batches = [[f"{batch}.{number}" for number in range(batch + 1)] for batch in range(40)]
        sent = [
            engine.send(b"".join(pack(("ECHO", word)) for word in words), len(words)) for words in batches
        ]
        answers = await asyncio.gather(*sent)
        assert [[word.decode() for word in answer] for answer in answers] == batches


@pytest.mark.parametrize("protocol", [2, 3])
async def test_replies_of_every_size_arrive_whole(redis_url: str, protocol: int) -> None:
    async with opened(with_query(redis_url, f"protocol={protocol}")) as engine:
        texts = [b"x" * size for size in (0, 1, 1000, 70_000, 3_000_000, 5)]
        answers = await asyncio.gather(*(engine.call("ECHO", text) for text in texts))
        assert answers == texts


async def test_an_error_reply_is_its_own_commands_alone(redis_url: str) -> None:
    async with opened(redis_url) as engine:
        data = pack(("ECHO", "a")) + pack(("NONSENSE",)) + pack(("ECHO", "b"))
        first, refused, last = await engine.send(data, 3)
        assert (first, last) == (b"a", b"b")
        assert type(refused) is Refusal
        with pytest.raises(StoreError, match="NONSENSE: redis: ERR unknown command"):
            await engine.call("NONSENSE")


async def test_a_reader_that_fails_fails_its_own_batch_alone(redis_url: str) -> None:
    def reader(replies: list[Any]) -> Any:
        raise LookupError("mine")

    async with opened(redis_url) as engine:
        broken, whole = engine.send(pack(("PING",)), 1, reader), engine.send(pack(("PING",)), 1)
        with pytest.raises(LookupError, match="mine"):
            await broken
        assert await whole == [b"PONG"]


async def test_a_future_given_up_in_flight_takes_its_own_reply_and_no_other(redis_url: str) -> None:
    async with opened(redis_url) as engine:
        sent = [engine.send(pack(("ECHO", str(number))), 1) for number in range(100)]
        for number in range(0, 100, 3):
            sent[number].cancel()
        for number, future in enumerate(sent):
            if number % 3:
                assert await future == [str(number).encode()]


async def test_pushes_of_resp3_are_no_replies(redis_url: str) -> None:
    async with opened(with_query(redis_url, "protocol=3")) as engine, opened(redis_url) as other:
        await engine.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "pushed:", "NOLOOP")
        for number in range(50):
            writing = other.call("SET", f"pushed:{number}", "1")
            reading = [engine.send(pack(("ECHO", f"{number}.{part}")), 1) for part in range(3)]
            await writing
            answers = [reply for (reply,) in await asyncio.gather(*reading)]
            assert answers == [f"{number}.{part}".encode() for part in range(3)]
        assert await engine.call("PING") == b"PONG"
        await other.call("DEL", *(f"pushed:{number}" for number in range(50)))


async def test_a_push_inside_a_batch_is_dropped_from_it() -> None:
    async def answer(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command[0] == b"MANY":
            send(b">2\r\n+invalidate\r\n*0\r\n+a\r\n>2\r\n+x\r\n+y\r\n>1\r\n+z\r\n")
            await asyncio.sleep(0)
            send(b"+b\r\n>1\r\n+late\r\n")

    async with fake(answer) as url, opened(with_query(url, "protocol=3")) as engine:
        assert await engine.send(pack(("MANY",)) + b"", 2) == [b"a", b"b"]
        assert await engine.call("PING") == b"PONG"


async def test_scripts_are_known_again_after_a_reconnect(server: RedisServer) -> None:
    script = Script.of("return ARGV[1]")
    async with opened(server.url) as engine:
        await engine.load(script)
        assert await engine.call("EVALSHA", script.sha, 0, "x") == b"x"
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await connected(engine)
        assert await engine.call("EVALSHA", script.sha, 0, "y") == b"y"


# --- words ---


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
        ("ERR unknown command", "ERR"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED"),
        (
            "ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against a key",
            "WRONGTYPE",
        ),
        ("ERR Error running script (call to f_1): @user_script:2: @user_script: 2: -OOM command not", "OOM"),
        ("max number of clients reached", "ERR"),
        ("", "ERR"),
    ],
)
def test_an_error_reply_is_known_by_its_word(text: str, word: str) -> None:
    assert refusal_word(Refusal(text)) == word


def test_an_error_reply_says_what_it_was_about_and_is_of_the_right_kind() -> None:
    assert isinstance(as_error("get 'k'", Refusal("WRONGTYPE x")), InvalidConversion)
    assert isinstance(as_error("get 'k'", Refusal("NOPERM x")), StoreMisconfigured)
    full = as_error("set 'k'", Refusal("OOM command not allowed when used memory > 'maxmemory'."))
    assert isinstance(full, StoreUnavailable)
    assert full.maybe_applied is False
    assert str(full).startswith("set 'k': redis: OOM command not allowed")
