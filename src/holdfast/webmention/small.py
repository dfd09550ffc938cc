"""Sending with a storage of four methods: all in one call, in one worker, nothing left to run by itself.

========================= ==========================================================
what `get` finds          then
========================= ==========================================================
nothing                   `save` it as pending, then tell it
`sent`                    skipped
`pending`, `failed`       told again
`not_found`               looked at again where `updated_at` is a day old; without
                          that attribute it is left until the content changes
========================= ==========================================================

`save` is called once for each source, target and content: a table with one row
for source and target replaces that row. `update` then says what became of it.
The storage is called by one task at a time: many are a single session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from holdfast import events
from holdfast.webmention.attempts import Attempts, Job
from holdfast.webmention.mentions import OutgoingMention, Report, Status
from holdfast.webmention.schedule import DAY
from holdfast.webmention.storage import Storage

__all__ = ["SmallSending"]


class SmallSending:
    """What `Outbound` does with four methods."""

    def __init__(self, storage: Storage, attempts: Attempts, *, now: Callable[[], float]) -> None:
        self._storage, self._attempts, self._now = storage, attempts, now
        self._one_at_a_time = asyncio.Lock()

    async def plan(
        self, source_url: str, targets: Sequence[str], sha: str
    ) -> tuple[list[OutgoingMention], Report]:
        """What would be told, and the report with the rest; nothing is stored."""
        to_tell: list[OutgoingMention] = []
        rest: list[OutgoingMention] = []
        skipped: list[str] = []
        known = 0
        for target in targets:
            entity = OutgoingMention(source_url=source_url, target_url=target, sha=sha)
            async with self._one_at_a_time:
                kept = await self._storage.get(entity)
            if kept is None:
                to_tell.append(entity)
                continue
            known += 1
            entity = msgspec.structs.replace(entity, endpoint=kept.endpoint, status=_status(kept))
            if entity.status == "sent":
                skipped.append(target)
                rest.append(entity)
            elif entity.status == "not_found" and not _is_old(kept, self._now()):
                rest.append(entity)
            else:
                to_tell.append(
                    msgspec.structs.replace(entity, attempts=1)
                )  # it is there: `save` is not called
        unchanged = bool(targets) and known == len(targets)
        return to_tell, Report(
            source_url=source_url, mentions=tuple(rest), skipped=tuple(skipped), unchanged=unchanged
        )

    async def send(self, source_url: str, targets: Sequence[str], sha: str) -> Report:
        """All are kept before the first is fetched. Cancelled, those that are being told end first."""
        to_tell, rest = await self.plan(source_url, targets, sha)
        pending = [
            msgspec.structs.replace(each, status="pending", endpoint=None, attempts=0) for each in to_tell
        ]
        for entity, before in zip(pending, to_tell, strict=True):
            async with self._one_at_a_time:
                await (self._storage.update(entity) if before.attempts else self._storage.save(entity))
        told = await self._tell_all(pending)
        by_target = {each.target_url: each for each in (*rest.mentions, *told)}
        return msgspec.structs.replace(rest, mentions=tuple(by_target[target] for target in targets))

    async def _tell_all(self, pending: Sequence[OutgoingMention]) -> list[OutgoingMention]:
        jobs = {asyncio.create_task(self._tell(job)): job for job in map(self._attempts.take, pending)}
        if not jobs:
            return []
        try:
            await asyncio.wait(jobs)
        finally:
            for task, job in jobs.items():
                if not job.underway:
                    task.cancel()
            while left := [task for task in jobs if not task.done()]:
                await asyncio.wait(left)
            for job in jobs.values():
                job.turn.leave()
            failed = [exc for task in jobs if not task.cancelled() and (exc := task.exception()) is not None]
        if failed:
            raise failed[0]  # the others went on, and what became of them is kept
        return [task.result() for task in jobs]

    async def _tell(self, job: Job) -> OutgoingMention:
        after = await self._attempts.make(job)
        assert after is not None, "there is no lease that could end"
        after = msgspec.structs.replace(after, next_attempt=None)  # nothing happens by itself
        job.underway = True
        async with self._one_at_a_time:
            await self._storage.update(after)
        if events.listeners:
            events.publish(events.MentionSent(after.source_url, after.target_url, after.status))
        return after


def _status(kept: Any) -> Status:
    """As one of ours, also where the storage has an enumeration of its own."""
    status: Any = getattr(kept.status, "value", kept.status)
    if status not in ("pending", "sent", "not_found", "failed"):
        raise ValueError(f"storage: get answered the status {status!r}")
    return status  # type: ignore[no-any-return]


def _is_old(kept: Any, now: float) -> bool:
    at = getattr(kept, "updated_at", None)
    if isinstance(at, datetime):
        at = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    return isinstance(at, int | float) and now - at >= DAY
