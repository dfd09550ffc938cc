"""How processes on one Postgres hear of each other: NOTIFY, notes, the look at the table, and a pgbouncer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.channels.postgres_lab import (
    blocked,
    bouncer,
    following,
    heard,
    meddling,
    one,
    opened,
    prefix,
    said,
)

from holdfast.channels.driver import Append, Edit, Read, Send
from holdfast.channels.drivers.postgres import PostgresDriver
from holdfast.channels.drivers.postgres import following as module
from holdfast.channels.drivers.postgres.announcements import (
    INLINE_BYTES,
    LONGEST,
    Sent,
    Told,
    chunks,
    joined,
    packed,
)
from holdfast.channels.drivers.postgres.announcements import (
    heard as parsed,
)
from holdfast.errors import Closed, StoreError, StoreUnavailable
from holdfast.testing.channels.ear import Ear
from holdfast.testing.servers import PostgresServer, ServerMissing

room = pytest.fixture(prefix, name="room")


@pytest.fixture
async def driver(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    async with opened(postgres_url) as driver:
        yield driver


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[PostgresDriver]:
    """Another process's: its engine is its own."""
    async with opened(f"{postgres_url}?application_name=other") as driver:
        yield driver


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of this test's own, behind which a pgbouncer may stand."""
    try:
        started = PostgresServer(fsync="off").start()
    except ServerMissing as exc:
        pytest.skip(str(exc))
    with started:
        yield started


async def reaches(ear: Ear, key: str, last: int) -> None:
    await heard(ear, lambda: ear.reach(key) >= last, f"{last} in {key}")


# --- the words ---


def test_what_is_packed_is_what_is_heard() -> None:
    sends = [
        Send("a", b"text"),
        Send("b", "é€𝄞".encode()),
        Send("\x1f\x01", b"\x00\xff\xfe"),
        Send("c", b""),
        Send("d", b"with \x1f and \x01 and \x00 in it"),
        *[Send(f"{n}", random.randbytes(INLINE_BYTES)) for n in range(4)],
        *[Send("k" * 700, b"x" * INLINE_BYTES) for _ in range(3)],
    ]
    payloads = packed(sends, "me")
    assert len(set(payloads)) == len(payloads), "Postgres drops the second of two that are the same"
    assert max(len(payload.encode()) for payload in payloads) <= LONGEST
    said = [parsed(payload) for payload in payloads]
    assert {each.origin for each in said if each} == {"me"}
    assert [sent for each in said if each for sent in each.sent] == [Sent(op.key, op.data) for op in sends]


def test_pointers_are_cut_into_payloads_that_are_short_enough() -> None:
    for size, count in ((8, 3), (8, 150), (8, 300), (700, 40), (250, 512)):
        for letter in "xé":
            keys = [f"{n:04d}{letter * (size // len(letter.encode()))}" for n in range(count)]
            places = chunks(keys, joined(keys)[0]) or [0] * count
            assert places == sorted(places)
            for chunk in set(places):
                parts = [
                    f"{'e' * 16}:{9**18}:{key}" for key, at in zip(keys, places, strict=True) if at == chunk
                ]
                assert len("\x1f".join(["", "k12345678", *parts]).encode()) < 8_000


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "x",
        "\x1f",
        "hello",
        "\x1fk",
        "\x1fkme\x1fa",
        "\x1fkme\x1fa:b:c",
        "\x1fnme\x1fx:a",
        "\x1fzme\x1fa:1:b",
    ],
)
def test_what_somebody_else_says_in_the_channel_is_passed_over(payload: str) -> None:
    said = parsed(payload)
    assert said is None or (said.told, said.sent) in (((), ()), ([], ()))


def test_a_topic_may_look_like_a_pointer() -> None:
    said = parsed("\x1fkme\x1fe:7:a:b:9\x1fe:8:")
    assert said
    assert said.told == [Told("a:b:9", "e", 7), Told("", "e", 8)]


