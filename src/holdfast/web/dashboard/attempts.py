"""How often one may try to sign in. Counted in the store, so that a restart does not start afresh."""

from __future__ import annotations

import hashlib
import math
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from holdfast.persist import Persist, reserved

__all__ = ["Attempts"]

PER_CLIENT: Final = 10
CLIENT_SECONDS: Final = 15 * 60
FOR_ALL: Final = 60
ALL_SECONDS: Final = 60


class Attempts:
    """Ten in a quarter of an hour for one client (of IPv6: one /64), sixty a minute for all together.

    The limit for all keeps a crowd of addresses from guessing in parallel; who
    is signed in already, and the bearer token, are not concerned.
    """

    def __init__(self, persist: Persist) -> None:
        self._own = reserved(persist)

    async def refused(self, client: str) -> int | None:
        """Count an attempt before it is looked at; the seconds to wait, or None: go ahead."""
        # One client is counted first: over its own limit it must not use up everybody's.
        for key, limit, seconds in (
            (_key(client), PER_CLIENT, CLIENT_SECONDS),
            ("attempts:all", FOR_ALL, ALL_SECONDS),
        ):
            if await self._own.increment(key, expires=seconds) > limit:
                entry = await self._own.entry(key, int)
                return math.ceil(entry.ttl) if entry is not None and entry.ttl is not None else 1
        return None

    async def forgive(self, client: str) -> None:
        """The client knew the token: its failures no longer count."""
        await self._own.remove(_key(client))


def _key(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        network = client
    else:
        network = str(
            ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address
        )
    return "attempts:" + hashlib.sha256(network.encode()).hexdigest()[:32]
