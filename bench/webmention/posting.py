"""How long a receiver takes to answer a POST, with nothing queued and with a thousand sources that hang."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlencode

import msgspec

from bench.measure import median, percentile
from bench.webmention.site import BLOG, addresses

__all__ = ["PATIENCE", "Posted", "post_all"]

ACCEPTED: Final = (200, 201, 202)
PATIENCE: Final = 5.0
"""Seconds that an answer is waited for."""
ALTOGETHER: Final = 15.0
"""Seconds for all answers of one table cell; the median is of those that were asked for in them."""
SETTLE: Final = 3.0
"""Seconds for the thousand to be answered, by a receiver that answers."""


class Posted(msgspec.Struct, frozen=True):
    """In milliseconds; an answer that did not come in time counts as `PATIENCE`."""

    calm: tuple[float, ...]
    queued: int  # of the thousand, those that were answered 2xx in time
    busy: tuple[float, ...]

    @property
    def calm_ms(self) -> float:
        return median(self.calm)

    @property
    def busy_ms(self) -> float:
        return median(self.busy)

    @property
    def p99_ms(self) -> float:
        return percentile(sorted(self.busy), 0.99)


async def post_all(port: int, site_port: int, hosts: int, *, queued: int, posts: int) -> Posted:
    """Ask one after the other, queue, ask again. Every source is another one."""
    where = [f"{address}:{site_port}" for address in addresses(hosts)]
    calm = await _timed(port, [f"http://{where[at % hosts]}/calm/{at}" for at in range(posts)])
    hanging = [f"http://{where[at % hosts]}/hang/{at}" for at in range(queued)]
    asking = [asyncio.ensure_future(_post(port, url)) for url in hanging]
    done, waiting = await asyncio.wait(asking, timeout=SETTLE)
    try:
        answered = sum(task.exception() is None and task.result() in ACCEPTED for task in done)
        busy = await _timed(port, [f"http://{where[at % hosts]}/busy/{at}" for at in range(posts)])
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return Posted(tuple(calm), answered, tuple(busy))


async def _timed(port: int, sources: list[str]) -> list[float]:
    times: list[float] = []
    until = time.perf_counter() + ALTOGETHER
    for source in sources:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status = await _post(port, source)
        except TimeoutError:
            times.append(PATIENCE * 1e3)
        else:
            if status not in ACCEPTED:
                raise RuntimeError(f"answered {status}")
            times.append((time.perf_counter() - began) * 1e3)
        if time.perf_counter() > until:
            break
    return times


async def _post(port: int, source: str) -> int:
    """On a connection of its own, as senders do; its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        form = urlencode({"source": source, "target": BLOG})
        writer.write(
            b"POST / HTTP/1.1\r\nHost: blog.example\r\nConnection: close\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            + f"Content-Length: {len(form)}\r\n\r\n{form}".encode()
        )
        line = await reader.readline()
        await reader.read()
        return int(line.split()[1])
    finally:
        writer.close()
