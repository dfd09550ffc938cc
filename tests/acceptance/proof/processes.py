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
        self._process = subprocess.Popen(
            [*before, sys.executable, str(WORKER), what, url, namespace, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        first = self._out.readline()
        if first != "ready\n":
            raise AssertionError(f"the worker did not start: {first}{self._process.communicate()[1]}")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def until(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """The lines said so far, once they are enough."""
        lines: list[str] = []
        while not enough(lines):
            line = self._out.readline()
            assert line, f"the worker ended: {self._process.communicate()[1]}"
            lines.append(line)
        return lines

    def kill(self) -> list[str]:
        """SIGKILL now; what had been said and not yet read."""
        self._process.kill()
        rest = self._process.communicate(timeout=30)[0]
        return [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]

    def finish(self) -> list[list[str]]:
        """Everything it said, as words, once it has ended well."""
        out, err = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, err
        return [line.split() for line in out.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=30)
