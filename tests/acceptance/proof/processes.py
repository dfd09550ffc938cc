"""Workers as child processes: started, let loose, killed, and what they said."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """One `worker.py`, ready and waiting for `go`."""

    def __init__(
        self, what: str, url: str, namespace: str, number: int, *, before: Iterable[str] = ()
    ) -> None:
        # No buffers but ours: what `communicate` read past one would be lost, and with it an acknowledgement.
        self._process = subprocess.Popen(
            [*before, sys.executable, str(WORKER), what, url, namespace, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._out, self._in = self._process.stdout, self._process.stdin
        self._read = b""
        if self._line() != "ready":
            raise AssertionError("the worker did not start; its error is above")

    def _line(self) -> str | None:
        """The next whole line; None where the worker has ended and said no more."""
        while b"\n" not in self._read:
            more = self._out.read(65536)
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def _rest(self) -> list[str]:
        lines = []
        while (line := self._line()) is not None:
            lines.append(line)
        return lines

    def go(self) -> None:
        self._in.write(b"go\n")

    def until(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """The lines said so far, once they are enough."""
        lines: list[str] = []
        while not enough(lines):
            line = self._line()
            assert line is not None, "the worker ended; its error is above"
            lines.append(line)
        return lines

    def kill(self) -> list[str]:
        """SIGKILL now; what had been said and not yet read."""
        self._process.kill()
        rest = self._rest()
        self._process.wait(timeout=30)
        return rest

    def finish(self) -> list[list[str]]:
        """Everything it said, as words, once it has ended well."""
        lines = self._rest()
        assert self._process.wait(timeout=30) == 0, "the worker failed; its error is above"
        return [line.split() for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=30)
        self._out.close()
        self._in.close()
