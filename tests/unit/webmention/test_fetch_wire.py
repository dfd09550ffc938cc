"""Bytes are counted as they arrive, before anything looks at them. With real floods: test_fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from holdfast.webmention.fetch_wire import MAX_HEAD_BYTES, bound_the_wire

from .site_lab import Lab, Reply

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PROMISE = b"HTTP/1.1 103 Soon\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that only says whether it was given up."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        """Nothing more is sent anyway."""

    def resume_reading(self) -> None:
        """As above."""


@pytest.fixture
async def asked() -> Callable[[], tuple[Any, Wire]]:
    """A connection that a request has just been sent on, for bodies of 1,000 bytes."""
    connector = aiohttp.TCPConnector()
    bound_the_wire(connector, 1000)
    await connector.close()

    def connection() -> tuple[Any, Wire]:
        protocol, wire = connector._factory(), Wire()
        protocol.connection_made(wire)
        protocol.set_response_params()
        return protocol, wire

    return connection


def fed(protocol: ResponseHandler, wire: Wire, data: bytes, times: int) -> int:
    """Bytes that were taken before the connection was given up."""
    for n in range(times):
        if wire.aborted:
            return n * len(data)
        protocol.data_received(data)
    return times * len(data)


async def test_promises_are_taken_up_to_the_bound_of_a_head(asked: Callable[[], tuple[Any, Wire]]) -> None:
    protocol, wire = asked()
    assert fed(protocol, wire, PROMISE, 10_000) <= MAX_HEAD_BYTES + len(PROMISE)
    assert wire.aborted


async def test_what_comes_at_once_is_looked_at_no_further_than_that_either(
    asked: Callable[[], tuple[Any, Wire]],
) -> None:
    protocol, wire = asked()
    protocol.data_received(PROMISE * 12_000)
    assert wire.aborted
    assert len(protocol) * len(PROMISE) <= MAX_HEAD_BYTES


async def test_a_body_with_its_framing_is_taken_up_to_twice_what_is_wanted(
    asked: Callable[[], tuple[Any, Wire]],
) -> None:
    protocol, wire = asked()
    protocol.data_received(HEAD)
    taken = fed(protocol, wire, b"1\r\nx\r\n", 100_000)
    assert wire.aborted
    assert 2000 <= taken <= 2000 + 2 * MAX_HEAD_BYTES


async def test_each_answer_on_a_connection_is_counted_anew() -> None:
    async with Lab() as lab:
        bob = await lab.site()
        bob.answer("/", Reply("x" * 1000, headers=[("X-Pad", "x" * 7000)]))
        async with lab.fetcher(max_bytes=1000) as web:
            for _ in range(30):
                assert (await web.get(bob.url())).status == 200
        assert bob.connections == 1
