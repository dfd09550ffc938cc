"""What the suite of every `Outbox` does not ask for; that runs against all drivers in tests/conformance."""

import msgspec
import pytest
from tests.unit.webmention.sending_lab import SOURCE, START, lab, to

from holdfast.errors import InvalidConversion
from holdfast.webmention.driver import Put
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.storage import Outbox

KIND = "test:m:o"


def mention(name: str, **rest: object) -> OutgoingMention:
    return msgspec.convert(
        {"source_url": SOURCE, "target_url": to(name), "sha": "one", **rest}, OutgoingMention
    )


async def test_it_is_an_outbox() -> None:
    async with lab() as it:
        assert isinstance(it.outbox, Outbox)


async def test_more_than_one_page_of_a_driver_is_kept_and_told_whole() -> None:
    async with lab() as it:
        await it.outbox.put([mention(f"t{at}", next_attempt=float(START)) for at in range(2300)])
        assert len(await it.outbox.of(SOURCE)) == 2300
        assert len(await it.outbox.claim(lease=60, limit=5000)) == 1000


async def test_of_two_of_one_target_the_later_counts() -> None:
    async with lab() as it:
        await it.outbox.put([mention("a", sha="one"), mention("a", sha="two")])
        assert [row.sha for row in await it.outbox.of(SOURCE)] == ["two"]


async def test_namespaces_see_nothing_of_each_other() -> None:
    async with lab() as it:
        other = type(it.outbox)(it.driver, "other", now=it.now)
        await it.outbox.put([mention("a", next_attempt=float(START))])
        assert await other.of(SOURCE) == []
        assert await other.claim(lease=60, limit=9) == []


async def test_what_cannot_be_read_is_told_and_keeps_no_other_from_going_out() -> None:
    async with lab() as it:
        await it.outbox.put([mention("a", next_attempt=float(START))])
        document = (await it.driver.page(KIND))[0]
        await it.driver.write([Put(KIND, document.id, b'{"half": ', document.tags, 0)])
        it.clock.advance(1)
        await it.outbox.put([mention("b", next_attempt=it.now())])
        assert [each.mention.target_url for each in await it.outbox.claim(lease=60, limit=9)] == [to("b")]
        assert (await it.driver.page(KIND))[0].due is None, "it is not due again and again"
        with pytest.raises(InvalidConversion, match="no mention"):
            await it.outbox.of(SOURCE)


async def test_due_times_are_of_the_outboxs_clock_and_waits_of_the_drivers() -> None:
    async with lab() as it:
        behind = type(it.outbox)(it.driver, "test", now=lambda: it.now() - 3600)
        await behind.put([mention("a", next_attempt=it.now() - 3600 + 10)])
        assert await it.outbox.next_due() == 10
