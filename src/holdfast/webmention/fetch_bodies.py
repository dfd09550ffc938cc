"""A body that is being read, within a bound: so many bytes after decompression, and no more work than they are worth.

`gzip` and `deflate` are all that is asked for. A bomb is never inflated past the
bound; nor do bytes that inflate to nothing (empty members, empty blocks) go on
for longer than an honest body would.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from holdfast.errors import FetchFailed

__all__ = ["ACCEPTED_CODINGS", "Body"]

ACCEPTED_CODINGS: Final = "gzip, deflate"
_MEMBERS: Final = 64  # of a gzip body: the tools that write several write a few
_OVERHEAD: Final = 1 << 16  # of a compressed body that is larger than what is in it


class Body:
    """Bytes as they come in, decoded. Once `full` is true nothing more need be read.

    Raises:
        FetchFailed: the coding is none that was asked for; not `transient`.
    """

    def __init__(self, what: str, codings: str, max_bytes: int) -> None:
        self._what = what  # for messages: which fetch this is
        names = [
            name for part in codings.split(",") if (name := part.strip().lower()) not in ("", "identity")
        ]
        if len(names) > 1 or not {"gzip", "x-gzip", "deflate"}.issuperset(names):
            # One bomb in another is the only use of two.
            raise FetchFailed(
                f"{self._what}: the answer is in an encoding that nobody asked for", transient=False
            )
        self.data = bytearray()
        self.cut = False  # whether there was more than may be kept
        self._max_bytes = max_bytes
        self._coding = names[0] if names else ""
        self._inflate: Any = None  # zlib gives its type no public name
        self._held = b""  # of `deflate`, until it can be told which of the two it is
        self._members = 0
        self._member_from = 0  # how long `data` was when it began
        self._ended = False  # the coding's own end was seen
        self._raw = 0

    @property
    def full(self) -> bool:
        return self.cut or self._ended

    def feed(self, raw: bytes) -> None:
        """Take what came next.

        Raises:
            FetchFailed: it cannot be decoded.
        """
        self._raw += len(raw)
        if not self._coding:
            self._keep(raw)
            return
        try:
            self._inflated(raw)
        except zlib.error as exc:
            if self._members <= 1 or len(self.data) > self._member_from:
                raise FetchFailed(f"{self._what}: the answer is not compressed as it says") from exc
            self._ended = True  # what follows the last member of a gzip body is padding
        if self._raw > self._max_bytes + _OVERHEAD:
            self.cut = True

    def finish(self) -> bytes:
        """The body, where its end was reached.

        Raises:
            FetchFailed: the end of what was compressed is missing: a link in it might be missing as well.
        """
        between = self._members > 0 if self._inflate is None else self._inflate.eof
        if self._coding and self._raw and not self.full and not between:
            raise FetchFailed(f"{self._what}: the answer ends in the middle of what was compressed")
        return bytes(self.data)

    def _keep(self, data: bytes) -> None:
        room = self._max_bytes - len(self.data)
        self.data += data[:room]
        self.cut = self.cut or len(data) > room

    def _inflated(self, raw: bytes) -> None:
        while raw and not self.full:
            if self._inflate is None:
                raw = self._held + raw
                if len(raw) < 2:
                    self._held = raw
                    return
                self._inflate = zlib.decompressobj(self._window(raw))
                self._members += 1
                self._member_from = len(self.data)
            # One byte more than there is room for tells whether it was cut.
            self._keep(self._inflate.decompress(raw, self._max_bytes - len(self.data) + 1))
            raw = self._inflate.unconsumed_tail
            if self._inflate.eof:
                raw = self._next_member()

    def _next_member(self) -> bytes:
        """What follows the end of a member, to be read as another."""
        rest: bytes = self._inflate.unused_data
        if self._coding == "deflate":
            self._ended = True
        elif rest and self._members >= _MEMBERS:
            self.cut = True
        elif rest:
            self._inflate, self._held = None, b""
        return rest

    def _window(self, raw: bytes) -> int:
        if self._coding != "deflate":
            return 31
        # RFC 9110 says zlib's format, half of the servers send the naked stream.
        wrapped = raw[0] & 0x0F == 8 and (raw[0] << 8 | raw[1]) % 31 == 0
        return 15 if wrapped else -15
