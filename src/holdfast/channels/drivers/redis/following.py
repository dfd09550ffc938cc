"""What one process follows, on the engine's one subscribing connection."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.channels.driver import Listener
from holdfast.channels.drivers.redis.commands import WHO
from holdfast.channels.drivers.redis.replies import announced
from holdfast.engines.redis import RedisEngine
from holdfast.errors import StoreUnavailable

__all__ = ["Following"]

_SENT = ord("s")


class Following:
    """A subscription: announcements of its topics, but for those that its own driver made.

    Those say nothing that an outcome does not say; where an outcome was lost,
    the driver takes another name, and calls `doubt`.

    Args:
        suffix: what channels have behind the key.
        who: the name under which the driver announces now; it may be set anew.
        closed: told when it is.
    """

    def __init__(
        self,
        engine: RedisEngine,
        listener: Listener,
        *,
        suffix: str,
        who: bytes,
        closed: Callable[[Following], None],
    ) -> None:
        self.who = who
        self._listener = listener
        self._suffix = suffix
        self._behind = len(suffix)
        self._closed = closed
        self._ear = engine.listen(self._heard, listener.lost)

    async def follow(self, key: str) -> None:
        try:
            await self._ear.follow(f"{key}{self._suffix}".encode())
        except StoreUnavailable as exc:
            raise StoreUnavailable(f"follow {key!r}: {exc}") from exc

    async def unfollow(self, key: str) -> None:
        self._ear.unfollow(f"{key}{self._suffix}".encode())

    async def close(self) -> None:
        self._closed(self)
        await self._ear.close()

    def doubt(self) -> None:
        """Something of ours may be in a log without our knowing."""
        if self._ear.channels:
            self._listener.lost()

    def _heard(self, channel: bytes, data: bytes) -> None:
        if not data or data.startswith(self.who):
            return
        key = channel[: -self._behind].decode()
        if data[WHO] == _SENT:
            self._listener.sent(key, data[WHO + 1 :])
        else:
            self._listener.kept(key, *announced(data[WHO:]))
