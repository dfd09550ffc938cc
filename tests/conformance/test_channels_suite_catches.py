"""`ChannelsSuite` is tested by drivers with one fault each: the tests named here must catch it.

A case that catches nothing may be a case that cannot fail: each one stands here at least once.
"""

from __future__ import annotations

from unittest import SkipTest

import pytest
from hypothesis import Phase

from holdfast.channels.driver import Driver
from holdfast.testing import ChannelsSuite, ManualClock
from holdfast.testing.channels import machine, running, subject

from . import broken_channel_answers as answers
from . import broken_channel_logs as logs
from . import broken_channel_pairs as pairs
from .broken_channels import Broken

MODEL = "any_history_agrees_with_a_dict_of_logs"
CASES = sorted(name[5:] for name in dir(ChannelsSuite) if name.startswith("test_"))

CAUGHT: tuple[tuple[type[Broken], tuple[str, ...]], ...] = (
    (
        answers.LeavesHoles,
        (
            "offsets_count_from_one_without_holes",
            "changes_of_a_log_without_changes_are_its_messages",
            "an_id_is_stored_once_within_a_batch",
            MODEL,
        ),
    ),
    (
        answers.CountsFromZero,
        (
            "a_driver_may_be_closed_twice_and_opened_again",
            "a_log_that_two_processes_begin_at_once_has_one_epoch",
            "a_batch_may_write_to_many_topics",
            "reading_changes_nothing",
        ),
    ),
    (answers.OrdersById, ("an_id_is_stored_once", "trimmed_tells_the_newest_that_went")),
    (
        answers.AnswersTheEpochOfAnotherTopic,
        (
            "a_log_has_one_epoch_and_every_log_another",
            "topics_that_look_alike_are_different_topics",
            "a_full_batch_is_answered_whole",
        ),
    ),
    (
        answers.ReversesABatch,
        (
            "events_come_back_as_they_were",
            "messages_keep_the_order_in_which_they_stand_in_the_batch",
            "messages_without_an_id_are_never_taken_for_each_other",
        ),
    ),
    (
        answers.StoresARepeatedIdAgain,
        (
            "an_id_is_stored_once",
            MODEL,
            "a_trim_takes_the_changes_with_it",
            "an_edit_to_the_same_payload_is_a_change_too",
        ),
    ),
    (
        answers.ForgetsIdsOfTheErased,
        (
            "the_id_of_an_erased_message_is_still_taken",
            "writes_to_one_topic_take_effect_in_the_order_of_the_batch",
        ),
    ),
    (
        answers.SharesIdsBetweenTopics,
        ("changes_of_one_topic_leave_the_others_alone", "an_id_belongs_to_its_topic"),
    ),
    (answers.RepeatsWithoutSayingSo, ("a_batch_of_one_is_answered_with_one", "an_id_is_stored_once")),
    (answers.StampsRepeatedMessagesAnew, ("a_batch_of_one_is_answered_with_one", "an_id_is_stored_once")),
    (
        answers.StampsInSeconds,
        ("times_do_not_run_backwards_within_a_log", "a_log_that_was_trimmed_empty_is_a_topic_still"),
    ),
    (
        answers.IgnoresWhenItWasSaid,
        ("an_import_says_when_it_was_said", "a_trim_by_age_leaves_exactly_the_young"),
    ),
    (answers.TrimsBeforeItLooksForTheId, ("a_repeated_message_trims_and_changes_nothing",)),
    (
        answers.FoldsCase,
        (
            "a_listing_keeps_to_its_prefix_and_namespace",
            "a_prefix_of_topics_is_plain_text",
            "names_may_be_as_long_as_the_tables_allow",
        ),
    ),
    (answers.TrimsSpacesOfIds, ("ids_that_look_alike_are_different_ids",)),
    (
        answers.ReformatsPayloads,
        ("payloads_come_back_as_the_text_that_they_were", "a_message_comes_back_as_it_was_said"),
    ),
    (answers.CutsLongPayloads, ("the_largest_messages_are_kept_whole",)),
    (answers.TakesPrefixesForPatterns, ("a_prefix_of_topics_is_plain_text",)),
    (
        answers.ListsOnlyTheFirstPage,
        (
            "a_listing_has_each_topic_once_whatever_the_page",
            "a_listing_keeps_to_its_prefix_and_namespace",
            "topics_come_back_from_a_listing_as_they_went_in",
        ),
    ),
    (answers.WalksByNumberOfTopics, ("what_is_there_throughout_is_listed_while_others_come_and_go",)),
    (
        answers.DropsTheLastOutcome,
        (
            "the_offset_of_a_change_names_no_message",
            "a_listing_has_each_topic_once_whatever_the_page",
            "a_topic_is_listed_with_what_it_holds",
        ),
    ),
    (
        answers.GroupsByKindWithoutRegardToOrder,
        (
            MODEL,
            "interleaved_topics_each_keep_their_order",
            "a_log_may_be_trimmed_and_cleared_within_a_batch",
        ),
    ),
    (
        answers.LosesOneMessageInTen,
        (
            "without_a_retention_everything_stays",
            "changes_of_a_log_without_changes_are_its_messages",
            "messages_submitted_one_after_another_stand_in_that_order",
        ),
    ),
    (
        answers.TakesOperationsWhenClosed,
        ("a_closed_driver_does_nothing_and_says_so", "a_closed_driver_says_that_it_is_not_well"),
    ),
    (answers.IsAlwaysWell, ("a_closed_driver_says_that_it_is_not_well",)),
    (
        answers.NeverFinishesMigrating,
        ("a_migrated_store_has_nothing_pending", "two_that_migrate_at_once_both_find_their_tables"),
    ),
    (answers.PollsAtOnce, ("traits_are_sane",)),
    (answers.SweepsMessages, ("a_sweep_spares_what_is_kept",)),
    (answers.IsAlwaysIll, ("a_healthy_store_says_so",)),
    (answers.DescribesNothingInWords, ("a_driver_describes_its_store_in_words",)),
    (answers.AnswersOtherwiseAtOnce, ("an_immediate_answer_is_the_one_that_a_batch_gives",)),
    (
        answers.ListsWhatIsNotThere,
        ("without_logs_there_are_no_topics", "every_kind_of_operation_is_answered_at_its_position"),
    ),
    (answers.GetsOutOfStep, ("a_round_trip_that_is_cancelled_leaves_the_driver_in_step",)),
    (answers.LeavesCallersWaiting, ("closing_the_driver_during_use_leaves_no_caller_waiting",)),
    (
        logs.ReadsBeforeTooFar,
        ("pages_backwards_are_the_last_below_an_offset", "erased_messages_are_left_out_and_do_not_count"),
    ),
    (
        logs.ReadsAfterTooEarly,
        ("pages_forwards_are_the_first_above_an_offset", "erased_messages_are_left_out_and_do_not_count"),
    ),
    (
        logs.ReadsTheFirstInsteadOfTheLast,
        ("the_last_ones_come_oldest_first", "erased_messages_are_left_out_and_do_not_count"),
    ),
    (
        logs.ReadsNewestFirst,
        (
            "a_driver_may_be_closed_twice_and_opened_again",
            "a_sweep_spares_what_is_kept",
            "offsets_count_from_one_without_holes",
        ),
    ),
    (logs.CountsErasedMessagesInItsLimit, ("changes_come_in_the_order_in_which_they_happened",)),
    (
        logs.ChangesDropTheErased,
        ("a_client_that_pages_through_changes_meets_each_once", "an_erased_message_leaves_no_payload"),
    ),
    (
        logs.ChangesAreOrderedByOffset,
        (
            MODEL,
            "a_client_that_pages_through_changes_meets_each_once",
            "changes_come_in_the_order_in_which_they_happened",
        ),
    ),
    (
        logs.ChangesAreOnlyNewMessages,
        ("a_trim_takes_the_changes_with_it", "a_client_that_pages_through_changes_meets_each_once"),
    ),
    (
        logs.ReadsLastFromTheEntries,
        (MODEL, "an_edit_to_the_same_payload_is_a_change_too", "every_form_tells_how_far_the_log_goes"),
    ),
    (
        logs.BeginsALogWhenItIsRead,
        (
            "a_driver_that_was_never_opened_can_be_closed",
            "an_absent_log_is_empty_in_every_form",
            "a_topic_may_be_read_many_times_in_one_batch",
        ),
    ),
    (
        logs.EditsInPlace,
        (
            MODEL,
            "an_edit_to_the_same_payload_is_a_change_too",
            "a_message_without_an_id_is_edited_and_erased_by_its_position",
            "an_edit_takes_the_next_offset_and_keeps_the_place",
        ),
    ),
    (
        logs.ErasesOnlyFromSight,
        ("an_erased_message_leaves_no_payload", "the_id_of_an_erased_message_is_still_taken"),
    ),
    (
        logs.EditsWhatWasErased,
        (
            "what_was_erased_is_found_edited_and_erased_no_more",
            "writes_to_one_topic_take_effect_in_the_order_of_the_batch",
        ),
    ),
    (
        logs.TakesAnyEpoch,
        ("a_position_of_a_cleared_log_names_nothing_in_the_next", "what_is_not_there_is_none"),
    ),
    (logs.KeepsTooFew, ("a_steady_room_stays_within_its_bounds", "the_newest_stay_and_not_many_more")),
    (
        logs.NeverTrims,
        ("a_steady_room_stays_within_its_bounds", "retention_of_one_topic_leaves_the_others_alone"),
    ),
    (logs.CountsOffsetsInsteadOfMessages, ("edits_do_not_push_messages_out", MODEL)),
    (logs.AgesInSeconds, ("age_is_counted_in_milliseconds",)),
    (
        logs.ForgetsTrimmed,
        (
            "what_is_young_enough_stays",
            "a_log_that_was_trimmed_empty_goes_on_where_it_was",
            "a_trim_leaves_exactly_the_newest",
        ),
    ),
    (
        logs.ForgetsTheLogThatWasTrimmedEmpty,
        (
            "a_log_that_was_trimmed_empty_is_a_topic_still",
            "a_log_that_was_trimmed_empty_goes_on_where_it_was",
        ),
    ),
    (
        logs.KeepsIdsOfTheTrimmed,
        ("what_was_trimmed_is_found_no_more_and_its_id_is_free", "two_processes_see_what_the_other_wrote"),
    ),
    (
        logs.ClearKeepsTheEpoch,
        (
            "no_epoch_comes_back_however_often_a_log_is_cleared",
            "a_position_of_a_cleared_log_names_nothing_in_the_next",
        ),
    ),
    (
        logs.ClearLeavesTheIds,
        (
            "a_cleared_log_is_gone_and_the_next_begins_anew",
            "what_was_trimmed_is_found_no_more_and_its_id_is_free",
        ),
    ),
    (pairs.ReadsTheLastOffsetFirst, ("two_processes_share_one_order_without_holes",)),
    (
        pairs.CommitsLate,
        (
            "a_reader_that_saw_an_offset_meets_no_lower_one_later",
            "a_listener_that_reads_what_it_lacks_gets_everything_once_and_in_order",
            "of_two_processes_with_one_id_one_is_stored",
        ),
    ),
    (
        pairs.ReadsInTwoRoundTrips,
        ("a_reader_that_saw_an_offset_meets_no_lower_one_later", "the_parts_of_a_log_are_of_one_moment"),
    ),
    (
        pairs.LooksForTheIdFirst,
        (
            "of_two_processes_with_one_id_one_is_stored",
            "what_comes_to_nothing_leaves_the_rest_of_the_batch_standing",
        ),
    ),
    (
        pairs.BeginsALogOfItsOwn,
        (
            "a_log_that_two_processes_begin_at_once_has_one_epoch",
            "a_log_has_one_epoch_and_every_log_another",
            "a_message_is_found_by_its_id_and_by_its_position",
        ),
    ),
    (pairs.RemembersWhatItRead, ("the_parts_of_a_log_are_of_one_moment", "what_is_announced_can_be_read")),
    (
        pairs.LocksTopicsInTheOrderOfTheBatch,
        ("batches_over_the_same_topics_in_opposite_order_do_not_lock_each_other_out",),
    ),
    (
        pairs.NeverAnnounces,
        (
            "what_is_no_longer_followed_is_no_longer_heard",
            "from_the_moment_that_a_topic_is_followed_all_of_it_is_heard",
        ),
    ),
    (pairs.NeverAnnouncesEdits, ("what_another_process_keeps_is_announced",)),
    (
        pairs.AnnouncesBeforeItCommits,
        ("a_repeated_message_is_not_announced_again", "what_is_announced_can_be_read"),
    ),
    (pairs.AnnouncesARepeatedIdAgain, ("a_repeated_message_is_not_announced_again",)),
    (pairs.AnnouncesTheOffsetOfTheMessage, ("what_another_process_keeps_is_announced",)),
    (
        pairs.AnnouncesAnotherEpoch,
        ("what_was_kept_before_is_not_needed_to_hear_what_comes", "another_namespace_is_not_heard"),
    ),
    (pairs.AnnouncesTheOldPayload, ("what_another_process_keeps_is_announced",)),
    (
        pairs.AnnouncesOneInTwenty,
        (
            "from_the_moment_that_a_topic_is_followed_all_of_it_is_heard",
            "a_listener_that_reads_what_it_lacks_gets_everything_once_and_in_order",
        ),
    ),
    (
        pairs.AnnouncesFromTheSecondOn,
        ("sends_of_one_batch_reach_their_topics", "what_is_no_longer_followed_is_no_longer_heard"),
    ),
    (pairs.IgnoresTheNamespace, ("another_namespace_is_not_heard",)),
    (
        pairs.AnnouncesUnderAnotherNamespace,
        (
            "what_is_no_longer_followed_is_no_longer_heard",
            "from_the_moment_that_a_topic_is_followed_all_of_it_is_heard",
        ),
    ),
    (pairs.TakesTopicsForPatterns, ("only_what_is_followed_is_heard",)),
    (pairs.FollowsForEver, ("what_is_no_longer_followed_is_no_longer_heard",)),
    (pairs.CountsFollowers, ("what_is_no_longer_followed_is_no_longer_heard",)),
    (pairs.ClosesNoSubscription, ("closing_the_driver_closes_its_subscriptions",)),
    (
        pairs.ClosedSubscriptionsHear,
        ("several_subscriptions_each_hear_their_own", "closing_the_driver_closes_its_subscriptions"),
    ),
    (pairs.HasOneListener, ("several_subscriptions_each_hear_their_own",)),
    (pairs.DropsLargeSends, ("what_is_sent_arrives_whole_and_once_and_is_not_kept",)),
    (pairs.SendsText, ("what_is_sent_arrives_whole_and_once_and_is_not_kept",)),
    (pairs.SendsTwice, ("sends_of_one_batch_reach_their_topics", "only_what_is_followed_is_heard")),
    (pairs.KeepsWhatIsSent, ("sends_of_one_batch_reach_their_topics", "a_batch_of_one_is_answered_with_one")),
    (pairs.HearsItself, ("without_another_process_nothing_is_announced",)),
)


def suite_over(kind: type[Broken]) -> ChannelsSuite:
    class Suite(ChannelsSuite):
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
    histories = machine.settings(machine.SOAK, max_examples=100, phases=[Phase.generate])
    monkeypatch.setattr(machine, "QUICK", histories)
    monkeypatch.setattr(subject, "PATIENCE_SECONDS", 0.3)
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
        for module in (answers, logs, pairs)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Broken) and kind is not Broken
    }
    assert made == {kind for kind, _ in CAUGHT}
