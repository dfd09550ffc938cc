"""What is kept of a mention that came in: tags, versions, limits' words."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.webmention.receiving_lab import POST, SOURCE, Clock

from holdfast.errors import InvalidConversion, StoreUnavailable, UnknownMention
from holdfast.webmention.driver import Put
from holdfast.webmention.drivers.memory import MemoryDriver
from holdfast.webmention.inbox import Held, Inbox, client_group, tag_of, tags_of, voice
from holdfast.webmention.lifecycle import new
from holdfast.webmention.mentions import Author, ParsedMention, ReceivedMention


def held(**changes: object) -> Held:
    return new("a" * 40, SOURCE, POST, client=None, now=1.0)


def said(author: str | None, source: str = SOURCE) -> ReceivedMention:
    mention = ParsedMention(author=Author(url=author))
    return ReceivedMention(id="x", source_url=source, target_url=POST, mention=mention)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("unix:", "unix:", True),
    ],
)
def test_who_has_one_address_of_ipv6_has_its_network(one: str, other: str, same: bool) -> None:
    assert (client_group(one) == client_group(other)) is same


def test_a_name_that_anybody_may_write_makes_nobody_known() -> None:
    assert voice(said(None)) == voice(said("https://bob.example/about"))
    bridge = "https://bridge.example/post/1"
    ada, mallory = said("https://silo.example/ada", bridge), said("https://silo.example/mallory", bridge)
    assert len({voice(ada), voice(mallory), voice(said(None, bridge)), voice(said(None))}) == 4


def test_two_ports_of_one_machine_are_two_voices() -> None:
    assert voice(said(None, "http://127.0.0.1:1/a")) != voice(said(None, "http://127.0.0.1:2/a"))


def test_a_target_is_one_list_whatever_its_fragment() -> None:
    assert tag_of("accepted", target=POST + "#one") == tag_of("accepted", target=POST)
    assert tag_of("accepted", target=POST) != tag_of("pending", target=POST)


def test_a_private_mention_is_in_no_list() -> None:
    mention = msgspec.structs.replace(held().mention, state="accepted", private=True)
    assert not [tag for tag in tags_of(Held(mention=mention)) if tag.startswith("s:")]


def test_tags_are_as_the_contract_has_them() -> None:
    mention = msgspec.structs.replace(said("https://bob.example/"), state="accepted", client="::1")
    tags = tags_of(Held(mention=mention, waiting=True, trusted=True))
    assert len(tags) == len(set(tags)) == 9
    assert all(tag.isascii() and 1 <= len(tag) <= 200 for tag in tags)


async def test_a_change_is_made_to_what_there_is_when_somebody_was_faster() -> None:
    driver = MemoryDriver()
    await driver.open()
    inbox = Inbox(driver, "t", now=Clock())
    await inbox.put(held(), expect="")
    calls = 0

    def change(each: Held) -> Held:
        nonlocal calls
        calls += 1
        if calls == 1:
            driver._replace(Put("t:m:i", "a" * 40, msgspec.json.encode(Held(mention=each.mention, asks=7))))
        return msgspec.structs.replace(each, checks=each.asks + 1)

    before, after = await inbox.change("a" * 40, change)
    assert (calls, before.asks, after.checks) == (2, 7, 8)


async def test_a_change_that_always_loses_is_no_success() -> None:
    driver = MemoryDriver()
    await driver.open()
    inbox = Inbox(driver, "t", now=Clock())
    await inbox.put(held(), expect="")

    def change(each: Held) -> Held:
        driver._replace(Put("t:m:i", "a" * 40, msgspec.json.encode(each)))
        return msgspec.structs.replace(each, checks=each.checks + 1)

    with pytest.raises(StoreUnavailable):
        await inbox.change("a" * 40, change)


async def test_what_is_not_there_and_what_cannot_be_read_are_told_apart() -> None:
    driver = MemoryDriver()
    await driver.open()
    inbox = Inbox(driver, "t", now=Clock())
    assert await inbox.get("nothing") is None
    assert await inbox.get("ü") is None
    with pytest.raises(UnknownMention):
        await inbox.change("nothing", lambda each: each)
    await driver.write([Put("t:m:i", "x", b'{"mention": 1}')])
    with pytest.raises(InvalidConversion):
        await inbox.get("x")


async def test_its_number_is_the_documents() -> None:
    driver = MemoryDriver()
    await driver.open()
    inbox = Inbox(driver, "t", now=Clock())
    await inbox.put(held(), expect="")
    found = await inbox.get("a" * 40)
    assert found is not None
    assert found[0].mention.number == found[1].number > 0
