import pytest

from holdfast.webmention.schedule import ATTEMPTS, DAY, POLLS, next_poll, next_try


def waits(jitter: float) -> list[float]:
    found = [next_try(n, retry_after=None, jitter=jitter) for n in range(1, ATTEMPTS)]
    return [wait for wait in found if wait is not None]


def test_eight_attempts_reach_over_about_two_days() -> None:
    for jitter in (0.0, 1.0):
        assert len(waits(jitter)) == ATTEMPTS - 1 == 7
        assert 1.3 * DAY <= sum(waits(jitter)) <= 2.2 * DAY


def test_waits_begin_at_a_minute_and_end_at_half_a_day() -> None:
    assert waits(0.0)[0] == 60
    assert waits(0.0)[-1] == DAY / 2
    assert waits(0.0) == sorted(waits(0.0))


def test_jitter_spreads_the_waits_and_only_shortens_them() -> None:
    for usual, shortest in zip(waits(0.0), waits(1.0), strict=True):
        assert shortest == pytest.approx(0.8 * usual)


def test_after_the_last_attempt_there_is_none_whatever_the_endpoint_asks_for() -> None:
    assert next_try(ATTEMPTS, retry_after=None, jitter=0.5) is None
    assert next_try(ATTEMPTS, retry_after=10, jitter=0.5) is None


@pytest.mark.parametrize("asked", [10.0, 120.0, 7200.0])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_an_endpoint_that_names_a_time_is_not_asked_before_it(asked: float, jitter: float) -> None:
    wait = next_try(1, retry_after=asked, jitter=jitter)
    assert wait is not None
    assert asked <= wait <= 1.06 * asked


def test_a_time_that_is_named_is_obeyed_for_a_day_at_most() -> None:
    wait = next_try(1, retry_after=90 * DAY, jitter=1.0)
    assert wait is not None
    assert DAY <= wait <= 1.06 * DAY


def test_an_endpoint_that_says_now_does_not_use_up_all_attempts_at_once() -> None:
    all_of_them = [next_try(n, retry_after=0.0, jitter=0.0) or 0.0 for n in range(1, ATTEMPTS)]
    assert sum(all_of_them) > 3600


def test_a_status_url_is_asked_for_five_times_in_a_day() -> None:
    found = [next_poll(n) for n in range(POLLS + 1)]
    assert found[-1] is None
    assert sum(wait for wait in found if wait is not None) <= DAY
    assert len(found) == 6
