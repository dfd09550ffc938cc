"""`get`, `set`, `create`, `ttl`, `rm`, `keys`: their rules."""

from __future__ import annotations

import json

import msgspec
import pytest


def test_what_was_set_is_printed_with_its_digits(holdfast):
    assert holdfast("set", "k", '{"price": 1.10, "n": 123456789012345678901234567890}').exit_code == 0
    assert holdfast("get", "k").stdout == '{"price":1.10,"n":123456789012345678901234567890}\n'


def test_a_stored_null_is_told_from_absence(holdfast):
    holdfast("set", "k", "null")
    assert (holdfast("get", "k").exit_code, holdfast("get", "k").stdout) == (0, "null\n")
    answer = holdfast("get", "other")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == "holdfast: get 'other': no live value\n"


def test_json_of_a_value_says_all_that_is_known(holdfast):
    holdfast("set", "k", "[1]", "--expires", "60")
    found = json.loads(holdfast("get", "k", "--json").stdout)
    assert found.keys() == {"key", "value", "ttl", "version"}
    assert found["value"] == [1]
    assert 50 < found["ttl"] <= 60


@pytest.mark.parametrize("value", ["hello", "{", "", "'x'", "NaN", "1 2"])
def test_a_word_that_is_not_json_shows_how_to_quote_and_is_not_repeated(holdfast, value):
    answer = holdfast("set", "k", value)
    assert answer.exit_code == 2
    assert """as in '"hello"', or the option --text""" in answer.stderr
    assert "VALUE is not JSON" in answer.stderr
    assert holdfast("get", "k").exit_code in (1, 3)


def test_text_is_stored_as_a_string_and_printed_without_quotes(holdfast):
    holdfast("set", "k", "--text", 'say "hi"\n')
    assert holdfast("get", "k").stdout == '"say \\"hi\\"\\n"\n'
    assert holdfast("get", "k", "--text").stdout == 'say "hi"\n\n'


def test_text_of_what_is_no_string_is_a_conflict_that_shows_no_value(holdfast):
    holdfast("set", "k", "[42]")
    answer = holdfast("get", "k", "--text")
    assert answer.exit_code == 4
    assert "42" not in answer.stderr


def test_pretty_is_indented(holdfast):
    holdfast("set", "k", '{"a":1}')
    assert holdfast("get", "k", "--pretty").stdout == '{\n  "a": 1\n}\n'


def test_raw_is_what_is_stored_to_the_byte(holdfast, ask):
    ask(lambda persist: persist.set("k", msgspec.Raw(b'{ "a" :1 }')))
    assert holdfast("get", "k", "--raw").stdout == '{ "a" :1 }\n'


@pytest.mark.parametrize("value", ["-5", "-5.5e3", "-0"])
def test_a_negative_number_is_a_value(holdfast, value):
    assert holdfast("set", "k", value, "--expires", "60").exit_code == 0
    assert holdfast("get", "k").stdout == value + "\n"
    assert holdfast("create", "-7", value).exit_code == 0
    assert holdfast("get", "--", "-7").stdout == value + "\n"


def test_a_misspelt_option_is_not_taken_for_a_value(holdfast):
    answer = holdfast("set", "k", "1", "--expries", "60")
    assert answer.exit_code == 2
    assert "--expires" in answer.stderr
    assert holdfast("set", "k", "1", "-x").exit_code == 2


def test_a_dash_reads_standard_input(holdfast):
    assert holdfast("set", "k", "-", stdin='{"a":\n 1}').exit_code == 0
    assert holdfast("get", "k").stdout == '{"a":1}\n'
    assert holdfast("set", "k", "-", "--text", stdin="one\ntwo\n").exit_code == 0
    assert holdfast("get", "k", "--text").stdout == "one\ntwo\n"


def test_standard_input_that_is_not_utf8_is_refused(holdfast):
    for text in ([], ["--text"]):
        answer = holdfast("set", "k", "-", *text, stdin=b'"\xff"')
        assert answer.exit_code == 2
        assert "VALUE is not UTF-8" in answer.stderr


def test_set_keeps_the_expiry_unless_told(holdfast):
    holdfast("set", "k", "1", "--expires", "1h")
    holdfast("set", "k", "2")
    assert 3_500 < float(holdfast("ttl", "k").stdout) <= 3_600
    holdfast("set", "k", "3", "--expires", "none")
    assert holdfast("ttl", "k").stdout == "none\n"
    holdfast("set", "k", "4", "--expires", "0.5")
    assert json.loads(holdfast("ttl", "k", "--json").stdout or "{}").get("ttl", 0) <= 0.5


