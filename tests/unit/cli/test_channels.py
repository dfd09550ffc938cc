"""`channels`: the commands that end by themselves, over SQLite in this process."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime

import msgspec
import pytest

from holdfast.channels import Channel, Channels, Heard
from holdfast.cli import channels as commands
from holdfast.cli.output import Output
from holdfast.persist import Persist

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Ten(Channel):
    topic = "*"
    history = 2
    max_messages = 2


@pytest.fixture
def rooms(holdfast):
    def run(*words, **more):
        return holdfast("channels", *words, **more)

    return run


def test_what_is_published_is_in_the_history(rooms):
    first = rooms("publish", "room:a", "said", '{"n": 1}').stdout.strip()
    assert re.fullmatch(r"1~\w+", first)
    assert rooms("publish", "room:a", "said", "-", stdin='{"n":\n 2}').exit_code == 0
    assert rooms("publish", "room:b", "said", "{}").exit_code == 0
    lines = rooms("history", "room:a").stdout.splitlines()
    assert re.fullmatch(rf'{TIME}\t{first}\tsaid\t{{"n":1}}', lines[0])
    assert lines[1].endswith('\tsaid\t{"n":2}')
    assert len(lines) == 2


def test_json_has_one_object_a_line_and_positions_to_go_on_from(rooms):
    for n in range(4):
        rooms("publish", "room:a", "said", json.dumps({"n": n}), "--id", f"id:{n}")
    found = [json.loads(line) for line in rooms("history", "room:a", "--json").stdout.splitlines()]
    assert [each["payload"]["n"] for each in found] == [0, 1, 2, 3]
    assert {"topic", "id", "position", "event", "payload", "at", "edited"} == set(found[0])

    def numbers(*words):
        answer = rooms("history", "room:a", "--json", *words).stdout
        return [json.loads(line)["payload"]["n"] for line in answer.splitlines()]

    assert numbers("--limit", 1) == [3]
    assert numbers("--before", found[2]["position"]) == [0, 1]
    assert numbers("--after", found[2]["position"]) == [3]
    assert json.loads(rooms("publish", "room:a", "said", "{}", "--json").stdout).keys() == {
        "topic",
        "position",
    }


def test_published_again_with_the_same_id_it_is_kept_once(rooms):
    positions = {rooms("publish", "room:a", "said", "{}", "--id", "x").stdout for _ in range(2)}
    assert len(positions) == 1
    assert rooms("history", "room:a").stdout.count("\n") == 1


def test_with_no_keep_nothing_is_kept_and_no_position_printed(rooms):
    assert rooms("publish", "room:a", "said", "{}", "--no-keep").stdout == ""
    assert rooms("history", "room:a").stdout == ""


def test_nobody_trims_until_the_application_writes(rooms, store):
    for n in range(40):
        rooms("publish", "room:a", "said", json.dumps({"n": n}))

    async def one_more():
        async with Channels(store, [Ten]) as channels:
            await channels.publish("room:a", "said", {})

    assert rooms("history", "room:a").stdout.count("\n") == 40
    asyncio.run(one_more())
    assert rooms("history", "room:a").stdout.count("\n") < 25


@pytest.mark.parametrize("payload", ["[1]", "3", "null", "{", '"x"'])
def test_a_payload_is_a_json_object(rooms, payload):
    answer = rooms("publish", "room:a", "said", payload)
    assert answer.exit_code == 2
    assert "not a JSON object" in answer.stderr


def test_what_cannot_be_published_is_wrong_use(rooms):
    for words in (
        ["room:a", "phx_join", "{}"],
        ["room:a", "said", '{"_holdfast": 1}'],
        ["room:a", "said", "{}", "--id", "no id"],
        ["phoenix", "said", "{}"],
        ["x" * 300, "said", "{}"],
        ["room:a", "said", json.dumps({"long": "x" * 70_000})],
    ):
        answer = rooms("publish", *words)
        assert answer.exit_code == 2, words
        assert answer.stderr.count("\n") == 1


def test_what_a_terminal_would_obey_is_escaped(rooms):
    rooms("publish", "room:a", "said\x1b[2J", json.dumps({"m": "\x85\u2028\u202e\x1b"}, ensure_ascii=False))
    line = rooms("history", "room:a").stdout
    assert line.count("\n") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", line)
    assert json.loads(line.split("\t")[3]) == {"m": "\x85\u2028\u202e\x1b"}


def test_a_position_of_nothing_is_wrong_use_and_lost_history_is_no(rooms):
    rooms("publish", "room:a", "said", "{}")
    assert rooms("history", "room:a", "--after", "nonsense").exit_code == 2
    answer = rooms("history", "room:a", "--after", "7~other")
    assert (answer.exit_code, "no longer all there" in answer.stderr) == (1, True)
    assert rooms("history", "room:a", "--limit", 0).exit_code == 2
    assert rooms("tail", "room:a", "--since", "1~a", "--history", 2).exit_code == 2


def test_topics_are_listed_by_name_and_by_prefix(rooms):
    for topic in ("room:b", "room:a", "other", 'odd "\x1b'):
        rooms("publish", topic, "said", "{}")
    rooms("publish", "room:a", "said", "{}")
    assert rooms("topics").stdout.splitlines() == ['"odd \\"\\u001b"', "other", "room:a", "room:b"]
    assert rooms("topics", "room:").stdout.splitlines() == ["room:a", "room:b"]
    assert re.fullmatch(rf"2\t{TIME}\troom:a", rooms("topics", "room:a", "--long").stdout.strip())
    found = json.loads(rooms("topics", "other", "--json").stdout)
    assert (found["topic"], found["messages"]) == ("other", 1)


def test_messages_are_removed_by_id_and_by_position(rooms):
    position = rooms("publish", "room:a", "said", '{"n": 1}').stdout.strip()
    rooms("publish", "room:a", "said", '{"n": 2}', "--id", "two")
    rooms("publish", "room:a", "said", '{"n": 3}')
    answer = rooms("rm", "room:a", position, "two", "two", "none")
    assert (answer.exit_code, answer.stdout) == (1, "2 removed\n")
    assert "no message 'none'" in answer.stderr
    assert rooms("history", "room:a").stdout.count("\n") == 1
    assert rooms("rm", "room:a").exit_code == 2


def test_clearing_asks_first_and_says_whether_there_was_anything(rooms):
    rooms("publish", "room:a", "said", "{}")
    answer = rooms("clear", "room:a", stdin="")
    assert (answer.exit_code, "--yes" in answer.stderr) == (2, True)
    assert rooms("clear", "room:a", "--yes").stdout == "cleared\n"
    assert rooms("clear", "room:a", "--yes").exit_code == 1
    assert rooms("topics").stdout == ""


def test_commands_that_read_make_neither_file_nor_tables(rooms, ask, tmp_path):
    for words in (["history", "t"], ["tail", "t"], ["topics"], ["rm", "t", "x"], ["clear", "t", "--yes"]):
        answer = rooms(*words)
        assert (answer.exit_code, "no such file" in answer.stderr) == (3, True), words
    assert not list(tmp_path.iterdir())
    ask(lambda persist: persist.set("k", 1))
    for words in (["history", "t"], ["tail", "t"], ["topics"], ["rm", "t", "x"], ["clear", "t", "--yes"]):
        answer = rooms(*words)
        assert (answer.exit_code, "holdfast migrate" in answer.stderr) == (3, True), words


def test_a_store_that_cannot_have_channels_says_so(rooms):
    answer = rooms("history", "t", "--store", "redis+cluster://localhost:1")
    assert answer.exit_code == 2
    assert "redis+cluster" in answer.stderr


def test_without_a_command_it_is_wrong_use_and_shows_the_help(rooms):
    answer = rooms()
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "Follow" in answer.stderr or "tail" in answer.stderr
    misspelt = rooms("hsitory")
    assert (misspelt.exit_code, "did you mean 'history'?" in misspelt.stderr) == (2, True)


def test_what_is_heard_is_a_line_whatever_it_is(monkeypatch):
    written = []
    monkeypatch.setattr(Output, "data", lambda self, data: written.append(data))
    commands._print_heard(Output(as_json=False), "t", Heard("said", {"n": 1}, "x", "1~a", 0.0))
    commands._print_heard(Output(as_json=False), "t", Heard("bytes", b"\x00\xff"))
    commands._print_heard(Output(as_json=True), "t", Heard("bytes", b"\x00\xff"))
    assert written[0] == b'1970-01-01T00:00:00.000Z\tx\tsaid\t{"n":1}\n'
    when, *rest = written[1].decode().split("\t")
    assert datetime.fromisoformat(when).tzinfo is not None
    assert rest == ["-", "bytes", '"(binary)"\n']
    assert msgspec.json.decode(written[2])["payload"] == "AP8="


# --- export, import, migrate, doctor ---


def test_an_export_holds_values_and_messages_and_either_by_itself(holdfast, rooms):
    holdfast("set", "room:key", "1")
    rooms("publish", "room:a", "said", "{}")
    rooms("publish", "other", "said", "{}")
    both = [json.loads(line) for line in holdfast("export").stdout.splitlines()]
    assert [each.get("key") or each.get("topic") for each in both[1:-1]] == ["room:key", "other", "room:a"]
    assert both[-1] == {"holdfast": "end", "rows": 3}
    assert holdfast("export", "room:").stdout.count("\n") == 4
    assert holdfast("export", "--only", "values").stdout.count("\n") == 3
    assert holdfast("export", "--only", "messages").stdout.count("\n") == 4
    assert "of them messages" in holdfast("export").stderr


def test_messages_are_imported_with_ids_and_times_and_twice_is_once(holdfast, rooms, tmp_path):
    rooms("publish", "room:a", "said", '{"n": 1}', "--id", "one")
    rooms("publish", "room:a", "said", '{"n": 2}')
    holdfast("migrate")
    file = tmp_path / "export.jsonl"
    file.write_text(holdfast("export").stdout)
    before = [json.loads(line) for line in rooms("history", "room:a", "--json").stdout.splitlines()]
    other = ["--store", f"sqlite:///{tmp_path}/other.db"]
    assert holdfast("import", file, *other).stdout == "2 stored\n"
    assert holdfast("import", file, *other).stdout == "0 stored, 2 kept as they were\n"
    assert holdfast("import", file).stdout == "0 stored, 2 kept as they were\n"
    after = [json.loads(line) for line in rooms("history", "room:a", "--json", *other).stdout.splitlines()]
    for old, new in zip(before, after, strict=True):
        assert {name: new[name] for name in ("event", "payload", "at", "edited")} == {
            name: old[name] for name in ("event", "payload", "at", "edited")
        }
        assert new["position"] != old["position"]
    assert [each["id"] for each in after] == ["one", before[1]["id"].replace("~", ".")]


def test_a_store_for_values_is_exported_without_a_word_about_rooms(holdfast, ask):
    ask(lambda persist: persist.set("k", 1))
    answer = holdfast("export")
    assert (answer.exit_code, answer.stderr) == (0, "holdfast: 1 exported\n")


def test_a_store_for_rooms_is_exported_and_no_fault_either(holdfast, rooms):
    rooms("publish", "room:a", "said", "{}")
    for words in ([], ["--only", "messages"]):
        answer = holdfast("export", *words)
        assert (answer.exit_code, answer.stderr) == (0, "holdfast: 1 exported, 1 of them messages\n")
    assert holdfast("export", "--only", "values").exit_code == 3
    assert (
        "note     migrations: Nothing is pending for rooms. Values and mentions need persist 1"
        in holdfast("doctor").stdout
    )


def test_where_no_channels_can_be_messages_are_left_out_and_a_note_says_so(holdfast, monkeypatch, tmp_path):
    from holdfast.cli import transfer

    holdfast("set", "k", "1")
    monkeypatch.setattr(transfer, "channels_beside", lambda **_: None)
    answer = holdfast("export")
    assert answer.exit_code == 0
    assert "cannot have channels" in answer.stderr
    line = '{"topic":"t","event":"said","payload":{},"at":1}\n'
    (tmp_path / "export.jsonl").write_text(line * 3 + '{"key":"a","value":1}\n')
    answer = holdfast("import", tmp_path / "export.jsonl")
    assert (answer.exit_code, answer.stdout) == (5, "1 stored, 3 left out\n")
    assert answer.stderr.count("cannot have channels") == 1


def test_migrate_makes_the_tables_of_rooms_and_a_store_for_values_is_no_fault(holdfast, ask):
    ask(lambda persist: persist.set("k", 1))
    doctor = holdfast("doctor")
    assert (
        "note     migrations: Nothing is pending for values. "
        "Rooms and mentions need notes 1, channels 1, webmention 1" in doctor.stdout
    )
    assert holdfast("migrate").stdout.splitlines() == [
        "applied notes 1: notes between processes",
        "applied channels 1: topics and their messages",
        "applied webmention 1: mentions and their tags",
    ]
    assert "Nothing is pending." in holdfast("doctor").stdout
    assert holdfast("channels", "topics").exit_code == 0


def test_doctor_says_of_rooms_what_it_did_not_say_of_values(holdfast, store):
    polled = store.replace("sqlite:", "sqlalchemy+sqlite+aiosqlite:").partition("?")[0]
    holdfast("migrate", "--store", polled)
    lines = holdfast("doctor", "--store", polled).stdout.splitlines()
    assert any(line.startswith("note     channels: announcements: ") for line in lines)
    assert sum("durability" in line for line in lines) == 1


def test_the_export_of_a_history_that_was_trimmed_begins_where_it_begins_now(holdfast, store):
    async def fill():
        async with Channels(store, [Ten]) as channels, Persist(store):
            for n in range(60):
                await channels.publish("room:a", "said", {"n": n})

    asyncio.run(fill())
    found = [json.loads(line) for line in holdfast("export").stdout.splitlines()[1:-1]]
    numbers = [each["payload"]["n"] for each in found]
    assert 2 <= len(numbers) < 25
    assert numbers == list(range(60 - len(numbers), 60))
