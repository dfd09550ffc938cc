"""The admin token, the bearer check, sessions and attempts, below HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from holdfast.persist import Persist, reserved
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.testing.clock import ManualClock
from holdfast.testing.faults import Passing
from holdfast.web import token
from holdfast.web.access import TRUSTED_SECONDS, Access
from holdfast.web.dashboard.attempts import ALL_SECONDS, CLIENT_SECONDS, FOR_ALL, PER_CLIENT, Attempts
from holdfast.web.dashboard.sessions import ABSOLUTE_SECONDS, IDLE_SECONDS, Sessions


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def persist(clock: ManualClock) -> AsyncIterator[Persist]:
    async with Persist(MemoryDriver(now_ms=clock)) as opened:
        yield opened


# --- the token ---


async def test_the_first_start_makes_a_token_and_the_second_makes_none(persist: Persist) -> None:
    made = await token.ensure(persist)
    assert made is not None
    assert len(made) == 43
    assert await token.ensure(persist) is None
    assert await token.check(persist, made)
    assert not await token.check(persist, made + "x")
    assert not await token.check(persist, "")


async def test_of_several_processes_at_once_one_makes_the_token(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    async with Persist(url) as one, Persist(url) as two:
        made = await asyncio.gather(*(token.ensure(each) for each in (one, two) * 5))
    assert len([each for each in made if each is not None]) == 1


async def test_only_the_hash_is_kept_and_where_no_persist_call_reaches(persist: Persist) -> None:
    made = await token.ensure(persist)
    assert made is not None
    assert [key async for key in persist.keys()] == []  # noqa: SIM118
    kept = await reserved(persist).get("token", msgspec.Raw)
    assert kept is not None
    assert made.encode() not in bytes(kept)
    assert hashlib.sha256(made.encode()).hexdigest().encode() in bytes(kept)
    await persist.clear()
    assert await token.check(persist, made)


async def test_rotation_replaces_the_token_and_can_make_the_first(persist: Persist) -> None:
    first = await token.rotate(persist)
    second = await token.rotate(persist)
    assert not await token.check(persist, first)
    assert await token.check(persist, second)


async def test_without_a_token_nobody_gets_in(persist: Persist) -> None:
    assert not await token.check(persist, "")
    assert not await Access(persist).admits("")
    assert not await Access(persist).admits("None")


# --- the bearer check ---


async def test_a_rotated_token_counts_at_once_and_the_old_one_ends_within_a_second(
    persist: Persist, clock: ManualClock
) -> None:
    access = Access(persist, now=lambda: clock() / 1000)
    old = await token.ensure(persist)
    assert old is not None
    assert await access.admits(old)
    new = await token.rotate(persist)
    assert await access.admits(new)
    assert not await access.admits(old)
    newest = await token.rotate(persist)
    clock.advance(TRUSTED_SECONDS)
    assert not await access.admits(new)
    assert await access.admits(newest)


async def test_the_right_token_costs_one_look_at_the_store_a_second(clock: ManualClock) -> None:
    driver = Passing(MemoryDriver())
    async with Persist(driver) as persist:
        made = await token.ensure(persist)
        assert made is not None
        access = Access(persist, now=lambda: clock() / 1000)
        calls = driver.calls
        for _ in range(10):
            assert await access.admits(made)
        assert driver.calls == calls + 1


async def test_a_given_token_counts_instead_of_the_one_in_the_store(persist: Persist) -> None:
    kept = await token.ensure(persist)
    assert kept is not None
    access = Access(persist, "the-given-token-itself")
    assert await access.admits("the-given-token-itself")
    assert not await access.admits(kept)


# --- sessions ---


@pytest.fixture
async def sessions(persist: Persist, clock: ManualClock) -> Sessions:
    await token.ensure(persist)
    access = Access(persist, now=lambda: clock() / 1000)
    return Sessions(persist, access, now=lambda: clock() / 1000)


async def test_a_session_is_found_by_its_cookie_alone(sessions: Sessions) -> None:
    cookie = await sessions.begin()
    found = await sessions.find(cookie)
    assert found is not None
    assert await sessions.find(cookie) == found
    for wrong in (None, "", cookie[:-1], cookie + "x", "session:"):
        assert await sessions.find(wrong) is None


async def test_the_store_never_sees_the_cookie(persist: Persist, sessions: Sessions) -> None:
    cookie = await sessions.begin()
    kept = reserved(persist)
    for key in [key async for key in kept.keys()]:  # noqa: SIM118
        assert cookie not in key
        assert cookie.encode() not in bytes(await kept.get(key, msgspec.Raw) or b"")


async def test_an_hour_of_silence_ends_a_session_and_a_page_renews_it(
    sessions: Sessions, clock: ManualClock
) -> None:
    cookie = await sessions.begin()
    clock.advance(IDLE_SECONDS - 1)
    assert await sessions.find(cookie)
    clock.advance(IDLE_SECONDS - 1)
    assert await sessions.find(cookie)
    clock.advance(IDLE_SECONDS)
    assert await sessions.find(cookie) is None


async def test_a_page_that_only_polls_does_not_keep_a_session_alive(
    sessions: Sessions, clock: ManualClock
) -> None:
    cookie = await sessions.begin()
    for _ in range(5):
        clock.advance(IDLE_SECONDS / 5 - 1)
        assert await sessions.find(cookie, renew=False)
    clock.advance(5)
    assert await sessions.find(cookie, renew=False) is None


async def test_half_a_day_ends_a_session_however_busy(sessions: Sessions, clock: ManualClock) -> None:
    cookie = await sessions.begin()
    for _ in range(ABSOLUTE_SECONDS // 1800 - 1):
        clock.advance(1800)
        assert await sessions.find(cookie)
    clock.advance(1799)
    assert await sessions.find(cookie)
    clock.advance(1)
    assert await sessions.find(cookie) is None


@pytest.mark.parametrize("hours", [13, -1])
async def test_a_wall_clock_that_jumps_ends_a_session_rather_than_stretching_it(
    persist: Persist, hours: int
) -> None:
    await token.ensure(persist)
    wall = [1_800_000_000.0]
    sessions = Sessions(persist, Access(persist), now=lambda: wall[0])
    cookie = await sessions.begin()
    wall[0] += hours * 3600
    assert await sessions.find(cookie, renew=False) is None
    wall[0] -= hours * 3600
    assert await sessions.find(cookie) is None


async def test_signing_out_ends_a_session_for_good(sessions: Sessions) -> None:
    cookie, other = await sessions.begin(), await sessions.begin()
    await sessions.end(cookie)
    assert await sessions.find(cookie) is None
    assert await sessions.find(other)


async def test_a_new_token_ends_every_session_also_one_that_was_begun_meanwhile(
    persist: Persist, sessions: Sessions, clock: ManualClock
) -> None:
    cookie = await sessions.begin()
    await token.rotate(persist)
    late = await sessions.begin()  # still with the hash that was read before
    clock.advance(TRUSTED_SECONDS)
    assert await sessions.find(cookie) is None
    assert await sessions.find(late) is None


# --- attempts ---


async def test_one_client_has_ten_attempts_and_then_waits(persist: Persist, clock: ManualClock) -> None:
    attempts = Attempts(persist)
    for _ in range(PER_CLIENT):
        assert await attempts.refused("10.0.0.1") is None
    wait = await attempts.refused("10.0.0.1")
    assert wait is not None
    assert 0 < wait <= CLIENT_SECONDS
    assert await attempts.refused("10.0.0.2") is None
    clock.advance(CLIENT_SECONDS)
    assert await attempts.refused("10.0.0.1") is None


async def test_attempts_at_once_are_all_counted(persist: Persist) -> None:
    attempts = Attempts(persist)
    answers = await asyncio.gather(*(attempts.refused("10.0.0.1") for _ in range(30)))
    assert sum(answer is None for answer in answers) == PER_CLIENT


async def test_a_crowd_of_clients_has_a_limit_of_its_own(persist: Persist, clock: ManualClock) -> None:
    attempts = Attempts(persist)
    for n in range(FOR_ALL):
        assert await attempts.refused(f"10.0.{n}.1") is None
    wait = await attempts.refused("10.1.0.1")
    assert wait is not None
    assert wait <= ALL_SECONDS
    clock.advance(ALL_SECONDS)
    assert await attempts.refused("10.1.0.2") is None


async def test_one_client_over_its_limit_does_not_use_up_everybodys(persist: Persist) -> None:
    attempts = Attempts(persist)
    for _ in range(FOR_ALL * 3):
        await attempts.refused("10.0.0.1")
    assert await attempts.refused("10.0.0.2") is None


async def test_neighbours_of_one_ipv6_network_are_one_client(persist: Persist) -> None:
    attempts = Attempts(persist)
    for n in range(PER_CLIENT):
        assert await attempts.refused(f"2001:db8:0:1::{n:x}") is None
    assert await attempts.refused("2001:db8:0:1:ffff::1") is not None
    assert await attempts.refused("2001:db8:0:2::1") is None


async def test_who_knew_the_token_starts_afresh(persist: Persist) -> None:
    attempts = Attempts(persist)
    for _ in range(PER_CLIENT):
        await attempts.refused("unix")
    await attempts.forgive("unix")
    assert await attempts.refused("unix") is None


async def test_attempts_survive_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    async with Persist(url) as persist:
        for _ in range(PER_CLIENT):
            await Attempts(persist).refused("10.0.0.1")
    async with Persist(url) as persist:
        assert await Attempts(persist).refused("10.0.0.1") is not None
