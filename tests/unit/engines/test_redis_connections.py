"""Every way to a Redis: sockets, passwords, TLS, a client that was passed in, Sentinel, and the wrong server."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.sentinel import Sentinel
from tests.unit.engines.redis_lab import LOOPS as LOOPS
from tests.unit.engines.redis_lab import SentinelServer, connected, fake, opened, parsed, replicas_of

from holdfast.engines.redis import Address, RedisEngine, pack, refusal_word
from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.testing.processes import free_port
from holdfast.testing.servers import RedisServer

# --- ways to connect ---


async def test_the_database_of_the_url_is_selected(server: RedisServer) -> None:
    async with opened(server.url[:-1] + "3") as third, opened(server.url) as first:
        await third.call("SET", "where", "third")
        assert await first.call("GET", "where") is None


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_unix_socket_serves(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(unixsocket=str(path)):
        async with opened(f"redis+unix://{path}?db=1&protocol={protocol}") as engine:
            assert await engine.call("ECHO", "x") == b"x"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_password_opens_and_a_wrong_one_is_a_misconfiguration(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(requirepass="se:cret", unixsocket=str(path)) as server:
        place = server.url.rpartition("@")[2]
        async with opened(f"redis://:se%3Acret@{place}?protocol={protocol}") as engine:
            assert await engine.call("PING") == b"PONG"
        for wrong in (
            f"redis://:wrong@{place}?protocol={protocol}",
            f"redis://{place}?protocol={protocol}",
            f"redis+unix://:wrong@{path}?protocol={protocol}",
        ):
            with pytest.raises(StoreMisconfigured) as caught:
                async with opened(wrong):
                    pass
            assert "wrong" not in str(caught.value).partition("WRONGPASS")[0]
            assert "cret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder


async def test_tls_carries_more_than_fits_a_socket_and_checks_the_certificate(certificate: Path) -> None:
    port = free_port()
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    options = {"tls_port": port, "tls_cert_file": cert, "tls_key_file": key, "tls_ca_cert_file": cert}
    with RedisServer(**options, tls_auth_clients="no") as server:
        async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}") as engine:
            await asyncio.to_thread(server.pause)  # so that the transport has to hold back
            sent = [engine.send(pack(("SET", f"k{number}", b"x" * 400_000)), 1) for number in range(40)]
            sent.append(engine.send(pack(("DBSIZE",)), 1))
            await asyncio.to_thread(server.resume)
            assert await asyncio.gather(*sent) == [[b"OK"]] * 40 + [[40]]
            assert len(await engine.call("MGET", *(f"k{number}" for number in range(40)))) == 40
        with pytest.raises(StoreMisconfigured, match="certificate verify failed"):
            async with opened(f"rediss://127.0.0.1:{port}/0"):
                pass


async def test_a_client_that_was_passed_in_is_used_as_it_is_and_stays_open(server: RedisServer) -> None:
    client = redis.asyncio.Redis(port=server.port, db=2, decode_responses=True)
    try:
        engine = RedisEngine(Address.of_client(client))
        await engine.open()
        assert await engine.call("SET", "k", "1") == b"OK"
        assert await client.get("k") == "1"
        await engine.close()
        assert await client.ping() is True
    finally:
        await client.aclose()
    with pytest.raises(TypeError, match="not dict"):
        Address.of_client({})


async def test_an_open_that_fails_leaves_nothing_behind(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)
    engine = RedisEngine.from_url(parsed(server.url))
    with pytest.raises(StoreUnavailable) as caught:
        await engine.open()
    assert caught.value.maybe_applied is False
    assert len(asyncio.all_tasks()) == 1
    await asyncio.to_thread(server.start)
    await engine.open()
    assert await engine.call("PING") == b"PONG"
    await engine.close()


async def test_a_server_that_is_too_old_or_of_another_kind_is_a_misconfiguration(
    redis_cluster_url: str,
) -> None:
    async def old(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command == [b"HELLO"]:
            send(b"-ERR unknown command 'HELLO'\r\n")

    async def rather_old(command: list[bytes], send: Callable[[bytes], None]) -> None:
        if command == [b"HELLO"]:
            send(b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n")

    for answer, says in ((old, "older than 6"), (rather_old, "redis 6.0.16 is too old")):
        async with fake(answer) as url:
            with pytest.raises(StoreMisconfigured, match=says):
                async with opened(url):
                    pass
    with pytest.raises(StoreMisconfigured, match="use redis\\+cluster"):
        async with opened(redis_cluster_url.replace("redis+cluster", "redis")):
            pass


# --- the wrong server ---


async def test_a_replica_refuses_writes_serves_reads_and_recovers_when_it_is_promoted(
    server: RedisServer,
) -> None:
    async with opened(server.url) as engine:
        await engine.call("SET", "k", "1")
        await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", "1")
        refused = engine.send(pack(("SET", "k", "2")), 1)
        (reply,) = await refused
        assert refusal_word(reply) == "READONLY"
        engine.refused(reply)
        assert await engine.call("GET", "k") == b"1"
        await asyncio.to_thread(server.command, "REPLICAOF", "NO", "ONE")
        await connected(engine)
        assert await engine.call("SET", "k", "3") == b"OK"


async def test_what_is_under_way_when_a_server_is_left_is_still_answered(server: RedisServer) -> None:
    async with opened(server.url) as engine:
        await asyncio.to_thread(server.command, "REPLICAOF", "127.0.0.1", "1")
        await asyncio.to_thread(server.pause)
        write = engine.send(pack(("SET", "k", "2")), 1, lambda replies: engine.refused(replies[0]))
        read = engine.send(pack(("ECHO", "x")), 1)
        await asyncio.to_thread(server.resume)
        assert await write is None
        assert await read == [b"x"]


async def test_sentinel_leads_to_the_master_and_to_the_next_one() -> None:
    with RedisServer(repl_diskless_sync_delay=0) as master, RedisServer() as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(master.port))
        with SentinelServer(master.port) as sentinel:
            while f"port={replica.port}" not in replicas_of(sentinel):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/mymaster/0"
            own = Sentinel([("127.0.0.1", sentinel.port)])
            client = own.master_for("mymaster")
            passed_in = RedisEngine(Address.of_client(client))
            await passed_in.open()
            async with opened(url) as engine:
                assert await engine.call("SET", "k", "1") == b"OK"
                assert await engine.call("WAIT", 1, 2000) == 1
                await asyncio.to_thread(master.kill)
                for each in (engine, passed_in):
                    await connected(each)
                    assert await each.call("GET", "k") == b"1"
                    assert await each.call("SET", "k", "1") == b"OK"
                    assert each.server.role == "master"
            await passed_in.close()
            await client.aclose()
            for each in own.sentinels:
                await each.aclose()


async def test_a_sentinel_taken_for_a_server_is_a_misconfiguration(server: RedisServer) -> None:
    with SentinelServer(server.port) as sentinel:
        with pytest.raises(StoreMisconfigured, match="this is a sentinel"):
            async with opened(f"redis://127.0.0.1:{sentinel.port}"):
                pass
        with pytest.raises(StoreUnavailable, match="No master found"):
            async with opened(f"redis+sentinel://127.0.0.1:{sentinel.port}/unknown"):
                pass
