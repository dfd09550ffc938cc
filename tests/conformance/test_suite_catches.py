"""The suite is tested by drivers with one fault each: the tests named here must catch it.

A test that fails for no broken driver may be a test that cannot fail; when a
new case is added to the suite, a driver that it catches belongs in here.
"""

from __future__ import annotations

from unittest import SkipTest

import pytest
from hypothesis import Phase

from holdfast.persist.driver import Driver
from holdfast.testing import ManualClock, PersistSuite
from holdfast.testing.faults import Passing
from holdfast.testing.persist import changes, machine

from . import broken_announcements as announcements
from . import broken_answers as answers
from . import broken_drivers as broken
from . import broken_pairs as pairs

MODEL = "any_history_agrees_with_a_dict_and_a_clock"

CAUGHT: tuple[tuple[type[Passing], tuple[str, ...]], ...] = (
    (
        broken.ForgetsExpiryOnCreate,
        ("a_created_value_expires", "lifetimes_are_kept_to_the_millisecond", MODEL),
    ),
    (broken.SetTakesTheExpiryOfTheDead, ("set_never_takes_the_lifetime_of_an_expired_value",)),
    (
        broken.ExpiredRowsBlockCreate,
        (
            "create_succeeds_over_an_expired_value",
            "only_the_first_of_two_creates_in_a_batch_succeeds_over_an_expired_value",
        ),
    ),
    (
        broken.AnswersOutOfOrder,
        (
            "every_kind_of_operation_is_answered_at_its_position",
            "many_callers_each_get_their_own_answer",
            "callers_cancelled_in_flight_leave_the_answers_of_others_in_place",
            MODEL,
        ),
    ),
    (
        broken.DropsTheLastOutcome,
        ("every_kind_of_operation_is_answered_at_its_position", "a_full_batch_is_answered_whole"),
    ),
    (
        broken.SwallowsErrors,
        (
            "one_bad_operation_among_good_ones_fails_alone",
            "incrementing_what_is_no_64_bit_integer_is_an_invalid_conversion",
            "an_increment_past_64_bits_is_a_value_error_and_changes_nothing",
        ),
    ),
    (broken.OneErrorFailsTheWholeBatch, ("one_bad_operation_among_good_ones_fails_alone",)),
    (
        broken.GroupsByKindWithoutRegardToOrder,
        (
            "writes_to_one_key_take_effect_in_the_order_of_the_batch",
            "writes_to_many_keys_keep_their_order_when_they_are_interleaved",
            "a_removal_by_version_and_a_creation_follow_each_other",
            MODEL,
        ),
    ),
    (
        broken.FoldsCase,
        ("keys_that_look_alike_are_different_keys", "a_listing_keeps_to_its_prefix", MODEL),
    ),
    (
        broken.TrimsSpaces,
        ("keys_that_look_alike_stay_apart_in_one_batch", "keys_come_back_from_a_listing_as_they_went_in"),
    ),
    (
        broken.RoundsLifetimesUpToSeconds,
        ("half_a_second_is_half_a_second", "a_lifetime_of_one_millisecond_ends", MODEL),
    ),
    (broken.TellsLifetimesInSeconds, ("lifetimes_are_kept_to_the_millisecond",)),
    (
        broken.CountsVersionsFromOneAgain,
        (
            "versions_differ_wherever_values_differ",
            "a_version_of_a_removed_value_does_not_name_its_successor",
        ),
    ),
    (
        broken.ReplacesWhateverTheVersion,
        (
            "replace_of_another_version_changes_nothing",
            "of_many_replaces_of_one_version_exactly_one_wins",
            "a_version_that_nobody_gave_out_matches_nothing",
        ),
    ),
    (broken.RenewsCountersAtEachIncrement, ("a_live_counter_keeps_its_lifetime",)),
    (broken.ListsOnlyTheFirstPage, ("a_listing_has_each_live_key_once", "small_pages_lose_nothing")),
    (broken.ListsAKeyTwice, ("a_listing_has_each_live_key_once",)),
    (broken.WalksByNumberOfRows, ("what_lives_throughout_is_listed_while_others_come_and_go",)),
    (broken.TakesPrefixesForPatterns, ("a_prefix_is_plain_text",)),
    (broken.ClearCountsTheDead, ("clear_counts_only_the_living_and_deletes_the_expired_too",)),
    (broken.ReadsAFloat, ("values_come_back_as_the_json_they_were",)),
    (
        broken.LosesOneWriteInTen,
        ("of_many_sets_of_one_key_the_last_stays", "a_full_batch_is_answered_whole"),
    ),
    (answers.CreateOverwrites, ("create_over_a_live_value_leaves_it_as_it_was",)),
    (answers.RefusedCreateRenews, ("a_refused_create_leaves_the_lifetime",)),
    (answers.RemoveAlwaysSaysYes, ("remove_answers_whether_there_was_one",)),
    (answers.RemoveForgetsTheVersion, ("remove_by_version_spares_a_changed_value",)),
    (
        answers.RemovesOnlyFromSight,
        ("create_after_a_removal_succeeds", "a_cleared_value_can_be_created_anew"),
    ),
    (
        answers.TouchDoesNothing,
        ("touch_changes_the_lifetime_and_not_the_value", "get_renew_reads_and_gives_a_new_lifetime"),
    ),
    (answers.TakesNullForAbsence, ("a_stored_null_is_a_value",)),
    (answers.SetNeverOverwrites, ("set_stores_and_set_overwrites",)),
    (
        answers.ReplaceAnswersTheOldVersion,
        ("replace_stores_over_the_version_named_and_answers_the_new_one",),
    ),
    (answers.ReplaceNeverExpires, ("replace_keeps_or_changes_the_lifetime_as_it_is_told",)),
    (answers.VersionsChangeAtEachRead, ("a_version_stays_while_nothing_is_written",)),
    (answers.VersionsAreLong, ("a_version_is_short_plain_text",)),
    (
        answers.VersionsAreSecretlyHashes,
        ("a_value_that_came_back_has_its_old_version_only_where_traits_say_so",),
    ),
    (answers.IncrementStartsAtZero, ("increment_starts_at_its_step_and_adds",)),
    (answers.IncrementOnlyCountsItsOwn, ("increment_adds_to_an_integer_that_was_set",)),
    (answers.IncrementKeepsTheVersion, ("increment_makes_a_new_version",)),
    (answers.BatchesOfOneAreSpecial, ("a_batch_of_one_is_answered_with_one",)),
    (answers.ListsWhatIsNotThere, ("a_listing_of_nothing_is_empty",)),
    (answers.CannotBeReopened, ("a_driver_may_be_closed_twice_and_opened_again",)),
    (answers.CannotBeClosedUnopened, ("a_driver_that_was_never_opened_can_be_closed",)),
    (answers.IsAlwaysIll, ("a_healthy_store_says_so",)),
    (answers.NeverFinishesMigrating, ("a_migrated_store_has_nothing_pending",)),
    (answers.DescribesNothingInWords, ("a_driver_describes_its_store_in_words",)),
    (answers.HasNoBatchSize, ("traits_are_sane",)),
    (answers.ForgetsTheEntry, ("an_absent_key_is_absent_for_every_operation",)),
    (pairs.LooksBeforeItCreates, ("of_creates_by_two_drivers_exactly_one_wins",)),
    (pairs.ReadsBeforeItIncrements, ("increments_by_two_drivers_add_up",)),
    (pairs.RemembersWhatItRead, ("two_drivers_see_what_the_other_wrote",)),
    (
        pairs.LocksRowsInTheOrderOfTheBatch,
        ("batches_over_the_same_keys_in_opposite_order_do_not_lock_each_other_out",),
    ),
    (
        announcements.AnnouncesRefusals,
        ("what_was_refused_is_not_announced", "a_batch_announces_exactly_what_it_did"),
    ),
    (announcements.ForgetsToAnnounceRemovals, ("whatever_stores_or_removes_is_announced",)),
    (announcements.AnnouncesTwice, ("a_batch_announces_exactly_what_it_did",)),
    (announcements.AnnouncesEveryStatement, ("touch_and_renew_are_not_announced",)),
    (announcements.AnnouncesDeletedRows, ("what_expired_is_not_announced_nor_removed_again",)),
    (
        announcements.AnnouncesLocks,
        ("leases_locks_and_loaders_are_not_heard", "a_driver_announces_nothing_but_values"),
    ),
    (announcements.TellsOnlyOthers, ("own_writes_are_announced_too",)),
    (announcements.SplitsAtLineBreaks, ("keys_come_as_the_caller_knows_them",)),
    (announcements.CutsLongAnnouncements, ("many_changes_at_once_are_each_announced",)),
    (
        announcements.ClearsInSilence,
        ("many_changes_at_once_are_each_announced", "keys_come_as_the_caller_knows_them"),
    ),
    (announcements.AnnouncesBeforeItStores, ("a_change_that_is_announced_can_be_read",)),
    (announcements.AnnouncesLaterInAnyOrder, ("changes_of_a_key_come_in_their_order",)),
    (announcements.ForgetsTheInnerNamespace, ("only_the_prefix_and_the_namespace_are_heard",)),
    (announcements.BeginsLate, ("from_the_beginning_of_a_watch_all_is_heard",)),
    (announcements.AnnouncesUnasked, ("who_does_not_announce_is_not_heard",)),
    (announcements.TellsTheLatestListenerAlone, ("several_watch_at_once_and_each_for_itself",)),
    (announcements.StaysDeafWhenOpenedAgain, ("closing_ends_the_iteration",)),
)


