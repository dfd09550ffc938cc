"""`WebmentionSuite` is tested by drivers with one fault each: the tests named here must catch it.

A case that catches nothing may be a case that cannot fail: each one stands here at least once.
"""

from __future__ import annotations

from unittest import SkipTest

import pytest
from hypothesis import Phase, settings

from holdfast.testing import ManualClock, WebmentionSuite
from holdfast.testing.webmention import machine, running
from holdfast.webmention.driver import Driver

from . import broken_mention_claims as claims
from . import broken_mention_documents as documents
from .broken_mentions import Broken

MODEL = "any_history_agrees_with_a_dict_and_a_clock"
CASES = sorted(name[5:] for name in dir(WebmentionSuite) if name.startswith("test_"))

CAUGHT: tuple[tuple[type[Broken], tuple[str, ...]], ...] = (
    (documents.IsAlwaysIll, ("a_healthy_store_says_so",)),
    (documents.IsAlwaysWell, ("a_closed_driver_says_that_it_is_not_well",)),
    (documents.DescribesNothingInWords, ("a_driver_describes_its_store_in_words",)),
    (
        documents.NeverFinishesMigrating,
        ("a_migrated_store_has_nothing_pending", "two_that_migrate_at_once_both_find_their_tables"),
    ),
    (documents.ForgetsWhenItIsClosed, ("a_driver_may_be_closed_twice_and_opened_again",)),
    (documents.ClosesOnlyWhatIsOpen, ("a_driver_that_was_never_opened_can_be_closed",)),
    (
        documents.AnswersWhenClosed,
        ("a_closed_driver_does_nothing_and_says_so", "a_closed_driver_reads_nothing_and_says_so"),
    ),
    (documents.HasAClockForItself, ("traits_are_sane",)),
    (
        documents.EncodesDataAnew,
        ("data_comes_back_as_the_text_that_it_was", "whoever_expects_no_version_overwrites"),
    ),
    (documents.CutsLongData, ("the_largest_documents_come_back_whole",)),
    (documents.LeavesOutWhatIsMissing, ("get_answers_by_position",)),
    (documents.AnswersInTheOrderOfTheRows, ("get_answers_by_position",)),
    (documents.RefusesToDoNothing, ("nothing_is_answered_where_nothing_is_asked",)),
    (
        documents.FoldsCase,
        ("ids_that_look_alike_are_different_ids", "pages_come_in_the_order_of_the_numbers"),
    ),
    (documents.FindsKindsByTheirBeginning, ("kinds_that_look_alike_are_different_kinds",)),
    (documents.KeepsTags, ("what_a_put_does_not_name_is_gone",)),
    (documents.KeepsTheDueTime, ("two_processes_see_what_the_other_wrote",)),
    (documents.CountsWhatWasDropped, ("a_document_that_comes_back_has_nothing_of_the_one_that_went",)),
    (
        documents.RemembersTheDueTimeOfTheDropped,
        ("a_document_that_comes_back_has_nothing_of_the_one_that_went",),
    ),
    (documents.MissesWhatItDrops, ("dropping_what_is_not_there_is_no_error",)),
    (documents.NumbersEachKindFromOne, ("numbers_grow_within_the_store",)),
    (documents.GivesANumberAgain, ("a_number_is_never_given_twice",)),
    (documents.NumbersAReplacementAnew, ("what_a_put_does_not_name_is_gone",)),
    (
        documents.VersionsTellTheContent,
        ("a_drop_that_expects_a_version_needs_it", "every_change_gives_another_version"),
    ),
    (documents.VersionsCountFromCreation, ("a_version_never_comes_back", MODEL)),
    (documents.VersionsAreLong, ("a_version_is_a_short_text",)),
    (documents.ForgetsExpect, ("a_put_that_expects_a_version_needs_it",)),
    (documents.ForgetsExpectOfDrops, ("a_drop_that_expects_a_version_needs_it",)),
    (documents.TakesEmptyForWhichever, ("a_put_that_expects_nothing_there_creates", MODEL)),
    (documents.CreatesWhereAVersionWasExpected, ("a_version_that_was_expected_must_be_there",)),
    (documents.RefusesWhatWasClaimed, ("whoever_expects_no_version_overwrites",)),
    (documents.WritesUpToTheConflict, ("one_conflict_undoes_all",)),
    (documents.WritesOneKindAtATime, ("changes_of_several_kinds_are_one_step",)),
    (documents.ForgetsChangesPastTheBatch, ("every_change_of_a_write_is_made",)),
    (documents.OrdersById, ("pages_come_in_the_order_of_the_numbers",)),
    (documents.IgnoresAfter, ("what_is_there_throughout_is_met_while_others_come_and_go",)),
    (documents.BeginsAtAfter, ("a_page_goes_on_after_a_number",)),
    (
        documents.FindsTagsByTheirBeginning,
        ("a_tag_has_its_own_pages", "tags_that_look_alike_are_different_tags"),
    ),
    (
        documents.OrdersByWhenItWasTagged,
        ("a_document_keeps_its_number", "a_tag_that_comes_later_keeps_the_order"),
    ),
    (documents.ListsWithoutTags, ("a_page_holds_whole_documents",)),
    (documents.PagesHaveAtMostTwenty, ("a_walk_meets_each_document_once_whatever_the_page",)),
    (documents.PagesByHowManyThereWere, ("what_is_there_throughout_is_met_while_others_come_and_go",)),
    (documents.CountsEachTagOnce, ("counts_are_told_by_position",)),
    (documents.WritesOneByOne, ("a_write_of_several_is_seen_whole_or_not_at_all",)),
    (claims.IsDueByAnotherClock, ("a_document_is_due_when_its_wait_is_over", "only_what_is_due_is_claimed")),
    (claims.WaitsInSeconds, ("a_document_comes_back_as_it_was_put", "a_dropped_document_is_nowhere")),
    (claims.IsDueAMomentEarly, ("a_document_is_due_when_its_wait_is_over",)),
    (
        claims.ClaimsWhatIsNotDue,
        ("nobody_else_is_handed_it_while_the_lease_lives", "only_what_is_due_is_claimed"),
    ),
    (claims.WaitsFromTheFirstWrite, ("a_wait_counts_from_the_write",)),
    (claims.ClaimsTheNewestFirst, ("the_longest_due_come_first",)),
    (claims.ClaimsAsManyAsItLikes, ("no_more_are_claimed_than_were_asked_for",)),
    (claims.ClaimsWithoutRegardToTheTag, ("a_claim_may_ask_for_a_tag",)),
    (
        claims.DropsTagsOnClaim,
        ("a_lease_ends_and_the_next_is_handed_it", "what_is_claimed_is_handed_over_whole"),
    ),
    (claims.ClaimsUnderTheOldVersion, ("what_one_process_claims_another_is_not_handed",)),
    (
        claims.ClaimsTwice,
        ("many_claimers_are_handed_each_document_once", "nobody_else_is_handed_it_while_the_lease_lives"),
    ),
    (claims.LeasesForEver, ("a_lease_ends_and_the_next_is_handed_it",)),
    (
        claims.LeasesOutliveTheirSettlement,
        (
            "a_lease_ends_and_the_next_is_handed_it",
            "a_write_in_between_ends_the_lease",
            "what_is_settled_is_due_as_it_says",
        ),
    ),
    (claims.LeasesTheWholeKind, ("a_lease_of_one_leaves_the_others_alone",)),
    (
        claims.TellsTheLastThatIsDue,
        ("a_document_is_due_when_its_wait_is_over", "the_next_that_is_due_is_told"),
    ),
    (claims.TellsANegativeTime, ("a_document_is_due_when_its_wait_is_over",)),
    (
        claims.LooksAndThenClaims,
        (
            "claimers_of_two_processes_are_handed_each_document_once",
            "many_claimers_are_handed_each_document_once",
        ),
    ),
    (claims.LeasesWithinTheProcess, ("what_one_process_claims_another_is_not_handed",)),
    (
        claims.LooksAndThenWrites,
        (
            "no_change_is_lost_between_two_processes",
            "of_many_that_expect_one_version_one_writes",
            "of_two_processes_that_create_one_document_one_does",
        ),
    ),
    (
        claims.InsertsWhatItDidNotSee,
        (
            "of_two_processes_that_put_one_document_both_succeed",
            "writes_of_the_same_in_opposite_order_do_not_lock_each_other_out",
        ),
    ),
    (claims.NumbersWithinTheProcess, ("two_processes_never_give_one_number",)),
    (claims.RemembersWhatItRead, ("two_processes_see_what_the_other_wrote",)),
    (claims.LocksInTheOrderOfTheWrite, ("writes_of_the_same_in_opposite_order_do_not_lock_each_other_out",)),
    (claims.GetsOutOfStep, ("a_call_that_is_cancelled_leaves_the_driver_in_step",)),
    (claims.LeavesCallersWaiting, ("closing_the_driver_during_use_leaves_no_caller_waiting",)),
)


