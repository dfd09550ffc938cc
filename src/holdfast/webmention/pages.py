"""What comes back from the web, and who fetches it: the seam between the rules and the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

__all__ = ["Page", "Web"]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, redirects followed."""

    url: str  # whose body it is, after redirects
    status: int
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case, in order, repeated as they came
    body: bytes = b""  # decompressed
    cut: bool = False  # whether there was more than was asked for
    redirects: tuple[str, ...] = ()  # the URLs that led here, the first asked for

    @property
    def media_type(self) -> str:
        """``text/html``, in lower case and without parameters; empty where nothing was said."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str:
        """The first of this name (in lower case); empty where there is none."""
        return next((value for key, value in self.headers if key == name), "")


class Web(Protocol):
    """Fetches through the guard, within bounds; see `webmention.fetch`."""

    async def get(
        self,
        url: str,
        *,
        accept: str = "text/html, */*;q=0.5",
        headers: Mapping[str, str] = {},
        max_bytes: int = 1 << 20,
        enough: Callable[[Page, bytes], bool] | None = None,
    ) -> Page:
        """One GET, redirects followed. `enough(page_so_far, bytes_so_far)` ends it early.

        Raises:
            AddressRefused: the guard said no, at whichever hop.
            FetchFailed: no answer within the deadline, or none that is HTTP; `transient` where later may be better.
        """
        ...

    async def post(self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] = {}) -> Page:
        """One form-encoded POST; 307 and 308 are followed with the body, other redirects are the answer."""
        ...
