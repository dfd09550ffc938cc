"""Photos are pictures by their bytes, small, and never documents."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.webmention.photos import MAX_PHOTO_BYTES, Photo, fetch_photo, media_type_of

from .site_lab import Lab, Request, Site, head

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 50
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 50
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + b"\0" * 50
PICTURES = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/webp": WEBP,
    "image/gif": b"GIF89a" + b"\0" * 50,
}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab() as lab:
        yield lab


@pytest.fixture
async def bob(lab: Lab) -> Site:
    return await lab.site("bob.example")


@pytest.mark.parametrize("media_type", PICTURES)
async def test_a_picture_is_what_its_bytes_say_whatever_its_site_says(
    lab: Lab, bob: Site, media_type: str
) -> None:
    url = bob.page("/me", PICTURES[media_type], kind="text/html")
    async with lab.fetcher() as web:
        assert await fetch_photo(web, url) == Photo(media_type, PICTURES[media_type])


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<?xml version="1.0"?><svg/>',
        b"<html>",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\x1f\x8b\x08" + PNG,
        b" " + PNG,
        b"GIF88a",
        b"\x89PNG",
        b"",
    ],
)
async def test_what_is_no_picture_is_none_whatever_its_site_says(lab: Lab, bob: Site, data: bytes) -> None:
    url = bob.page("/me", data, kind="image/png")
    async with lab.fetcher() as web:
        assert await fetch_photo(web, url) is None


async def test_a_picture_of_just_the_bound_is_taken_and_one_byte_more_is_none(lab: Lab, bob: Site) -> None:
    whole = PNG + b"\0" * (MAX_PHOTO_BYTES - len(PNG))
    async with lab.fetcher() as web:
        photo = await fetch_photo(web, bob.page("/me", whole))
        assert photo is not None
        assert len(photo.data) == MAX_PHOTO_BYTES == 256 * 1024
        assert await fetch_photo(web, bob.page("/me", whole + b"\0")) is None


async def test_a_photo_that_cannot_be_fetched_is_none(lab: Lab, bob: Site) -> None:
    async def breaks(request: Request) -> None:
        await request.write(head(200, {"Content-Length": "1000"}) + PNG)

    inner = await lab.site(host="127.0.0.4")
    policy = lab.policy.__class__(allow=[bob.where])
    inner.page("/me", PNG)
    bob.answer("/breaks", breaks)
    bob.redirect("/inner", inner.url("/me"))
    async with lab.fetcher(policy) as web:
        for url in (
            bob.url("/breaks"),
            bob.url("/inner"),
            inner.url("/me"),
            bob.page("/gone", PNG, status=404),
            "data:image/png;base64,AAAA",
        ):
            assert await fetch_photo(web, url) is None
    assert inner.connections == 0


def test_media_types_are_told_by_their_first_bytes() -> None:
    assert media_type_of(b"GIF87a") == "image/gif"
    assert media_type_of(b"RIFFxxxxWEBP") == "image/webp"
    assert media_type_of(b"RIFFxxxx") is None
