"""Which driver serves which URL: the one place that names drivers, and only as text.

Third parties register a scheme with an entry point in the group
`holdfast.webmention` whose name is the scheme and whose object is the driver
class; `Driver.from_url(url)` and an `OPTIONS` tuple is all it needs beside the
contract.
"""

from __future__ import annotations

from typing import cast

from holdfast.registering import Registered, driver_from, shipped, with_installed
from holdfast.webmention.driver import Driver

__all__ = ["SCHEMES", "Registered", "driver_for", "schemes"]

_GROUP = "holdfast.webmention"

SCHEMES: dict[str, Registered] = shipped("holdfast.webmention.drivers")


def schemes() -> dict[str, Registered]:
    """Every scheme with its driver: Holdfast's own, and those that installed packages add."""
    return with_installed(SCHEMES, _GROUP)


def driver_for(store: str | Driver) -> Driver:
    """The driver for a URL, made without I/O; a driver is answered as it is.

    Raises:
        StoreMisconfigured: unknown scheme or option, with the nearest known one.
        MissingExtra: the client library is not installed, with the line that installs it.
    """
    return cast("Driver", driver_from(store, SCHEMES, _GROUP)) if isinstance(store, str) else store
