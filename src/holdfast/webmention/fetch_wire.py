"""Bytes on the wire, counted before anything looks at them.

The client library bounds lines and headers, and not how often an answer is
promised ("103 Early Hints", again and again) or how much framing a body is
wrapped in (chunks of one byte). A site that floods either would keep the event
loop busy to the deadline: its connection is ended at the count instead.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["MAX_HEAD_BYTES", "bound_the_wire"]

MAX_HEAD_BYTES: Final = 1 << 16
_SLICE: Final = 1 << 12


class _CountedResponses(ResponseHandler):
    """One connection whose answers may each be so long."""

    def __init__(self, loop: Any, max_wire_bytes: int) -> None:
        super().__init__(loop)
        self._max_wire_bytes = max_wire_bytes
        self._answered = False  # the status that counts is there
        self._received = 0  # of this answer, or since the last

    def set_response_params(self, *args: Any, **kwargs: Any) -> None:
        """The next request is about to be sent."""
        self._answered, self._received = False, 0
        super().set_response_params(*args, **kwargs)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head was read, if only one that promises another."""
        self._answered = self._answered or data[0].code >= 200
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """In slices until the head is there: what comes at once may be a quarter of a megabyte."""
        while data and not self._answered:
            now, data = data[:_SLICE], data[_SLICE:]
            if not self._counted(now, MAX_HEAD_BYTES):
                return
            super().data_received(now)
        if data and self._counted(data, self._max_wire_bytes):
            super().data_received(data)

    def _counted(self, data: bytes, limit: int) -> bool:
        self._received += len(data)
        if self._received <= limit:
            return True
        if self.transport is not None:
            self.transport.abort()
        if self._payload is not None and self._answered:
            self._payload.set_exception(aiohttp.ClientPayloadError("more bytes than a body may take"))
        else:
            self.set_exception(HttpProcessingError(code=400, message="more bytes than a head may take"))
        return False


def bound_the_wire(connector: aiohttp.TCPConnector, max_bytes: int) -> None:
    """Make all connections of `connector` counted ones, for bodies of so many bytes.

    Through a private attribute, which has been there for as long as the
    library has had connectors: there is no public place before its parser. A
    test with a flood tells when it moves.
    """
    # Twice the body is what chunks of nine bytes take, and a body of the bound has its head and its compression.
    limit = 2 * max_bytes + 2 * MAX_HEAD_BYTES
    made: Any = partial(_CountedResponses, loop=connector._loop, max_wire_bytes=limit)
    connector._factory = made
