import msgspec
import pytest

from holdfast.webmention.mentions import OutgoingMention
from holdfast.webmention.outcomes import WORDS, Outcome, Polled, asked_again, put_back, settled
from holdfast.webmention.schedule import ATTEMPTS, DAY

NOW = 1_000_000.0
PENDING = OutgoingMention(
    source_url="https://alice.example/post",
    target_url="https://bob.example/page",
    sha="one",
    created_at=NOW - 1,
    updated_at=NOW - 1,
    next_attempt=NOW - 1,
)


def after(outcome: Outcome, mention: OutgoingMention = PENDING) -> OutgoingMention:
    return settled(mention, outcome, now=NOW, jitter=0.0)


def test_what_was_accepted_is_sent_and_over() -> None:
    sent = after(Outcome(ended="sent", endpoint="https://bob.example/hook", answer=202))
    assert (sent.status, sent.answer, sent.endpoint) == ("sent", 202, "https://bob.example/hook")
    assert (sent.attempts, sent.next_attempt, sent.error) == (1, None, None)


def test_what_was_accepted_with_a_status_url_is_asked_about() -> None:
    sent = after(Outcome(ended="sent", answer=201, location="https://bob.example/s/1"))
    assert (sent.status, sent.location, sent.next_attempt) == ("sent", "https://bob.example/s/1", NOW + 60)


@pytest.mark.parametrize(("ended", "status"), [("not_found", "not_found"), ("refused", "failed")])
def test_what_another_attempt_would_not_change_is_final(ended: str, status: str) -> None:
    final = after(msgspec.convert({"ended": ended, "says": "why"}, Outcome))
    assert (final.status, final.next_attempt, final.error) == (status, None, "why")


def test_what_may_change_is_tried_again_until_the_last_attempt() -> None:
    mention, waits = PENDING, []
    for _ in range(ATTEMPTS):
        assert mention.status == "pending"
        mention = after(Outcome(ended="later", says="busy"), mention)
        if mention.next_attempt is not None:
            waits.append(mention.next_attempt - NOW)
    assert len(waits) == ATTEMPTS - 1
    assert (mention.status, mention.attempts, mention.next_attempt) == ("failed", ATTEMPTS, None)
    assert mention.error == "given up after 8 attempts: busy"


def test_the_time_that_an_endpoint_names_is_kept() -> None:
    assert after(Outcome(ended="later", retry_after=3600.0)).next_attempt == NOW + 3600


def test_a_reason_is_kept_short() -> None:
    kept = after(Outcome(ended="refused", says="x" * 10_000)).error
    assert kept is not None
    assert len(kept) == WORDS


def test_a_status_url_is_asked_for_five_times_in_a_day() -> None:
    mention = after(Outcome(ended="sent", answer=201, location="https://bob.example/s/1"))
    asked = []
    while mention.next_attempt is not None:
        at = mention.next_attempt
        asked.append(at)
        mention = asked_again(mention, Polled("200: queued"), now=at)
    assert len(asked) == 5
    assert asked[-1] - NOW <= DAY
    assert (mention.status, mention.location_polls, mention.location_says) == ("sent", 5, "200: queued")


def test_a_status_url_with_nothing_more_to_say_is_left_alone() -> None:
    mention = after(Outcome(ended="sent", answer=201, location="https://bob.example/s/1"))
    assert asked_again(mention, Polled("404", over=True), now=NOW).next_attempt is None


def test_who_is_put_back_is_due_at_once_and_was_not_tried() -> None:
    back = put_back(PENDING, endpoint="https://bob.example/hook", now=NOW)
    assert (back.attempts, back.next_attempt, back.endpoint) == (0, NOW, "https://bob.example/hook")
    tried = msgspec.structs.replace(PENDING, attempts=2, error="busy")
    assert put_back(tried, endpoint="https://bob.example/hook", now=NOW).endpoint is None, (
        "a retry looks for itself"
    )
