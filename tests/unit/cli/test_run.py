"""Errors in words, with their exit codes."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.cli.output import Failed
from holdfast.cli.run import worded


def told(exc):
    with pytest.raises(Failed) as caught, worded("set 'k'"):
        raise exc
    return caught.value


@pytest.mark.parametrize(
    ("exc", "code", "way_out"),
    [
        (errors.StoreUnavailable("set: no answer."), 3, "is the store running and reachable"),
        (errors.StoreUnavailable("set: lost", maybe_applied=True), 3, "look before doing it again"),
        (errors.Overloaded("set: full"), 3, "try again in a moment"),
        (errors.NotMigrated("no tables"), 3, "`holdfast migrate` makes the tables"),
        (errors.NotMigrated("run `holdfast migrate`"), 3, "set 'k': run `holdfast migrate`"),
        (errors.StoreMisconfigured("store URL x: bad"), 2, "store URL x: bad"),
        (errors.MissingExtra('pip install "holdfast[redis]"'), 2, 'pip install "holdfast[redis]"'),
        (errors.DuplicateKey("create 'k': a live value exists"), 4, "`holdfast set` overwrites"),
        (errors.VersionConflict("replace 'k': another"), 4, "another"),
        (errors.InvalidConversion("get 'k': Expected `int`"), 4, "`holdfast get --raw`"),
        (errors.Closed("closed"), 3, "closed"),
        (errors.HistoryLost("tail 't': gone"), 1, "`holdfast channels history`"),
        (errors.MessageTooLarge("'said': 70000 bytes"), 2, "70000"),
        (errors.TopicRefused("topic 't': none"), 2, "none"),
        (ValueError("set: the key is empty"), 2, "the key is empty"),
        (PermissionError(13, "Permission denied"), 2, "set 'k': Permission denied"),
    ],
)
def test_an_error_is_a_code_and_a_way_out(exc, code, way_out):
    failed = told(exc)
    assert failed.code == code
    assert way_out in str(failed)
    assert ".;" not in str(failed)


def test_the_subject_stands_in_front_once():
    assert str(told(errors.StoreUnavailable("redis: gone"))).startswith("set 'k': redis: gone")
    assert str(told(ValueError("set 'k': too large"))) == "set 'k': too large"


def test_json_says_whether_a_write_may_have_happened():
    assert told(errors.StoreUnavailable("x", maybe_applied=True)).facts == {"maybe_applied": True}


def test_a_fault_of_our_own_is_not_put_into_words():
    with pytest.raises(KeyError), worded("set 'k'"):
        raise KeyError("bug")


def test_a_closed_pipe_stays_what_it_is():
    with pytest.raises(BrokenPipeError), worded("keys"):
        raise BrokenPipeError
