"""Everything of one store put into another, and what another service kept."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.webmention import Archived, ReceivedMention, Webmention
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.mentions import Author, ParsedMention

SITE = "https://alice.example"


class Nobody:
    """A web in which nobody answers."""

    async def get(self, url, **how):
        from holdfast.errors import FetchFailed

        raise FetchFailed("no answer")

    post = get


def mentions(driver=None, namespace="holdfast", **more):
    driver = driver or MemoryDriver()
    return Webmention(driver, site=SITE, namespace=namespace, web=Nobody(), background=False, **more)


def received(name, **more):
    said = ParsedMention(author=Author(name=name), text=f"says {name}")
    return ReceivedMention(
        id="of another service",
        source_url=f"https://{name}.example/1",
        target_url=f"{SITE}/post",
        state="accepted",
        mention=said,
        **more,
    )


async def taken(source):
    return [row async for page in source.archived() for row in page]


async def test_everything_of_one_namespace_is_put_into_another():
    async with mentions(namespace="a") as one, mentions(namespace="b:c") as other:
        await one.send(f"{SITE}/post", '<a href="https://bob.example/1">b</a>')
        await one.receive("https://bob.example/2", f"{SITE}/post")
        await one.block("spam.example")
        await one.adopt([received("carol")])
        rows = await taken(one)
        assert {row.mention for row in rows} == {"o", "i", "r"}
        assert await other.restore(rows) == [True] * 4
        assert [row async for row in other.outgoing()] == [row async for row in one.outgoing()]
        assert [row.source_url async for row in other.received(state="queued")] == ["https://bob.example/2"]
        assert [row.mention async for row in other.received()] == [received("carol").mention]
        assert [rule.pattern for rule in await other.rules()] == ["spam.example"]
        assert await other.outgoing_counts() == await one.outgoing_counts()


async def test_what_is_due_stays_due():
    clock = [1_000_000.0]
    async with mentions(now=lambda: clock[0]) as one, mentions(now=lambda: clock[0]) as other:
        await one.adopt([received("carol")])
        (row,) = await taken(one)
        assert row.due is not None
        await other.restore([row, msgspec.structs.replace(row, id="past", due=5)])
        again = {each.id: each for each in await taken(other)}
        assert again["past"].due < again[row.id].due


async def test_without_replacing_what_is_there_stays():
    async with mentions() as one, mentions() as other:
        await one.adopt([received("carol"), received("dave")])
        await other.adopt([received("carol")])
        (there,) = [row async for row in other.received()]
        await other.decline(there.id)
        rows = await taken(one)
        assert sorted(await other.restore(rows, replace=False)) == [False, True]
        assert (await other.states())["declined"] == 1
        assert await other.restore(rows) == [True, True]
        assert (await other.states())["declined"] == 0


async def test_a_row_that_is_no_mention_is_told_and_the_others_are_stored():
    async with mentions() as one, mentions() as other:
        await one.adopt([received("carol")])
        broken = Archived("o", "x", msgspec.Raw(b'{"source_url": 5}'))
        answers = await other.restore([broken, *await taken(one)])
        assert isinstance(answers[0], ValueError)
        assert answers[1] is True


async def test_of_one_that_stands_there_twice_the_later_counts():
    async with mentions() as one:
        rows = [
            Archived("r", "x", msgspec.Raw(b'{"kind":"block","pattern":"%b.example"}' % name))
            for name in (b"a", b"b")
        ]
        await one.restore(rows)
        assert [rule.pattern for rule in await one.rules()] == ["b.example"]


async def test_what_another_service_kept_is_adopted_once_and_in_its_order():
    async with mentions() as one:
        assert await one.adopt([received("new", received_at=9.0), received("old", received_at=5.0)]) == 2
        assert await one.adopt([received("new"), received("third", received_at=10.0)]) == 1
        assert [row.source_url async for row in one.received(newest=False)] == [
            f"https://{name}.example/1" for name in ("old", "new", "third")
        ]
        (row,) = [row async for row in one.received() if row.source_url == "https://old.example/1"]
        assert row.received_at == 5.0
        assert "imported" in row.log[-1].says
        assert await one.get(row.id) == row
        assert await one.work() == 0  # not all at once, and not now


@pytest.mark.parametrize("id", ["", "a b", "ä", "x" * 201])
def test_an_id_that_no_store_takes_is_no_row(id):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"mention": "o", "id": id, "data": {}}, Archived)
