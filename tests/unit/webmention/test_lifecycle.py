"""What becomes of a mention, step by step: pure, so every turn of it is here."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.webmention.receiving_lab import POST, SOURCE

from holdfast.webmention.inbox import Held
from holdfast.webmention.lifecycle import (
    ATTEMPTS,
    DAY,
    Finding,
    Found,
    asked,
    decided,
    due_again,
    is_over,
    new,
    settled,
)
from holdfast.webmention.mentions import ParsedMention, State

NOW = 1000.0


def fresh() -> Held:
    return new("id", SOURCE, POST, client="::1", now=NOW)


def in_state(state: State) -> Held:
    held = fresh()
    mention = msgspec.structs.replace(
        held.mention, state=state, mention=ParsedMention(text="old"), verified_at=NOW
    )
    return msgspec.structs.replace(held, mention=mention, waiting=False, next_at=None)


def after(held: Held, found: Found, *, asks: int | None = None, **more: object) -> Held:
    finding = Finding(found=found, says="because", **more)  # type: ignore[arg-type]
    return settled(held, finding, asks=held.asks if asks is None else asks, now=NOW + 1, jitter=0.5)


@pytest.mark.parametrize(
    ("state", "found", "then"),
    [
        ("queued", "linked", "pending"),
        ("queued", "absent", "invalid"),
        ("queued", "gone", "invalid"),
        ("queued", "unanswered", "queued"),
        ("queued", "refused", "invalid"),
        ("queued", "blocked", "declined"),
        ("accepted", "linked", "accepted"),
        ("accepted", "absent", "gone"),
        ("accepted", "gone", "gone"),
        ("accepted", "unanswered", "accepted"),
        ("accepted", "refused", "accepted"),
        ("accepted", "blocked", "declined"),
        ("pending", "absent", "gone"),
        ("pending", "unanswered", "pending"),
        ("pending", "refused", "pending"),
        ("declined", "linked", "declined"),
        ("declined", "absent", "declined"),
        ("declined", "unanswered", "declined"),
    ],
)
def test_what_was_seen_decides_the_state(state: State, found: Found, then: State) -> None:
    held = fresh() if state == "queued" else in_state(state)
    assert after(held, found).mention.state == then


def test_every_step_says_why() -> None:
    held = after(fresh(), "absent")
    assert [entry.says for entry in held.mention.log] == ["received; queued to be verified", "because"]


def test_the_log_keeps_the_latest_twenty() -> None:
    held = fresh()
    for _ in range(30):
        held = after(asked(after(held, "absent"), client=None, now=NOW), "absent")
    assert len(held.mention.log) == 20
    assert held.mention.log[-1].says == "because"


def test_failures_wait_longer_each_time_and_end() -> None:
    held, waits = fresh(), []
    for _ in range(ATTEMPTS - 1):
        held = after(held, "unanswered")
        assert held.next_at is not None
        waits.append(held.next_at - NOW - 1)
        assert held.waiting
    assert waits == [60, 240, 960, 3840, 15360]
    held = after(held, "unanswered")
    assert (held.mention.state, held.mention.attempts, held.waiting) == ("invalid", 0, False)
    assert "given up" in held.mention.log[-1].says


def test_what_was_verified_survives_every_failure() -> None:
    held = in_state("accepted")
    for _ in range(3 * ATTEMPTS):
        held = after(held, "unanswered")
        assert held.mention.state == "accepted"
        assert held.next_at is not None
    assert held.mention.mention == ParsedMention(text="old")


def test_a_source_may_ask_for_more_time_but_not_for_ever() -> None:
    assert after(fresh(), "unanswered", wait=500.0).next_at == NOW + 1 + 500
    assert after(fresh(), "unanswered", wait=9e9).next_at == NOW + 1 + DAY


def test_an_update_replaces_what_it_says() -> None:
    held = after(
        asked(in_state("accepted"), client=None, now=NOW), "linked", mention=ParsedMention(text="new")
    )
    assert held.mention.mention == ParsedMention(text="new")
    assert held.mention.state == "accepted"
    assert not held.waiting


def test_it_is_looked_at_after_a_day_a_week_a_month_and_every_three_months() -> None:
    assert [round(due_again(checks, 0.5) / DAY) for checks in range(6)] == [1, 7, 30, 90, 90, 90]
    held = after(fresh(), "linked", mention=ParsedMention())
    days = []
    for _ in range(4):
        assert held.next_at is not None
        days.append(round((held.next_at - NOW - 1) / DAY))
        held = after(held, "linked", mention=ParsedMention())
    assert days == [1, 7, 30, 90]


def test_what_is_shown_stays_shown_while_it_is_looked_at_again() -> None:
    held = asked(in_state("accepted"), client="::2", now=NOW + 5)
    assert (held.mention.state, held.waiting, held.next_at) == ("accepted", True, NOW + 5)


@pytest.mark.parametrize("state", ["invalid", "gone"])
def test_what_was_over_is_queued_anew_when_told_of_again(state: State) -> None:
    assert asked(in_state(state), client=None, now=NOW).mention.state == "queued"


def test_what_was_declined_stays_so_whoever_asks() -> None:
    assert asked(in_state("declined"), client=None, now=NOW + 9) == in_state("declined")


def test_a_repeat_keeps_its_turn_and_its_schedule() -> None:
    waiting = after(fresh(), "unanswered")
    again = asked(waiting, client=None, now=NOW + 9)
    assert (again.next_at, again.mention.attempts, again.asks) == (waiting.next_at, 1, 2)
    assert again.mention.log == waiting.mention.log


@pytest.mark.parametrize(
    ("found", "state"), [("linked", "pending"), ("absent", "queued"), ("gone", "queued")]
)
def test_told_of_while_somebody_looked_it_is_looked_at_once_more(found: Found, state: State) -> None:
    held = after(asked(fresh(), client=None, now=NOW), found, asks=1, mention=ParsedMention())
    assert (held.mention.state, held.waiting, held.next_at) == (state, True, NOW + 1)


def test_a_failure_keeps_its_backoff_though_it_was_told_of_meanwhile() -> None:
    assert after(asked(fresh(), client=None, now=NOW), "unanswered", asks=1).next_at == NOW + 1 + 60


def test_deciding_twice_is_deciding_once() -> None:
    held = decided(in_state("pending"), "accepted", "yes", now=NOW)
    assert decided(held, "accepted", "yes", now=NOW + 1) == held
    assert held.trusted


def test_declined_is_not_known_any_more_and_accepting_it_looks_again() -> None:
    held = decided(decided(in_state("pending"), "accepted", "yes", now=NOW), "declined", "no", now=NOW)
    assert (held.trusted, held.next_at, held.waiting) == (False, None, False)
    back = decided(held, "accepted", "yes", now=NOW)
    assert (back.waiting, back.next_at, back.trusted) == (True, NOW, True)


def test_what_is_over_is_forgotten_in_time() -> None:
    held = after(fresh(), "absent")
    assert is_over(held)
    assert held.next_at == NOW + 1 + 7 * DAY
    assert not is_over(asked(held, client=None, now=NOW))
    assert not is_over(in_state("accepted"))
    assert not is_over(decided(in_state("pending"), "declined", "no", now=NOW)), "a person has said so"


def test_what_a_rule_blocks_at_first_sight_is_forgotten_too() -> None:
    held = after(fresh(), "blocked")
    assert (held.mention.state, held.next_at) == ("declined", NOW + 1 + 30 * DAY)
    assert is_over(held)
    known = decided(in_state("pending"), "accepted", "yes", now=NOW)
    assert after(known, "blocked").next_at is None
