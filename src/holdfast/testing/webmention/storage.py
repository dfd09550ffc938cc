"""A storage of four methods: what was saved is found again by its source, target and content."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import msgspec

from holdfast.testing.clock import ManualClock
from holdfast.testing.webmention.running import on_a_loop
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.storage import Storage

__all__ = ["POST", "StorageCases", "StorageCore", "mention", "sha", "stored_case"]

POST = "https://alice.example/posts/1"
STATUSES = ("pending", "sent", "not_found", "failed")
ALIKE = (
    "https://bob.example/",
    "https://bob.example/a",
    "https://bob.example/A",
    "https://bob.example/a/",
    "https://bob.example/a?b",
    "https://bob.example/a?b=%20",
    "https://bob.example/a?b=+",
    "https://bob.example/a_",
    "https://bob.example/a%25",
    "http://bob.example/a",
    "https://bob.example:8443/a",
    "https://www.bob.example/a",
    "https://bob.example/caf\u00e9",
    "https://bob.example/caf%C3%A9",
    "https://bob.example/'quoted'\"twice\"",
    "https://bob.example/" + "l" * 1800,
    "https://bob.example/" + "l" * 1799 + "L",
)

T = TypeVar("T", bound=Storage)


def sha(html: str) -> str:
    """What `send` makes of the html."""
    return hashlib.sha512(html.encode()).hexdigest()


def mention(target: str = "https://bob.example/a", source: str = POST, **rest: Any) -> OutgoingMention:
    return OutgoingMention(source_url=source, target_url=target, **{"sha": sha("<p>one</p>"), **rest})


def five(entity: Any) -> tuple[Any, ...]:
    """What a storage has to keep of it."""
    return entity.source_url, entity.target_url, entity.endpoint, entity.status, entity.sha


class StorageCore(Generic[T]):
    """How a storage is made and given back."""

    clock: ManualClock | None = None
    """Set by `make_storage` where the storage's time can be moved."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """Another event loop: `staticmethod(uvloop.new_event_loop)`."""

    async def make_storage(self) -> T:
        """A storage, ready and empty. Another one made in the same test is another worker over the same data."""
        raise NotImplementedError(f"{type(self).__name__} must say how its storage is made: make_storage")

    async def close_storage(self, storage: T) -> None:
        """Give back what `make_storage` made."""

    @asynccontextmanager
    async def storage(self) -> AsyncIterator[T]:
        made = await self.make_storage()
        try:
            yield made
        finally:
            await self.close_storage(made)

    def now(self) -> float:
        """Seconds since 1970 by the storage's clock."""
        return self.clock() / 1000 if self.clock else time.time()

    async def pass_time(self, seconds: float) -> None:
        if self.clock is not None:
            self.clock.advance(seconds)
        else:
            await asyncio.sleep(seconds + 0.02)


C = TypeVar("C", bound=StorageCore[Any])


def stored_case(written: Callable[[C, Any], Awaitable[None]]) -> Callable[[C], None]:
    """A test method over one storage, as a plain function: no asyncio plugin is needed to run it."""

    def test(self: C, /) -> None:
        async def work() -> None:
            async with self.storage() as storage:
                await written(self, storage)

        on_a_loop(self, work)

    test.__name__, test.__qualname__, test.__doc__ = written.__name__, written.__qualname__, written.__doc__
    test.__module__ = written.__module__
    return test


class StorageCases(StorageCore[T]):
    """`save`, `update`, `get` and `exists`."""

    @stored_case
    async def test_what_was_saved_is_found(self, storage: Storage) -> None:
        saved = mention(endpoint="https://bob.example/webmention", status="sent")
        await storage.save(saved)
        assert await storage.exists(mention()) is True
        found = await storage.get(mention())
        assert found is not None
        assert five(found) == five(saved)

    @stored_case
    async def test_what_was_not_saved_is_not_there(self, storage: Storage) -> None:
        assert await storage.exists(mention()) is False
        assert await storage.get(mention()) is None
        await storage.save(mention())
        for other in (mention("https://carol.example/"), mention(source=POST + "0")):
            assert await storage.exists(other) is False
            assert await storage.get(other) is None

    @stored_case
    async def test_other_content_is_not_found(self, storage: Storage) -> None:
        await storage.save(mention(sha=sha("one")))
        assert await storage.exists(mention(sha=sha("two"))) is False
        assert await storage.get(mention(sha=sha("two"))) is None
        assert await storage.exists(mention(sha=sha("one"))) is True

    @stored_case
    async def test_every_status_is_kept(self, storage: Storage) -> None:
        for status in STATUSES:
            for endpoint in (None, "https://bob.example/?webmention=1&x=%20"):
                saved = mention(
                    f"https://bob.example/{status}/{endpoint is None}", status=status, endpoint=endpoint
                )
                await storage.save(saved)
                assert five(await storage.get(saved)) == five(saved)

    @stored_case
    async def test_an_update_replaces_what_is_kept(self, storage: Storage) -> None:
        await storage.save(mention(sha=sha("one")))
        for status in STATUSES:
            later = mention(sha=sha(status), status=status, endpoint=f"https://bob.example/{status}")
            await storage.update(later)
            assert five(await storage.get(later)) == five(later)
        await storage.update(mention(sha=sha("last"), endpoint=None))
        assert five(await storage.get(mention(sha=sha("last")))) == five(mention(sha=sha("last")))

    @stored_case
    async def test_after_an_update_the_old_content_is_not_found(self, storage: Storage) -> None:
        await storage.save(mention(sha=sha("one"), status="sent"))
        await storage.update(mention(sha=sha("two")))
        assert await storage.exists(mention(sha=sha("one"))) is False
        assert await storage.get(mention(sha=sha("one"))) is None
        assert five(await storage.get(mention(sha=sha("two")))) == five(mention(sha=sha("two")))

    @stored_case
    async def test_an_update_leaves_the_others_alone(self, storage: Storage) -> None:
        others = (mention("https://carol.example/"), mention(source=POST + "0"))
        for each in (mention(), *others):
            await storage.save(each)
        await storage.update(mention(status="failed", endpoint="https://bob.example/webmention"))
        for each in others:
            assert five(await storage.get(each)) == five(each)

    @stored_case
    async def test_urls_that_look_alike_are_different_urls(self, storage: Storage) -> None:
        for turned in (False, True):
            for at, url in enumerate(ALIKE):
                each = mention(POST, url) if turned else mention(url)
                await storage.save(msgspec.structs.replace(each, endpoint=f"https://bob.example/{at}"))
        for turned in (False, True):
            for at, url in enumerate(ALIKE):
                found = await storage.get(mention(POST, url) if turned else mention(url))
                assert found is not None, f"{url} is not there"
                assert found.endpoint == f"https://bob.example/{at}", f"{url} is taken for another"
                assert (found.target_url, found.source_url)[turned] == url