def suite_over(kind: type[Broken]) -> WebmentionSuite:
    class Suite(WebmentionSuite):
        async def make_driver(self) -> Driver:
            self.clock = self.clock or ManualClock(1_800_000_000_000)
            return kind(self.clock)

    return Suite()


def fails(kind: type[Broken], name: str) -> bool:
    try:
        getattr(suite_over(kind), f"test_{name}")()
    except SkipTest:
        return False
    except Exception:  # noqa: BLE001 - whatever it is, pytest would count it as a failure
        return True
    return False


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken is not waited for, nor made smaller."""
    histories = settings(machine.SOAK, max_examples=100, phases=[Phase.generate])
    monkeypatch.setattr(machine, "QUICK", histories)
    monkeypatch.setattr(running, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(running, "CLEANING_SECONDS", 0.1)


@pytest.mark.usefixtures("_in_a_hurry")
@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{kind.__name__}-{name}") for kind, names in CAUGHT for name in names],
)
def test_a_broken_driver_is_caught(kind: type[Broken], name: str) -> None:
    assert fails(kind, name), f"{kind.__name__} passes test_{name}"


@pytest.mark.parametrize("name", CASES)
def test_the_same_driver_without_a_fault_passes(name: str) -> None:
    assert not fails(Broken, name), "the harness itself fails this test: what it catches proves nothing"


def test_every_case_catches_something() -> None:
    idle = set(CASES) - {name for _, names in CAUGHT for name in names}
    assert not idle, f"nothing shows that these can fail: {', '.join(sorted(idle))}"


def test_every_broken_driver_is_put_to_the_test() -> None:
    made = {
        kind
        for module in (documents, claims)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Broken) and kind is not Broken
    }
    assert made == {kind for kind, _ in CAUGHT}