@pytest.mark.parametrize("expires", ["0", "-1", "soon", "1w", "", "nan", "inf", "1e30", "s"])
def test_a_lifetime_that_is_none_is_refused(holdfast, expires):
    answer = holdfast("set", "k", "1", f"--expires={expires}")
    assert answer.exit_code == 2
    assert "Traceback" not in answer.stderr


def test_create_refuses_over_a_live_value_and_names_the_way_out(holdfast):
    assert holdfast("create", "k", "1").exit_code == 0
    answer = holdfast("create", "k", "2")
    assert answer.exit_code == 4
    assert answer.stderr == "holdfast: create 'k': a live value exists; `holdfast set` overwrites it\n"
    assert holdfast("get", "k").stdout == "1\n"


def test_a_value_over_the_limit_is_wrong_use(holdfast):
    big = json.dumps("x" * (1 << 20))
    assert holdfast("set", "k", "-", stdin=big).exit_code == 2
    assert holdfast("set", "k", "-", "--max-bytes", 2 << 20, stdin=big).exit_code == 0


@pytest.mark.parametrize("key", ["", "x" * 513])
def test_a_key_that_cannot_be_is_wrong_use(holdfast, key):
    holdfast("set", "other", "1")
    for words in (["get", key], ["set", key, "1"], ["ttl", key], ["rm", key]):
        assert holdfast(*words).exit_code == 2, words


# --- rm ---


def test_rm_says_how_many_there_were_and_which_were_not(holdfast):
    holdfast("set", "a", "1")
    holdfast("set", "b", "1")
    answer = holdfast("rm", "a", "nothing", "b", "a")
    assert (answer.exit_code, answer.stdout) == (1, "2 removed\n")
    assert answer.stderr == "holdfast: rm 'nothing': no live value\n"
    assert holdfast("keys").stdout == ""


def test_rm_by_prefix_needs_a_yes_without_a_terminal(holdfast):
    for key in ("user:1", "user:2", "u%", "u"):
        holdfast("set", key, "1")
    assert holdfast("rm", "--prefix", "user:").exit_code == 2
    assert holdfast("rm", "--prefix", "user:", "--yes").stdout == "2 removed\n"
    assert holdfast("rm", "--prefix", "u%", "--yes", "--json").stdout == '{"removed":1}\n'
    assert holdfast("keys").stdout == "u\n"


def test_rm_needs_keys_or_a_prefix_and_not_both(holdfast):
    assert holdfast("rm").exit_code == 2
    assert holdfast("rm", "k", "--prefix", "p", "--yes").exit_code == 2


def test_many_keys_are_removed(holdfast, ask):
    ask(lambda persist: persist.set_many({f"k{number}": number for number in range(1_200)}))
    answer = holdfast("rm", *(f"k{number}" for number in range(1_200)))
    assert (answer.exit_code, answer.stdout) == (0, "1200 removed\n")


# --- keys ---


def test_keys_are_lines_and_a_strange_one_is_json(holdfast, ask):
    ask(lambda persist: persist.set_many({"a": 1, "b\nc": 2, '"q"': 3, "ü": 4}))
    assert holdfast("keys").stdout == '"\\"q\\""\na\n"b\\nc"\nü\n'
    assert holdfast("keys", "-0").stdout == '"q"\0a\0b\nc\0ü\0'
    assert [json.loads(line)["key"] for line in holdfast("keys", "--json").stdout.splitlines()] == [
        '"q"',
        "a",
        "b\nc",
        "ü",
    ]


def test_keys_of_more_pages_than_one_are_all_there(holdfast, ask):
    ask(lambda persist: persist.set_many({f"k{number:04}": number for number in range(1_234)}))
    listed = holdfast("keys", "k").stdout.splitlines()
    assert listed == [f"k{number:04}" for number in range(1_234)]
    assert len(holdfast("keys", "k", "--long").stdout.splitlines()) == 1_234


def test_long_lines_have_ttl_version_and_key(holdfast):
    holdfast("set", "a b", "1", "--expires", "60")
    ttl, version, key = holdfast("keys", "--long").stdout.rstrip("\n").split("\t")
    assert 50 < float(ttl) <= 60
    assert key == "a b"
    found = json.loads(holdfast("keys", "--long", "--json").stdout)
    assert (found["key"], found["version"]) == ("a b", version)


def test_namespaces_do_not_see_each_other(holdfast):
    holdfast("set", "k", "1", "--namespace", "one")
    assert holdfast("--namespace", "one", "get", "k").stdout == "1\n"
    assert holdfast("get", "k").exit_code == 1


def test_the_later_place_of_an_option_wins(holdfast, store):
    holdfast("set", "k", "1")
    assert holdfast("--store", "sqlite:///nowhere.db", "get", "k", "--store", store).stdout == "1\n"
    assert holdfast("--json", "get", "k").stdout == holdfast("get", "k", "--json").stdout
