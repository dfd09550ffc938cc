"""Two processes' drivers over one Postgres, played by two engines, and a connection that meddles."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.channels.driver import Append, Operation, Read
from holdfast.channels.drivers.postgres import PostgresDriver
from holdfast.store import StoreURL
from holdfast.testing.channels.ear import Ear
from holdfast.testing.processes import free_port

OWN = ("lanes", "timeout", "pgbouncer", "listen")
PATIENCE = 20.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresDriver]:
    driver = PostgresDriver.from_url(StoreURL.parse(url, own=OWN, foreign=True))
    await driver.open()
    try:
        await driver.migrate()
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def meddling(url: str) -> AsyncIterator[Any]:
    """A plain connection beside the drivers."""
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def following(driver: PostgresDriver, *keys: str) -> AsyncIterator[Ear]:
    ear = Ear()
    subscription = await driver.subscribe(ear)
    for key in keys:
        await subscription.follow(key)
    try:
        yield ear
    finally:
        await subscription.close()


async def heard(ear: Ear, done: Callable[[], bool], what: str) -> None:
    await ear.until(done, PATIENCE, what)


async def blocked(meddler: Any, statement: str) -> int:
    """The pid of the backend that waits for a lock in a statement like this, once one does."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = await meddler.fetch(query, f"%{statement}%")
            if rows:
                return int(rows[0][0])
            await asyncio.sleep(0.005)


def counted(driver: PostgresDriver) -> list[str]:
    """The statements that the driver sends from now on."""
    assert driver._lease is not None
    engine = driver._lease.engine
    sent: list[str] = []
    fetch = engine.fetch

    def counting(lane: int, sql: str, *args: Any) -> Any:
        sent.append(sql)
        return fetch(lane, sql, *args)

    engine.fetch = counting  # type: ignore[method-assign]
    return sent


def said(key: str, text: str = "hello", **options: Any) -> Append:
    return Append(key, "said", f'{{"text":"{text}"}}'.encode(), **options)


async def one(driver: PostgresDriver, op: Operation) -> Any:
    (outcome,) = await driver.apply([op])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def texts(driver: PostgresDriver, key: str, limit: int = 10_000) -> list[str]:
    log = await one(driver, Read(key, limit))
    return [str(entry.payload)[9:-2] for entry in log.entries]


def prefix(request: pytest.FixtureRequest) -> str:
    """The beginning of this test's topics alone: the server may be everybody's."""
    return f"test:{request.node.name}:{random.getrandbits(48):x}:c:"


# --- a pgbouncer ---

_INI = """
[databases]
postgres = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 2
unix_socket_dir =
"""


@contextmanager
def bouncer(server_port: int) -> Iterator[str]:
    """A pgbouncer that pools transactions over two server connections."""
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="holdfast-pgbouncer-") as name:
        folder = Path(name)
        (folder / "users.txt").write_text('"holdfast" ""\n')
        (folder / "bouncer.ini").write_text(_INI.format(server=server_port, port=port, folder=folder))
        folder.chmod(0o755)  # as root it must become another user, who reads these
        user = "nobody" if os.geteuid() == 0 else None
        with (folder / "log").open("wb") as log:
            command = [binary, str(folder / "bouncer.ini")]
            process = subprocess.Popen(command, user=user, cwd="/", stdout=log, stderr=log)
        try:
            _wait_for(port)
            yield f"postgresql://holdfast@127.0.0.1:{port}/postgres?pgbouncer=true"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("pgbouncer does not start")
