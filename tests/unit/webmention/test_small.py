"""Sending with a storage of four methods, and what it cannot do."""

import asyncio
import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.webmention.sending_lab import (
    SOURCE,
    START,
    FakeWeb,
    answer,
    hook,
    offline,
    page,
    post,
    reached,
    to,
)

from holdfast.errors import StorageTooSmall
from holdfast.testing import StorageSuite
from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.outbound import Outbound
from holdfast.webmention.pages import Page


class Kept(enum.StrEnum):
    PENDING = "pending"
    SENT = "sent"
    NOT_FOUND = "not_found"
    FAILED = "failed"


@dataclass
class Row:
    """Somebody's own class, with an enumeration for the status."""

    source_url: str
    target_url: str
    endpoint: str | None
    status: Kept
    sha: str
    updated_at: datetime | None = None


class Mine:
    """Four methods over a dict; whoever calls two at once is told."""

    def __init__(self, *, updated_at: datetime | None = None) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.updated_at = updated_at
        self.busy = False
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None  # that an update of what became of one waits for

    async def save(self, entity: OutgoingMention) -> None:
        await self._keep("save", entity)

    async def update(self, entity: OutgoingMention) -> None:
        assert (entity.source_url, entity.target_url) in self.rows
        await self._keep("update", entity)

    async def get(self, entity: OutgoingMention) -> Row | None:
        row = self.rows.get((entity.source_url, entity.target_url))
        return row if row is not None and row.sha == entity.sha else None

    async def exists(self, entity: OutgoingMention) -> bool:
        return await self.get(entity) is not None

    async def _keep(self, what: str, entity: OutgoingMention) -> None:
        assert not self.busy, "one session, two tasks"
        self.busy = True
        await asyncio.sleep(0)
        if self.gate is not None and entity.status != "pending":
            await self.gate.wait()
        self.busy = False
        if self.error is not None and what == "update":
            error, self.error = self.error, None
            raise error
        self.calls.append((what, entity.target_url, entity.status))
        self.rows[entity.source_url, entity.target_url] = Row(
            entity.source_url,
            entity.target_url,
            entity.endpoint,
            Kept(entity.status),
            entity.sha,
            self.updated_at,
        )

    @property
    def statuses(self) -> dict[str, str]:
        return {
            target.removeprefix("https://").partition(".")[0]: row.status.value
            for (_, target), row in self.rows.items()
        }


class TestTheClassOfTheseTests(StorageSuite):
    """So that what is tested with it is tested with a storage that is one."""

    async def make_storage(self) -> Any:
        return Mine()


def made(storage: Mine, web: FakeWeb, **options: Any) -> Outbound:
    return Outbound(storage, web, now=lambda: float(START), **options)


async def test_it_sends_and_keeps_what_became_of_each() -> None:
    mine, web = Mine(), FakeWeb()
    web.pages[to("none")] = page(to("none"))
    web.refuse("busy", 503)
    web.refuse("no", 400)
    report = await made(mine, web).send(SOURCE, post("bob", "none", "busy", "no"))
    assert mine.statuses == {"bob": "sent", "none": "not_found", "busy": "pending", "no": "failed"}
    assert mine.rows[SOURCE, to("bob")].endpoint == hook("bob")
    assert [m.status for m in report.mentions] == ["sent", "not_found", "pending", "failed"]
    assert {m.next_attempt for m in report.mentions} == {None}, "nothing happens by itself"


async def test_all_are_saved_pending_before_anything_is_fetched() -> None:
    mine, web = Mine(), FakeWeb()
    seen: list[dict[str, str]] = []

    async def look() -> Page:
        seen.append(mine.statuses)
        return page(to("a"))

    web.pages[to("a")] = look
    await made(mine, web).send(SOURCE, post("a", "b"))
    assert seen == [{"a": "pending", "b": "pending"}]
    assert mine.calls[:2] == [("save", to("a"), "pending"), ("save", to("b"), "pending")]


async def test_what_was_sent_unchanged_is_skipped() -> None:
    mine, web = Mine(), FakeWeb()
    await made(mine, web).send(SOURCE, post("a", "b"))
    report = await made(mine, web).send(SOURCE, post("a", "b"))
    assert (report.skipped, report.unchanged) == ((to("a"), to("b")), True)
    assert len(web.asked) == len(web.told) == 2


async def test_what_is_pending_or_failed_is_tried_again_at_the_next_send() -> None:
    mine, web = Mine(), FakeWeb()
    web.pages[to("a")] = [offline(), page(to("a"), hook=hook("a"))]
    web.hooks[hook("b")] = [answer("b", 400), answer("b", 202)]
    await made(mine, web).send(SOURCE, post("a", "b"))
    assert mine.statuses == {"a": "pending", "b": "failed"}
    await made(mine, web).send(SOURCE, post("a", "b"))
    assert mine.statuses == {"a": "sent", "b": "sent"}
    assert [what for what, _, _ in mine.calls].count("save") == 2, "what is there is updated"


@pytest.mark.parametrize(
    ("updated_at", "looks"),
    [
        (None, 1),
        (datetime.fromtimestamp(START, UTC) - timedelta(hours=23), 1),
        (datetime.fromtimestamp(START, UTC) - timedelta(days=1), 2),
        (datetime.fromtimestamp(START, UTC).replace(tzinfo=None) - timedelta(days=1), 2),
    ],
)
async def test_a_target_without_an_endpoint_is_looked_at_again_where_the_day_is_known(
    updated_at: datetime | None, looks: int
) -> None:
    mine, web = Mine(updated_at=updated_at), FakeWeb()
    web.pages[to("a")] = page(to("a"))
    for _ in range(2):
        await made(mine, web).send(SOURCE, post("a"))
    assert len(web.asked) == looks


