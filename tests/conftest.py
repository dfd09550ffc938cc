"""Servers for the whole run: one of each, started when the first test asks for it.

`TEST_REDIS_URL`, `TEST_POSTGRES_URL` and `TEST_MYSQL_URL` point at servers that
exist; those are shared with whoever else uses them, so tests keep to a
namespace of their own and never flush. Without them a private server is
started on a free loopback port; MySQL is only ever pointed at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from holdfast.testing.servers import PostgresServer, RedisServer, ServerMissing


def missing(reason: str) -> NoReturn:
    """Skip, saying what would help; in CI a skipped engine is a failure."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """A command that serves lets nobody else read what it makes; the servers of later tests must be read."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis: `redis://host:port/0`."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    try:
        server = RedisServer().start()
    except ServerMissing as exc:
        missing(f"{exc}; or set TEST_REDIS_URL")
    with server:
        yield server.url


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A cluster of one private node: `redis+cluster://host:port`."""
    try:
        server = RedisServer(cluster=True).start()
    except ServerMissing as exc:
        missing(str(exc))
    with server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres: `postgresql://user@host:port/database`, its user may make tables."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    try:
        server = PostgresServer(fsync="off").start()  # nothing outlives the run
    except ServerMissing as exc:
        missing(f"{exc}; or set TEST_POSTGRES_URL")
    with server:
        yield server.url


@pytest.fixture(scope="session")
def mysql_url() -> str:
    """A MySQL or MariaDB that someone pointed at: `mysql+asyncmy://user:password@host/database`."""
    given = os.environ.get("TEST_MYSQL_URL")
    if not given:
        # Not `missing`: no MySQL comes with a package, so CI without one is not a fault.
        pytest.skip("set TEST_MYSQL_URL=mysql+asyncmy://user:password@host/database to test against MySQL")
    return given