# --- what is kept ---


async def test_a_batch_for_more_topics_than_one_payload_holds_is_all_announced(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    keys = [f"{room}{n:03d}{'x' * 150}" for n in range(300)]
    async with following(driver, *keys) as ear:
        outcomes = await other.apply([said(key) for key in keys for _ in range(2)])
        await heard(ear, lambda: len(ear.heard) >= 300, "all")
        assert {(each.key, each.last) for each in ear.heard} == {(key, 2) for key in keys}
        assert {each.epoch for each in ear.heard} == {outcome.epoch for outcome in outcomes}


async def test_edits_of_many_topics_are_all_announced(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    keys = [f"{room}{n:03d}{'x' * 150}" for n in range(100)]
    await other.apply([said(key, id="x") for key in keys])
    async with following(driver, *keys) as ear:
        await other.apply([Edit(key, b"{}", id="x") for key in keys])
        await heard(ear, lambda: len(ear.about(keys[0])) + len(ear.heard) > 100, "all")
        assert {(each.key, each.last) for each in ear.heard} == {(key, 2) for key in keys}


async def test_what_this_process_does_itself_it_is_not_told(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    async with following(driver, room) as ear:
        await one(driver, said(room))
        await one(driver, Send(room, b"mine"))
        await one(other, Send(room, b"theirs"))
        await one(other, said(room))
        await reaches(ear, room, 2)
        assert [each.last for each in ear.heard] == [2]
        assert ear.sends == [(room, b"theirs")]


async def test_a_change_with_an_unknown_outcome_is_told_to_who_made_it(
    driver: PostgresDriver, postgres_url: str, room: str
) -> None:
    await one(driver, said(room))
    async with (
        following(driver, room) as ear,
        meddling(postgres_url) as meddler,
        meddling(postgres_url) as slow,
    ):
        held = slow.transaction()
        await held.start()
        await slow.execute("SELECT FROM holdfast_topics WHERE topic = $1 FOR UPDATE", room)
        waiting = asyncio.ensure_future(driver.apply([said(room)]))
        pid = await blocked(meddler, "INSERT INTO holdfast_topics")
        await meddler.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(StoreUnavailable) as caught:
            await waiting
        assert caught.value.maybe_applied
        assert ear.losses == 1
        await held.rollback()


async def test_a_cancelled_change_is_told_to_who_made_it(
    driver: PostgresDriver, postgres_url: str, room: str
) -> None:
    await one(driver, said(room))
    async with (
        following(driver, room) as ear,
        meddling(postgres_url) as meddler,
        meddling(postgres_url) as slow,
    ):
        held = slow.transaction()
        await held.start()
        await slow.execute("SELECT FROM holdfast_topics WHERE topic = $1 FOR UPDATE", room)
        waiting = asyncio.ensure_future(driver.apply([said(room)]))
        await blocked(meddler, "INSERT INTO holdfast_topics")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ear.losses == 1
        await held.rollback()


async def test_a_listening_connection_that_ended_tells_every_listener(
    driver: PostgresDriver, other: PostgresDriver, postgres_url: str, room: str
) -> None:
    async with following(driver, room) as one_ear, following(driver, room) as two_ear:
        async with meddling(postgres_url) as meddler:
            await meddler.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
        await heard(one_ear, lambda: one_ear.losses == 1, "the loss")
        await heard(two_ear, lambda: two_ear.losses == 1, "the loss")
        await one(other, said(room))
        for ear in (one_ear, two_ear):
            await reaches(ear, room, 1)


async def test_what_no_notification_told_is_found_by_looking(
    driver: PostgresDriver,
    other: PostgresDriver,
    postgres_url: str,
    room: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who writes through another driver to the same tables may not notify at all."""
    monkeypatch.setattr(module, "SWEEP", 0.02)
    await one(other, said(room))
    async with following(driver, room) as ear, meddling(postgres_url) as meddler:
        await reaches(ear, room, 1)
        ear.forget()
        await meddler.execute("UPDATE holdfast_topics SET last = last + 1 WHERE topic = $1", room)
        await reaches(ear, room, 2)
        await meddler.execute("UPDATE holdfast_topics SET epoch = 'other', last = 1 WHERE topic = $1", room)
        await heard(ear, lambda: ear.heard[-1].epoch == "other", "the new log")
        told = len(ear.heard)
        await asyncio.sleep(0.1)
        assert len(ear.heard) == told == 2, "told again and again"


async def test_an_answer_that_was_overtaken_by_an_announcement_is_not_told(
    driver: PostgresDriver, other: PostgresDriver, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one(other, said(room))
    async with following(driver, room) as ear:
        assert driver._following is not None
        fetch = driver._following._fetch

        async def slowly(*args: Any) -> list[Any]:
            rows = await fetch(*args)
            await one(other, said(room))
            await reaches(ear, room, 2)
            return rows

        monkeypatch.setattr(driver._following, "_fetch", slowly)
        await driver._following._look()
        assert [each.last for each in ear.heard] == [2]


async def test_what_is_no_more_followed_is_no_more_told(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    ear = Ear()
    subscription = await driver.subscribe(ear)
    for key in ("a", "a", "b"):
        await subscription.follow(room + key)
    await subscription.unfollow(room + "a")
    await subscription.unfollow(room + "never")
    await other.apply([said(room + "a"), said(room + "b"), Send(room + "a", b"x"), Send(room + "b", b"y")])
    await heard(ear, lambda: ear.sends == [(room + "b", b"y")], "the other room")
    assert [each.key for each in ear.heard] == [room + "b"]
    await subscription.close()
    await subscription.close()
    with pytest.raises(Closed):
        await subscription.follow(room + "b")


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
async def test_a_topic_that_postgres_cannot_name_does_not_spoil_the_look_at_others(
    driver: PostgresDriver, other: PostgresDriver, room: str, bad: str
) -> None:
    await one(other, said(room))
    async with following(driver, room) as ear:
        assert driver._following is not None
        (subscription,) = driver._following._subscriptions
        with pytest.raises(StoreError, match="no such text"):
            await subscription.follow(room + bad)
        await driver._following._look()
        assert ear.reach(room) == 1


# --- what is sent ---


async def test_what_is_too_long_for_an_announcement_keeps_its_place(
    driver: PostgresDriver, other: PostgresDriver, room: str
) -> None:
    sizes = [3, INLINE_BYTES + 1, 10, INLINE_BYTES, 1 << 20, 0, 8_000, 4]
    datas = [bytes([n]) * size for n, size in enumerate(sizes)]
    async with following(driver, room) as ear:
        for data in datas:
            await one(other, Send(room, data))
        await heard(ear, lambda: len(ear.sends) == len(datas), "all that was sent")
        assert [data for _, data in ear.sends] == datas
        ear.forget()
        await other.apply([Send(room, data) for data in datas])
        await heard(ear, lambda: len(ear.sends) == len(datas), "all of one batch")
        assert [data for _, data in ear.sends] == datas


async def test_a_note_that_is_gone_does_not_hold_up_what_follows(
    driver: PostgresDriver, other: PostgresDriver, postgres_url: str, room: str
) -> None:
    async with following(driver, room) as ear, meddling(postgres_url) as meddler:
        await meddler.execute(
            "SELECT pg_notify('holdfast_channels', $1)", f"\x1fnsomebody.1\x1f{2**60}:{room}"
        )
        await one(other, Send(room, b"next"))
        await heard(ear, lambda: bool(ear.sends), "what follows")
        assert ear.sends == [(room, b"next")]


async def test_more_than_may_wait_is_dropped(
    driver: PostgresDriver, postgres_url: str, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    async with following(driver, room) as ear, meddling(postgres_url) as meddler:
        first = f"\x1fnsomebody.1\x1f{2**60}:{room}"
        rest = [f"\x1fssomebody.{n}\x1f{room}\x1ft{n}" for n in range(20)]
        await meddler.execute(
            "SELECT pg_notify('holdfast_channels', said) FROM unnest($1::text[]) AS said",
            [first, *rest, "end"],
        )
        await heard(ear, lambda: len(ear.sends) >= 2, "the first of them")
        await one(driver, Read(room, 1))
        assert [data for _, data in ear.sends] == [b"0", b"1"]


# --- behind a pgbouncer ---


@asynccontextmanager
async def bounced(server: PostgresServer, options: str = "") -> AsyncIterator[tuple[PostgresDriver, Any]]:
    with bouncer(server.port) as url:
        async with opened(url + options) as mine, opened(f"{url}{options}&lanes=1") as theirs:
            yield mine, theirs


async def test_without_a_way_past_a_pgbouncer_the_tables_are_asked(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.02)
    async with bounced(server) as (mine, theirs):
        assert (mine.traits.notifies, mine.traits.latency) == ("poll", 0.5)
        assert "asks every" in (await mine.describe())[-1].text
        await one(theirs, Send("before", b"not for who comes later"))
        async with following(mine, "room", "other") as ear:
            batch: list[Any] = [said("room"), Send("room", b"x" * 9_000), Send("nobody", b""), said("other")]
            await theirs.apply([*batch, Append("room", "said", b"{}", id="x"), Send("room", b"\x00")])
            await reaches(ear, "room", 2)
            await reaches(ear, "other", 1)
            await heard(ear, lambda: len(ear.sends) == 2, "both notes")
            assert ear.sends == [("room", b"x" * 9_000), ("room", b"\x00")]
            await theirs.apply([Send("room", b"%d" % n) for n in range(700)])
            await heard(ear, lambda: len(ear.sends) == 702, "many notes")
            assert [data for _, data in ear.sends[2:]] == [b"%d" % n for n in range(700)]


async def test_a_note_that_became_visible_late_is_not_skipped(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.02)
    async with (
        bounced(server) as (mine, theirs),
        following(mine, "room") as ear,
        meddling(server.url) as slow,
    ):
        late = slow.transaction()
        await late.start()
        await slow.execute("INSERT INTO holdfast_notes (channel, data, at) VALUES ('room', 'late', 0)")
        await one(theirs, Send("room", b"early"))
        await heard(ear, lambda: len(ear.sends) == 1, "the higher number")
        await late.commit()
        await heard(ear, lambda: len(ear.sends) == 2, "the lower number")
        assert ear.sends == [("room", b"early"), ("room", b"late")]


async def test_listen_leads_past_a_pgbouncer(server: PostgresServer) -> None:
    async with bounced(server, f"&listen={server.url}") as (mine, theirs):
        assert mine.traits.notifies == "push"
        assert "came back" in (await mine.describe())[-1].text
        async with following(mine, "room") as ear:
            await theirs.apply([said("room"), Send("room", b"x")])
            await reaches(ear, "room", 1)
            assert ear.sends == [("room", b"x")] or not ear.sends
            await heard(ear, lambda: bool(ear.sends), "what was sent")


async def test_listening_through_the_pooler_is_found_out_by_the_doctor(server: PostgresServer) -> None:
    with bouncer(server.port) as url, bouncer(server.port) as pooled:
        async with opened(f"{url}&listen={pooled.partition('?')[0]}") as driver:
            found = (await driver.describe())[-1]
            assert (found.level, found.subject) == ("warning", "announcements")


async def test_the_doctor_times_an_announcement(driver: PostgresDriver) -> None:
    found = [each for each in await driver.describe() if each.subject == "announcements"]
    assert [each.level for each in found] == ["ok"]