async def test_changed_content_is_sent_again_from_a_fresh_discovery() -> None:
    mine, web = Mine(), FakeWeb()
    web.pages[to("a")] = page(to("a"), hook=hook("a"), cache_control="max-age=3600")
    outbound = made(mine, web)
    await outbound.send(SOURCE, post("a"))
    await outbound.send(SOURCE, post("a") + "changed")
    assert len(web.asked) == len(web.told) == 2


async def test_one_target_that_fails_does_not_end_the_job() -> None:
    mine, web = Mine(), FakeWeb()
    web.pages[to("a")] = offline()
    await made(mine, web).send(SOURCE, post("a", "b", "c"))
    assert mine.statuses == {"a": "pending", "b": "sent", "c": "sent"}


async def test_a_storage_that_fails_is_told_after_the_others_went_on() -> None:
    mine, web = Mine(), FakeWeb()
    mine.error = OSError("disk")
    with pytest.raises(OSError, match="disk"):
        await made(mine, web).send(SOURCE, post("a", "b", "c"))
    assert sorted(mine.statuses.values()) == ["pending", "sent", "sent"]


async def test_a_send_that_is_cancelled_ends_what_is_being_told_and_keeps_it() -> None:
    mine, web = Mine(), FakeWeb()
    gate = asyncio.Event()

    async def slow() -> Page:
        await gate.wait()
        return answer("a", 202)

    web.hooks[hook("a")] = slow
    outbound = made(mine, web, at_once=1)
    sending = asyncio.create_task(outbound.send(SOURCE, post("a", "b")))
    await reached(lambda: len(web.told) == 1)
    sending.cancel()
    asyncio.get_running_loop().call_soon(gate.set)
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert mine.statuses == {"a": "sent", "b": "pending"}
    await outbound.send(SOURCE, post("a", "b"))
    assert web.targets == ["a", "b"]


async def test_a_result_is_kept_although_the_send_is_cancelled_while_it_is_written() -> None:
    mine, web = Mine(), FakeWeb()
    mine.gate = asyncio.Event()
    sending = asyncio.create_task(made(mine, web).send(SOURCE, post("a")))
    await reached(lambda: bool(web.told) and mine.busy)
    sending.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    mine.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert mine.statuses == {"a": "sent"}


async def test_what_has_no_endpoint_is_kept_although_the_send_is_cancelled_while_it_is_written() -> None:
    mine, web = Mine(), FakeWeb()
    mine.gate = asyncio.Event()
    web.pages[to("a")] = page(to("a"))
    sending = asyncio.create_task(made(mine, web).send(SOURCE, post("a")))
    await reached(lambda: bool(web.asked) and mine.busy)
    sending.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    mine.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert mine.statuses == {"a": "not_found"}


async def test_few_go_out_to_one_host_at_once() -> None:
    mine, web = Mine(), FakeWeb()
    crowd = "".join(f'<a href="https://crowd.example/{at}">x</a>' for at in range(20))
    await made(mine, web, at_once=8).send(SOURCE, crowd + post(*(f"t{at}" for at in range(20))))
    assert (web.most["crowd.example"], web.most[""]) == (4, 8)


async def test_a_preview_says_whom_a_send_would_tell() -> None:
    mine, web = Mine(), FakeWeb()
    outbound = made(mine, web)
    assert [m.target_url for m in (await outbound.preview(SOURCE, post("a"))).mentions] == [to("a")]
    assert (mine.rows, web.asked) == ({}, [])


async def test_what_needs_more_says_so_and_names_the_larger_protocol() -> None:
    outbound = made(Mine(), FakeWeb())
    assert not outbound.is_whole
    assert await outbound.next_due() is None
    for ask in (
        outbound.delete(SOURCE),
        outbound.retry(SOURCE),
        outbound.work(),
        outbound.of(SOURCE),
        outbound.page(),
        outbound.statuses(),
        anext(outbound.outgoing()),
    ):
        with pytest.raises(StorageTooSmall, match="Outbox"):
            await ask
    await outbound.close()


async def test_a_status_that_is_none_is_a_defect_of_the_storage() -> None:
    mine = Mine()
    mine.get = lambda entity: _odd()  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'delivered'"):
        await made(mine, FakeWeb()).send(SOURCE, post("a"))


async def test_a_status_may_be_any_enumeration_of_the_same_words() -> None:
    class Plain(enum.Enum):
        DONE = "sent"

    async def done() -> Any:
        return Row(SOURCE, to("a"), None, Plain.DONE, "x")  # type: ignore[arg-type]

    mine = Mine()
    mine.get = lambda entity: done()  # type: ignore[method-assign]
    assert (await made(mine, FakeWeb()).send(SOURCE, post("a"))).unchanged


async def _odd() -> Any:
    return Row(SOURCE, to("a"), None, "delivered", "x")  # type: ignore[arg-type]


async def test_two_at_once_of_one_source_keep_and_tell_each_target_once() -> None:
    mine, web = Mine(), FakeWeb()
    outbound = made(mine, web)
    await asyncio.gather(*(outbound.send(SOURCE, post("a", "b")) for _ in range(2)))
    assert [target for what, target, _ in mine.calls if what == "save"] == [to("a"), to("b")]
    assert sorted(web.targets) == ["a", "b"]
