"""The end of a command that waits: when nobody reads its output any more, not only when it next has some."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["while_read"]


@contextmanager
def while_read() -> Iterator[None]:
    """Cancels the body and raises `BrokenPipeError` as soon as the reader of standard output has gone."""
    descriptor = _pipe()
    if descriptor is None:
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    gone = False

    def hung_up() -> None:  # the writing end of a pipe is never readable, but it is woken by this
        nonlocal gone
        gone = True
        loop.remove_reader(descriptor)
        task.cancel()

    loop.add_reader(descriptor, hung_up)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise BrokenPipeError from None
    finally:
        loop.remove_reader(descriptor)


def _pipe() -> int | None:
    """Standard output, if it is a pipe: a terminal or a file has no reader that goes."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # a test's, or closed
        return None
    return descriptor if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None
