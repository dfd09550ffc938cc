"""The lines of a file or a pipe, in bounded memory, while the event loop goes on."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from typing import Final

__all__ = ["TooLong", "Unreadable", "blocks", "numbered"]

CHUNK: Final = 1 << 18
GZIP: Final = 31  # zlib's word for: a gzip header, largest window


class Unreadable(Exception):
    """The compressed stream is damaged or ends too early; nothing after this point can be read."""


class TooLong:
    """Stands where a line was that is longer than allowed; it was read over."""


async def blocks(descriptor: int) -> AsyncIterator[bytes]:
    """What the descriptor holds, as it comes.

    A pipe or terminal is waited for by the event loop, so that connections stay
    alive and Ctrl-C is heard; a file on disk cannot be waited for, and need not.
    """
    waits = True
    while True:
        if waits:
            waits = await _readable(descriptor)
        else:
            await asyncio.sleep(0)
        part = os.read(descriptor, CHUNK)
        if not part:
            return
        yield part


async def _readable(descriptor: int) -> bool:
    """Wait until a read would not; False where the loop cannot tell, as with a file on disk."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except (PermissionError, ValueError):
        return False
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return True


async def unzipped(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The text of a gzip stream of one member or several, never more than a chunk of it at a time."""
    stream, begun = zlib.decompressobj(GZIP), False
    try:
        async for part in parts:
            while part:
                if stream.eof:
                    stream = zlib.decompressobj(GZIP)
                begun = True
                text = stream.decompress(part, CHUNK)
                part = stream.unused_data if stream.eof else stream.unconsumed_tail
                if text:
                    yield text
    except zlib.error as exc:
        raise Unreadable(f"the gzip data is damaged ({exc})") from None
    if begun and not stream.eof:
        raise Unreadable("the gzip data ends too early: the file was cut short")


async def numbered(
    parts: AsyncIterator[bytes], *, longest: int
) -> AsyncIterator[list[tuple[int, bytes | TooLong]]]:
    """The lines with their numbers from 1, as many at a time as came together."""
    number, rest, skipping = 1, b"", False
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        found: list[tuple[int, bytes | TooLong]] = []
        for line in whole:
            found.append((number, TooLong() if skipping or len(line) > longest else line))
            number, skipping = number + 1, False
        if len(rest) > longest:
            rest, skipping = b"", True
        if found:
            yield found
    if rest or skipping:
        yield [(number, TooLong() if skipping else rest)]
