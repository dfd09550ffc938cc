"""Photos, kept."""

from __future__ import annotations

from tests.unit.webmention.receiving_lab import PNG, Clock, FakeWeb

from holdfast.webmention import urls
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.photos import Photo
from holdfast.webmention.portraits import FRESH, Portraits


class Shelf:
    def __init__(self, most: int = 3) -> None:
        self.fetched: list[str] = []
        self.photo: Photo | None = Photo("image/png", PNG)
        self.driver, self.clock, self.web = MemoryDriver(), Clock(), FakeWeb()

        async def fetch(web: object, url: str) -> Photo | None:
            self.fetched.append(url)
            return self.photo

        self.portraits = Portraits(self.driver, "t:m:p", most=most, now=self.clock, fetch=fetch)

    async def keep(self, url: str, *, accepted: bool = True) -> None:
        await self.portraits.keep(self.web, url, accepted=accepted)

    async def has(self, url: str) -> bool:
        return await self.portraits.get(urls.digest(url)) is not None


async def test_a_photo_comes_back_as_it_was() -> None:
    shelf = Shelf()
    await shelf.driver.open()
    await shelf.keep("a")
    assert await shelf.portraits.get(urls.digest("a")) == ("image/png", PNG)
    assert await shelf.portraits.get("b" * 40) is None
    assert await shelf.portraits.get("ü") is None


async def test_it_is_not_fetched_again_for_a_week() -> None:
    shelf = Shelf()
    await shelf.driver.open()
    await shelf.keep("a")
    await shelf.keep("a")
    assert shelf.fetched == ["a"]
    shelf.clock.at += FRESH
    shelf.photo = None
    await shelf.keep("a")
    assert shelf.fetched == ["a", "a"]
    assert await shelf.has("a")  # what there was is better than nothing


async def test_there_are_never_more_than_so_many() -> None:
    shelf = Shelf(most=3)
    await shelf.driver.open()
    for url in "abcde":
        await shelf.keep(url)
    assert [url for url in "abcde" if await shelf.has(url)] == ["c", "d", "e"]
    assert await shelf.driver.count("t:m:p", [""]) == [3]


async def test_strangers_put_out_strangers_before_those_who_were_accepted() -> None:
    shelf = Shelf(most=3)
    await shelf.driver.open()
    await shelf.keep("a")
    await shelf.keep("b", accepted=False)
    await shelf.keep("c", accepted=False)
    await shelf.keep("c")  # accepted meanwhile
    for url in "defg":
        await shelf.keep(url, accepted=False)
    assert [url for url in "abcdefg" if await shelf.has(url)] == ["a", "c", "g"]
    await shelf.keep("a", accepted=False)  # another mention has it too
    await shelf.keep("h")
    assert [url for url in "aceg" if await shelf.has(url)] == ["a", "c"]
