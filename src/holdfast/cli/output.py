"""What the commands print, and the number they exit with.

Data goes to standard output and everything else to standard error, so that a
pipe carries data only. With `--json` both are JSON: one object a line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

__all__ = ["EXITS", "Failed", "Output", "blocking", "one_line", "painted"]

OK: Final = 0
NO: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
CONFLICT: Final = 4
PARTLY: Final = 5
BUG: Final = 70
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
TERMINATED: Final = 143

EXITS: Final = {
    OK: "done",
    NO: "no: a key, message or mention is absent, there is no endpoint, history is lost, doctor has a warning, "
    "migrations are pending, a token exists",
    USAGE: "wrong use: an argument, a setting, the store URL, a file that cannot be read or written",
    UNAVAILABLE: "the store cannot be used: it does not answer, or its tables are missing; a page cannot be fetched",
    CONFLICT: "conflict: a live value exists",
    PARTLY: "partly done: an import or export left something out, a mention was refused",
    BUG: "a fault of holdfast itself; please report what it printed",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PIPE_CLOSED: "the reader of the output went away",
    TERMINATED: "ended by SIGTERM",
}
"""Every exit code with its meaning: what `holdfast --help` and the reference print."""

blocked = 0
"""How many `blocking` bodies are under way: the signal handler asks."""


class Failed(Exception):
    """A command's end in words: the exit code, the one line, and facts for `--json`."""

    def __init__(self, code: int, message: str, *, kind: str = "Failed", **facts: Any) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.facts = facts


@contextmanager
def blocking() -> Iterator[None]:
    """Around a read or write that may wait for a person or a pipe: Ctrl-C ends it at once.

    Elsewhere Ctrl-C cancels the running task at its next step, which a system
    call that waits for `less` would put off for ever.
    """
    global blocked
    blocked += 1
    try:
        yield
    finally:
        blocked -= 1


class Output:
    """Where a command writes. `note` may be replaced while a progress bar owns the terminal's last line."""

    def __init__(self, *, as_json: bool) -> None:
        self.json = as_json
        self.write_note: Callable[[str], None] = _to_stderr

    @property
    def terminal(self) -> bool:
        return sys.stdout.isatty()

    @property
    def colour(self) -> bool:
        return self.terminal and _colour_wanted()

    def data(self, text: str | bytes) -> None:
        """To standard output as it is, in UTF-8 whatever the locale says, and at once."""
        with blocking():
            stream = sys.stdout.buffer
            stream.write(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
            stream.flush()

    def line(self, text: str) -> None:
        self.data(text + "\n")

    def object(self, value: Any) -> None:
        """One line of JSON."""
        self.data(_encoded(value) + b"\n")

    def answer(self, facts: dict[str, Any], words: str = "") -> None:
        """What a command found: the facts with `--json`, else the words, where there are any."""
        if self.json:
            self.object(facts)
        elif words:
            self.line(words)

    def note(self, words: str, **facts: Any) -> None:
        """Something beside the data, to standard error."""
        self.write_note(_encoded(facts).decode() if self.json else f"holdfast: {words}")

    def failed(self, error: Failed) -> None:
        message = one_line(str(error))
        facts = {"error": error.kind, "message": message, "exit": error.code, **error.facts}
        words = f"holdfast: {message}"
        if not self.json and sys.stderr.isatty() and _colour_wanted():
            words = click.style("holdfast:", fg="red") + words.removeprefix("holdfast:")
        self.write_note(_encoded(facts).decode() if self.json else words)


def _to_stderr(text: str) -> None:
    with blocking():
        click.echo(text, err=True)


def _encoded(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def _colour_wanted() -> bool:
    import os

    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_PASSWORD = re.compile(r"(?<=://)([^/\s'\"@:]*):[^/\s'\"]*@")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """The message with line breaks and control characters as spaces, and no URL's password in it.

    Holdfast masks its own URLs; this catches one that a library quotes, or
    that was typed where a command's name belongs.
    """
    return _PASSWORD.sub(r"\1:***@", _UNPRINTABLE.sub(" ", text)).strip()


_TOKENS = re.compile(rb'("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*')
_C1 = re.compile("[\x7f-\x9f]")


def painted(text: bytes, *, colour: bool) -> bytes:
    """JSON text for a terminal: characters that a terminal could obey are escaped, parts coloured."""
    safe = _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode("utf-8", "replace")).encode()
    return _TOKENS.sub(_paint, safe) if colour else safe


def _paint(token: re.Match[bytes]) -> bytes:
    text, colon = token[1], token[2]
    if colon is not None:
        return b"\x1b[34m" + text + b"\x1b[0m" + colon
    return (b"\x1b[32m" if text is not None else b"\x1b[36m") + token[0] + b"\x1b[0m"
