import msgspec

from holdfast.webmention.mentions import OutgoingMention, Status
from holdfast.webmention.planning import Plan, afresh, is_first, plan_delete, plan_retry, plan_send
from holdfast.webmention.schedule import DAY

NOW = 1_000_000.0
SOURCE = "https://alice.example/post"


def row(target: str, status: Status = "sent", **rest: object) -> OutgoingMention:
    known = {"sha": "one", "created_at": NOW - 10, "updated_at": NOW - 5, "attempts": 1, **rest}
    return msgspec.convert(
        {"source_url": SOURCE, "target_url": target, "status": status, **known}, OutgoingMention
    )


def send(rows: list[OutgoingMention], *targets: str, sha: str = "one") -> Plan:
    return plan_send(rows, SOURCE, targets, sha=sha, now=NOW)


def test_a_new_target_is_put_pending_and_due_now() -> None:
    plan = send([], "a", "b")
    assert [put.target_url for put in plan.puts] == ["a", "b"]
    assert {(put.status, put.next_attempt, put.attempts, put.sha, put.present) for put in plan.puts} == {
        ("pending", NOW, 0, "one", True)
    }
    assert not plan.unchanged


def test_what_was_sent_with_the_same_content_is_skipped() -> None:
    plan = send([row("a"), row("b")], "a", "b")
    assert (plan.puts, plan.skipped, plan.unchanged) == ((), ("a", "b"), True)


def test_what_is_pending_stays_on_its_schedule() -> None:
    plan = send([row("a", "pending", next_attempt=NOW + 60)], "a")
    assert (plan.puts, plan.skipped, plan.unchanged) == ((), (), True)


def test_what_was_given_up_is_left_to_be_retried_by_hand() -> None:
    assert send([row("a", "failed", updated_at=NOW - 9 * DAY)], "a").puts == ()


def test_a_target_without_an_endpoint_is_looked_at_again_after_a_day() -> None:
    assert send([row("a", "not_found", updated_at=NOW - DAY + 1)], "a").puts == ()
    (put,) = send([row("a", "not_found", updated_at=NOW - DAY)], "a").puts
    assert (put.status, put.attempts, put.next_attempt) == ("pending", 0, NOW)


def test_changed_content_tells_new_kept_and_removed_targets() -> None:
    plan = send([row("kept"), row("removed")], "kept", "new", sha="two")
    assert {put.target_url: put.present for put in plan.puts} == {"kept": True, "new": True, "removed": False}
    assert {put.sha for put in plan.puts} == {"two"}
    assert plan.skipped == ()


def test_a_kept_target_is_told_from_a_fresh_start() -> None:
    tried = row(
        "a",
        "sent",
        endpoint="https://old.example/hook",
        answer=201,
        location="https://old.example/status",
        location_polls=3,
        location_says="200",
        error="once",
    )
    (put,) = send([tried], "a", sha="two").puts
    assert (put.endpoint, put.answer, put.location, put.location_polls, put.location_says, put.error) == (
        None,
        None,
        None,
        0,
        None,
        None,
    )
    assert put.created_at == tried.created_at


def test_a_removal_is_told_once() -> None:
    removed = row("gone", present=False, sha="two")
    assert send([row("a", sha="two"), removed], "a", sha="three").puts[0].target_url == "a"
    assert len(send([row("a", sha="two"), removed], "a", sha="three").puts) == 1


def test_a_link_that_comes_back_is_told_of() -> None:
    (put,) = send([row("a", present=False)], "a").puts
    assert put.present


def test_a_send_that_was_cut_short_is_taken_up_where_it_ended() -> None:
    """Half of the rows have the new content: the others are still told, and the removal too."""
    plan = send([row("a", sha="two"), row("b"), row("removed")], "a", "b", "c", sha="two")
    assert [put.target_url for put in plan.puts] == ["b", "c", "removed"]
    assert plan.skipped == ("a",)


def test_links_that_are_asked_for_no_more_were_not_removed() -> None:
    """The content is the same: what differs is whether one's own links are told."""
    assert send([row("a"), row("own")], "a").puts == ()


def test_a_deletion_tells_all_and_once() -> None:
    rows = [row("a"), row("b", "not_found"), row("c", present=False)]
    plan = plan_delete(rows, now=NOW)
    assert [(put.target_url, put.present, put.sha) for put in plan.puts] == [
        ("a", False, ""),
        ("b", False, ""),
        ("c", False, ""),
    ]
    told = [msgspec.structs.replace(put, status="sent", attempts=1) for put in plan.puts]
    again = plan_delete(told, now=NOW + 1)
    assert (again.puts, again.skipped) == ((), ("a", "b", "c"))


def test_a_post_that_comes_back_after_its_deletion_is_told_of() -> None:
    gone = row("a", present=False, sha="")
    assert [put.present for put in send([gone], "a").puts] == [True]


def test_by_hand_all_is_tried_that_was_not_sent_or_one_target_whatever_its_status() -> None:
    rows = [row("a"), row("b", "failed"), row("c", "not_found"), row("d", "pending", present=False)]
    assert [put.target_url for put in plan_retry(rows, None, now=NOW).puts] == ["b", "c", "d"]
    assert [put.present for put in plan_retry(rows, None, now=NOW).puts] == [True, True, False]
    assert [put.target_url for put in plan_retry(rows, "a", now=NOW).puts] == ["a"]
    assert plan_retry(rows, "z", now=NOW).puts == ()


def test_only_a_target_that_was_never_told_is_a_first() -> None:
    (new,) = send([], "a").puts
    assert is_first(new)
    assert not is_first(msgspec.structs.replace(new, attempts=1))
    at_the_same_second = afresh(new, now=NOW, sha="two", present=True)
    assert not is_first(at_the_same_second), "an update is none, on clocks that stand still too"
