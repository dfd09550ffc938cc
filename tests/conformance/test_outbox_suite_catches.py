"""`OutboxSuite` and `StorageSuite` are tested by storages with one fault each: the tests named here must catch it."""

from __future__ import annotations

from unittest import SkipTest

import pytest

from holdfast.testing import ManualClock, OutboxSuite, StorageSuite
from holdfast.webmention.storage import Outbox, Storage

from . import broken_outboxes as broken
from .broken_outboxes import Listed

CASES = sorted(name[5:] for name in dir(OutboxSuite) if name.startswith("test_"))

CAUGHT: tuple[tuple[type[Listed], tuple[str, ...]], ...] = (
    (broken.KeepsNoEndpoint, ("what_was_saved_is_found", "urls_that_look_alike_are_different_urls")),
    (broken.FindsAnyContent, ("other_content_is_not_found",)),
    (broken.ExistsForEver, ("what_was_not_saved_is_not_there",)),
    (broken.ExistsAsItWas, ("after_an_update_the_old_content_is_not_found",)),
    (broken.KnowsTwoStatuses, ("every_status_is_kept",)),
    (broken.UpdatesNothing, ("an_update_replaces_what_is_kept",)),
    (broken.UpdatesWithoutTheTarget, ("an_update_leaves_the_others_alone",)),
    (broken.FoldsCase, ("urls_that_look_alike_are_different_urls",)),
    (broken.HasNoPages, ("an_outbox_is_a_storage_too",)),
    (broken.KeepsOnlyTheFive, ("a_mention_is_kept_whole",)),
    (broken.KeepsARowForEachContent, ("a_mention_is_one_row_whatever_its_content",)),
    (broken.NextIsDueAtOnceWhereNothingIs, ("nothing_put_is_nothing_kept",)),
    (broken.TellsTheLastThatIsDue, ("the_next_that_is_due_is_told",)),
    (broken.ListsAHundredOfASource, ("all_of_one_source_are_told_and_none_of_another",)),
    (broken.ClaimsWhatIsNotDue, ("only_what_is_due_is_claimed",)),
    (broken.ClaimsInAnyOrder, ("the_longest_due_come_first_and_no_more_than_asked_for",)),
    (broken.ClaimsOfAnySource, ("a_claim_may_ask_for_one_source",)),
    (broken.ClaimsAnEmptyMention, ("what_is_claimed_is_handed_over_whole",)),
    (broken.SettlesWithoutADueTime, ("what_is_settled_is_kept_and_due_as_it_says",)),
    (broken.SettlesWhateverComes, ("a_mention_is_settled_once", "a_put_ends_the_lease")),
    (broken.LeasesForEver, ("a_lease_ends_and_who_lost_it_settles_nothing",)),
    (broken.PutsUnderTheOldVersion, ("a_put_ends_the_lease",)),
    (broken.LooksAndThenClaims, ("many_workers_are_handed_each_mention_once",)),
    (broken.PagesOldestFirst, ("pages_are_the_newest_first",)),
    (broken.CountsAsTheyWere, ("counts_follow_what_happens",)),
)


def outbox_suite(kind: type[Listed]) -> OutboxSuite:
    class Suite(OutboxSuite):
        async def make_storage(self) -> Outbox:
            self.clock = self.clock or ManualClock(1_800_000_000_000)
            return kind(self.clock)

    return Suite()


def fails(kind: type[Listed], name: str) -> bool:
    try:
        getattr(outbox_suite(kind), f"test_{name}")()
    except SkipTest:
        return False
    except Exception:  # noqa: BLE001 - whatever it is, pytest would count it as a failure
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{kind.__name__}-{name}") for kind, names in CAUGHT for name in names],
)
def test_a_broken_outbox_is_caught(kind: type[Listed], name: str) -> None:
    assert fails(kind, name), f"{kind.__name__} passes test_{name}"


@pytest.mark.parametrize("name", CASES)
def test_the_same_outbox_without_a_fault_passes(name: str) -> None:
    assert not fails(Listed, name), "the harness itself fails this test: what it catches proves nothing"


def test_every_case_catches_something() -> None:
    idle = set(CASES) - {name for _, names in CAUGHT for name in names}
    assert not idle, f"nothing shows that these can fail: {', '.join(sorted(idle))}"


def test_every_broken_outbox_is_put_to_the_test() -> None:
    made = {
        kind
        for kind in vars(broken).values()
        if isinstance(kind, type) and issubclass(kind, Listed) and kind is not Listed
    }
    assert made == {kind for kind, _ in CAUGHT}


class Four:
    """Four methods, and nothing else."""

    def __init__(self) -> None:
        whole = Listed(ManualClock())
        self.save, self.update, self.get, self.exists = whole.save, whole.update, whole.get, whole.exists


class TestFourMethodsAreEnough(StorageSuite):
    async def make_storage(self) -> Storage:
        return Four()
