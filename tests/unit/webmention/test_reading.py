"""The drop-in for webmention.io's reading side, and photos."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.webmention.receiving_lab import PNG, POST, SITE, Answered, Lab, ask, entry, lab, page

from holdfast.errors import StoreUnavailable
from holdfast.webmention import reading as module
from holdfast.webmention import urls
from holdfast.webmention.reading import Query, reading

MENTIONS = "/api/mentions.jf2"


async def read(here: Lab, query: str = "", path: str = MENTIONS, **more: Any) -> Answered:
    return await ask(reading(here.inbound), path=path, query=query, **more)


async def sources(here: Lab, query: str = "") -> list[str]:
    answer = await read(here, query)
    assert answer.status == 200, answer.text
    return [each["wm-source"].rpartition("/")[2] for each in json.loads(answer.body)["children"]]


async def fill(here: Lab) -> None:
    """a, b, c: a reply, a like and an RSVP a minute apart; then one of another page, and one of another host."""
    relations = {"a": ("u-in-reply-to", POST), "b": ("u-like-of", POST), "c": ("u-repost-of", POST)}
    relations |= {"d": ("u-like-of", SITE + "/other"), "e": ("u-like-of", "https://two.example/")}
    for number, (name, (relation, target)) in enumerate(relations.items()):
        time = f'<time class="dt-published" datetime="2026-01-0{9 - number}T10:00:00Z"></time>'
        html = entry(target, relation=relation).replace("</article>", time + "</article>")
        here.web.html(f"https://bob.example/{name}", html)
        await here.inbound.receive(f"https://bob.example/{name}", target)
        await here.inbound.work()
        here.pass_(minutes=1)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "edcba"),
        (f"target={POST}", "cba"),
        (f"target={POST}%23part", "cba"),
        (f"target[]={POST}&target[]={SITE}/other", "dcba"),
        (f"target%5B%5D={POST}", "cba"),
        ("target=nothing", ""),
        ("domain=two.example", "e"),
        ("domain=ALICE.example", "dcba"),
        (f"domain=two.example&target={POST}", ""),
        ("wm-property=like-of", "edb"),
        ("wm-property[]=like-of&wm-property[]=in-reply-to", "edba"),
        ("wm-property=nonsense", ""),
        ("wm-property=like-of&domain=alice.example", "db"),
        (f"wm-property=like-of&wm-property=repost-of&target={POST}&per-page=1", "c"),
        ("sort-dir=up", "abcde"),
        ("sort-by=published", "abcde"),
        ("sort-by=published&sort-dir=up", "edcba"),
        ("sort-by=updated", "edcba"),
        ("per-page=2", "ed"),
        ("per-page=2&page=1", "cb"),
        ("per-page=2&page=2", "a"),
        ("per-page=2&page=9", ""),
        ("per-page=2&page=1&sort-dir=up", "cd"),
        ("per-page=0", "edcba"),
        ("per-page=2000", "edcba"),
    ],
)
async def test_it_is_asked_as_webmention_io_is(query: str, found: str) -> None:
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        assert "".join(await sources(here, query)) == found


async def test_since_a_number_and_since_a_time() -> None:
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        entries = json.loads((await read(here)).body)["children"]
        third = entries[2]
        for direction, found in (("down", "ed"), ("up", "de")):
            query = f"sort-dir={direction}"
            assert "".join(await sources(here, f"since_id={third['wm-id']}&{query}")) == found
            assert "".join(await sources(here, f"since={third['wm-received']}&{query}")) == found
        assert "".join(await sources(here, "since_id=0&sort-dir=up&per-page=2")) == "ab"


async def test_rsvps_are_sorted_by_their_answer() -> None:
    async with lab(accept="all") as here:
        for answer in ("no", "yes", "maybe", "interested"):
            html = entry().replace("</article>", f'<data class="p-rsvp" value="{answer}"></data></article>')
            here.web.html(f"https://bob.example/{answer}", html)
            await here.inbound.receive(f"https://bob.example/{answer}", POST)
        await here.inbound.work()
        assert await sources(here, "sort-by=rsvp&wm-property=rsvp") == ["yes", "interested", "maybe", "no"]


@pytest.mark.parametrize(
    "query",
    [
        "page=x", "per-page=-1", "since_id=1.5", "page=" + "9" * 30, "since=yesterday", "sort-by=size",
        "sort-dir=left", "&".join(f"target={n}" for n in range(51)), "&".join("a" for _ in range(300)),
    ],
)  # fmt: skip
async def test_a_query_that_cannot_be_understood_is_a_400_with_words(query: str) -> None:
    async with lab() as here:
        answer = await read(here, query)
        assert answer.status == 400
        assert json.loads(answer.body)["error_description"]
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_only_what_is_accepted_is_read() -> None:
    async with lab() as here:
        mention = await here.verified()
        assert await sources(here) == []
        await here.inbound.accept(mention.id)
        assert await sources(here) == ["reply"]
        await here.inbound.decline(mention.id)
        assert await sources(here) == []


@pytest.mark.parametrize(
    ("path", "kind", "inside"),
    [
        ("/api/mentions", "application/json", '"links"'),
        ("/api/mentions.json", "application/json", '"links"'),
        ("/api/mentions.jf2", "application/jf2feed+json", '"children"'),
        ("/api/mentions.html", "text/html; charset=utf-8", "<article"),
        (
            "/api/mentions.atom",
            "application/atom+xml; charset=utf-8",
            "<id>https://alice.example/api/mentions.atom</id>",
        ),
        ("/api/mentions/", "application/json", '"links"'),
    ],
)
async def test_each_format_has_its_path(path: str, kind: str, inside: str) -> None:
    async with lab(accept="all") as here:
        await here.verified(author='<img class="u-photo" src="https://bob.example/me.png">')
        answer = await read(here, path=path)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert inside in answer.text
        assert "https://bob.example/me.png" not in answer.text
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_photos_come_from_our_own_origin_or_a_placeholder_does() -> None:
    async with lab(accept="all") as here:
        here.web.pages["https://bob.example/me.png"] = page("x", PNG)
        await here.verified(author='<img class="u-photo" src="/me.png">')
        child = json.loads((await read(here, root_path="/app", path="/app" + MENTIONS)).body)["children"][0]
        url = child["author"]["photo"]
        assert url == f"{SITE}/app/api/photo/{urls.digest('https://bob.example/me.png')}"
        answer = await ask_photo(here, url.removeprefix(f"{SITE}/app"))
        assert (answer.body, answer.headers["content-type"]) == (PNG, "image/png")
        other = await ask_photo(here, "/api/photo/" + "0" * 40)
        assert (other.status, other.headers["content-type"]) == (200, "image/svg+xml")
        for each in (answer, other):
            assert each.headers["x-content-type-options"] == "nosniff"
            assert each.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert (await read(here, path="/api/photo/../../etc")).status == 404


class Bytes(Answered):
    """A body that is no text."""

    def __init__(self, sent: Any) -> None:
        super().__init__([sent[0], {"body": b""}])
        self.body = b"".join(message["body"] for message in sent[1:])


async def ask_photo(here: Lab, path: str) -> Bytes:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await reading(here.inbound)(scope, None, send)  # type: ignore[arg-type]
    return Bytes(sent)


async def test_counts_are_those_of_webmention_io() -> None:
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        answer = await read(here, f"target={POST}", "/api/count")
        assert json.loads(answer.body) == {"count": 3, "type": {"reply": 1, "like": 1, "repost": 1}}
        assert json.loads((await read(here, path="/api/count")).body)["count"] == 5
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_browsers_may_ask_whether_they_may() -> None:
    async with lab() as here:
        answer = await ask(reading(here.inbound), "OPTIONS", MENTIONS)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
        assert (await ask(reading(here.inbound), "POST", MENTIONS)).status == 405
        assert (await ask(reading(here.inbound), "HEAD", MENTIONS)).body == b""
        assert (await read(here, path="/api/other")).status == 404


async def test_one_request_reads_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        assert "".join(await sources(here, "sort-by=published&sort-dir=up")) == "edc"
        assert "".join(await sources(here, "sort-dir=up&since_id=0")) == "abc"


async def test_a_store_that_is_away_is_a_503() -> None:
    async with lab() as here:

        async def away(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("page: away")

        here.driver.page = away  # type: ignore[method-assign]
        assert (await read(here)).status == 503


def test_what_is_not_said_is_twenty_the_newest_first() -> None:
    assert Query.read("") == Query(per_page=20, page=0, down=True, sort="created")


async def test_what_nobody_wants_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        read = 0
        received = here.inbound.received

        async def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal read
            async for mention in received(*arguments, **more):
                read += 1
                yield mention

        here.inbound.received = counted  # type: ignore[method-assign]
        assert await sources(here, f"domain=two.example&target={POST}") == []
        assert read == 2


async def test_many_lists_are_read_no_further_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    async with lab(accept="all", site=None, targets=lambda _: True) as here:
        await fill(here)
        pages = 0
        page = here.driver.page

        async def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal pages
            pages += 1
            return await page(*arguments, **more)

        here.driver.page = counted  # type: ignore[method-assign]
        await sources(here, "&".join(f"target[]={POST}%23{number}" for number in range(50)))
        assert pages <= 3