def suite_over(kind: type[Passing]) -> PersistSuite:
    class Suite(PersistSuite):
        async def make_driver(self) -> Driver:
            self.clock = self.clock or ManualClock()
            return kind(self.clock)  # type: ignore[call-arg, arg-type]

    return Suite()


def fails(kind: type[Passing], name: str) -> bool:
    try:
        getattr(suite_over(kind), f"test_{name}")()
    except SkipTest:
        return False
    except Exception:  # noqa: BLE001 - whatever it is, pytest would count it as a failure
        return True
    return False


@pytest.fixture
def _no_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "QUICK", machine.settings(machine.SOAK, max_examples=100, phases=[Phase.generate])
    )


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PATIENCE_SECONDS", 0.5)  # all of it is in memory


@pytest.mark.usefixtures("_no_shrinking", "_no_patience")
@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{kind.__name__}-{name}") for kind, names in CAUGHT for name in names],
)
def test_a_broken_driver_is_caught(kind: type[Passing], name: str) -> None:
    assert fails(kind, name), f"{kind.__name__} passes test_{name}"


@pytest.mark.parametrize("kind", [broken.Broken, pairs.Paired])
@pytest.mark.parametrize("name", sorted(name[5:] for name in dir(PersistSuite) if name.startswith("test_")))
def test_the_same_driver_without_a_fault_passes(kind: type[Passing], name: str) -> None:
    assert not fails(kind, name), "the harness itself fails this test: what it catches proves nothing"
