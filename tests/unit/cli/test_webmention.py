"""`webmention list`, `accept`, `decline`, `block`, `allow`, `import` over SQLite."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from holdfast.webmention import Webmention

SITE = "https://alice.example"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
DUMP = {
    "type": "feed",
    "children": [
        {
            "type": "entry",
            "wm-id": number,
            "wm-source": f"https://{name}.example/1",
            "wm-target": f"{SITE}/post",
            "wm-property": "in-reply-to",
            "wm-received": f"2024-05-0{number}T10:00:00Z",
            "author": {"type": "card", "name": name, "url": f"https://{name}.example/"},
            "content": {"text": f"says\t{name}"},
        }
        for number, name in ((2, "bob"), (1, "carol"))
    ],
}


@pytest.fixture
def mention(holdfast):
    def run(*words, **more):
        return holdfast("webmention", *words, **more)

    return run


@pytest.fixture
def dump(tmp_path):
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(DUMP))
    return file


@pytest.fixture
def whole(store):
    """Ask the mentions themselves."""

    def run(question):
        async def asked():
            async with Webmention(store, site=SITE, background=False) as mentions:
                return await question(mentions)

        return asyncio.run(asked())

    return run


def ids(mention):
    rows = [json.loads(line) for line in mention("list", "--received", "--json").stdout.splitlines()]
    return [row["id"] for row in rows]


def test_a_dump_is_taken_over_once_and_listed_as_it_was_received(mention, dump):
    assert mention("import", dump).stdout == "2 stored\n"
    again = mention("import", dump)
    assert (again.exit_code, again.stdout) == (0, "0 stored, 2 there already\n")
    lines = mention("list").stdout.splitlines()
    assert re.fullmatch(
        rf"received\t{TIME}\taccepted\t[0-9a-f]{{40}}\thttps://bob.example/1\t{SITE}/post\treply by bob: says bob",
        lines[0],
    )
    assert lines[1].startswith("received\t2024-05-01T10:00:00Z\t")
    assert len(lines) == 2


def test_a_dump_comes_by_standard_input_too(mention):
    assert mention("import", "-", stdin=json.dumps(DUMP)).stdout == "2 stored\n"


def test_what_a_dump_has_of_other_sites_or_no_urls_of_is_left_out(mention, tmp_path):
    file = tmp_path / "dump.json"
    file.write_text(json.dumps({"children": [*DUMP["children"], {"wm-source": "javascript:1"}]}))
    said = mention("import", file)
    assert (said.exit_code, said.stdout) == (5, "2 stored\n")
    assert "entry 3" in said.stderr
    other = mention("import", file, "--site", "https://other.example", "--json")
    assert other.exit_code == 5
    assert json.loads(other.stdout)["stored"] == 0
    assert "2 are of other sites" in other.stderr


def test_what_is_no_dump_is_wrong_use(mention, tmp_path):
    file = tmp_path / "dump.json"
    file.write_text("nonsense")
    assert mention("import", file).exit_code == 2


def test_json_lists_everything_of_a_mention(mention, dump):
    mention("import", dump)
    (row, _) = (json.loads(line) for line in mention("list", "--json").stdout.splitlines())
    assert row["direction"] == "received"
    assert row["state"] == "accepted"
    assert row["mention"]["author"]["name"] == "bob"
    assert "imported" in row["log"][-1]["says"]


def test_a_list_is_of_one_direction_one_status_and_so_many(mention, dump, whole):
    mention("import", dump)
    whole(lambda mentions: mentions.receive("https://dave.example/1", f"{SITE}/post"))
    assert mention("list", "--sent").stdout == ""
    assert len(mention("list", "--status", "accepted", "--limit", 1).stdout.splitlines()) == 1
    assert mention("list", "--status", "queued").stdout.count("\n") == 1
    assert mention("list", "--status", "pending").stdout == ""
    said = mention("list", "--sent", "--status", "queued")
    assert said.exit_code == 2
    assert "--status queued is none of --sent" in said.stderr


def test_accept_and_decline_are_told_as_they_are_then(mention, dump, whole):
    mention("import", dump)
    bob, carol = ids(mention)
    said = mention("decline", bob, carol)
    assert said.exit_code == 0
    assert [line.split("\t")[2] for line in said.stdout.splitlines()] == ["declined"] * 2
    assert "\taccepted\t" in mention("accept", bob).stdout
    assert whole(lambda mentions: mentions.states())["accepted"] == 1


def test_one_that_is_not_there_or_not_verified_is_no_and_the_others_are_done(mention, dump, whole):
    mention("import", dump)
    bob, _ = ids(mention)
    queued = whole(lambda mentions: mentions.receive("https://dave.example/1", f"{SITE}/post")).id
    said = mention("accept", "nothing", queued, bob, "--json")
    assert said.exit_code == 1
    assert len(said.stdout.splitlines()) == 1
    errors = [json.loads(line) for line in said.stderr.splitlines()]
    assert [each.get("id") for each in errors] == ["nothing", queued, None]
    assert errors[-1]["ids"] == ["nothing", queued]


def test_a_block_declines_what_is_there_and_can_be_taken_back(mention, dump, whole):
    mention("import", dump)
    assert mention("block", "BOB.example").stdout == "block\tbob.example\n"
    assert whole(lambda mentions: mentions.states())["declined"] == 1
    assert mention("allow", "https://carol.example/*").stdout == "accept\thttps://carol.example/*\n"
    assert sorted(mention("rules").stdout.splitlines()) == [
        "accept\thttps://carol.example/*",
        "block\tbob.example",
    ]
    said = mention("unblock", "bob.example", "nobody.example")
    assert (said.exit_code, said.stdout) == (1, "1 removed\n")
    assert mention("rules", "--json").stdout.count("\n") == 1


def test_what_is_no_pattern_is_wrong_use(mention):
    assert mention("block", "ftp://x.example/*").exit_code == 2


def test_what_others_wrote_cannot_talk_to_the_terminal(mention, tmp_path):
    said = {**DUMP["children"][0], "content": {"text": "\x1b[2Jgone\u202e"}, "author": {"name": "a\nb"}}
    file = tmp_path / "dump.json"
    file.write_text(json.dumps({"children": [said]}))
    mention("import", file)
    line = mention("list").stdout
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_lists_of_a_store_that_is_not_there_make_none(mention, tmp_path):
    for words in (["list"], ["accept", "x"], ["rules"], ["retry"], ["work"]):
        assert mention(*words).exit_code == 3
    assert not (tmp_path / "app.db").exists()


def test_an_export_has_the_mentions_and_an_import_puts_them_into_another_store(
    holdfast, mention, dump, whole, tmp_path
):
    holdfast("set", "k", "1")
    mention("import", dump)
    mention("block", "spam.example")
    bob, _ = ids(mention)
    mention("decline", bob)
    text = holdfast("export")
    assert text.stderr == "holdfast: 4 exported, 3 of them of mentions\n"
    rows = [json.loads(line) for line in text.stdout.splitlines()]
    assert [row.get("mention") for row in rows] == [None, None, "i", "i", "r", None]
    (tmp_path / "all.jsonl").write_text(text.stdout)
    other = ("--store", f"sqlite:///{tmp_path}/other.db")
    for _ in range(2):
        assert holdfast("import", tmp_path / "all.jsonl", *other).stdout == "4 stored\n"
    assert mention("list", *other).stdout == mention("list").stdout
    assert mention("rules", *other).stdout == "block\tspam.example\n"
    mention("accept", bob, *other)
    kept = holdfast("import", tmp_path / "all.jsonl", "--existing", "keep", *other)
    assert kept.stdout == "0 stored, 4 kept as they were\n"
    assert "declined" not in mention("list", *other).stdout
    holdfast("import", tmp_path / "all.jsonl", *other)
    assert "declined" in mention("list", *other).stdout


def test_an_export_may_be_of_mentions_alone_and_one_by_prefix_has_none(holdfast, mention, dump):
    mention("import", dump)
    assert holdfast("export", "--only", "mentions").stderr.startswith("holdfast: 2 exported, 2 of them")
    assert holdfast("export").stderr.startswith("holdfast: 2 exported, 2 of them")
    holdfast("set", "k", "1")
    assert holdfast("export", "k").stderr == "holdfast: 1 exported\n"
    assert holdfast("export", "--only", "values").stderr == "holdfast: 1 exported\n"
    assert holdfast("export", "k", "--only", "mentions").exit_code == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"mention":"o","id":"x","data":{"source_url":5}}', "source_url"),
        ('{"mention":"z","id":"x","data":{}}', "mention"),
        ('{"id":"x","mention":"o","data":{}}', "source_url"),
        ('{"mention":"o","id":"\\n","data":{}}', "id"),
    ],
)
def test_a_line_that_is_no_mention_is_reported_and_the_others_are_stored(holdfast, tmp_path, line, why):
    good = '{"mention":"r","id":"a","data":{"kind":"block","pattern":"spam.example"},"tags":["block"]}'
    (tmp_path / "all.jsonl").write_text(f"{line}\n{good}\n")
    said = holdfast("import", tmp_path / "all.jsonl")
    assert (said.exit_code, said.stdout) == (5, "1 stored, 1 broken\n")
    assert "line 1: " in said.stderr
    assert why in said.stderr


def test_doctor_says_what_there_is_of_mentions(holdfast, mention, dump, monkeypatch):
    holdfast("set", "k", "1")
    assert "webmention: " not in holdfast("doctor").stdout
    mention("import", dump)
    said = holdfast("doctor").stdout
    assert "note     webmention: site: HOLDFAST_SITE is not set" in said
    assert "ok       webmention: inbox: 2 accepted, 0 for a moderator, 0 to be verified." in said
    monkeypatch.setenv("HOLDFAST_SITE", SITE)
    assert f"ok       webmention: site: Mentions of {SITE} are taken in." in holdfast("doctor").stdout


def test_migrate_makes_the_tables_of_mentions(holdfast):
    assert "pending webmention 1: " in holdfast("migrate", "--dry-run").stdout
    assert "CREATE TABLE holdfast_mentions" in holdfast("migrate", "--sql", "--all").stdout
    assert "applied webmention 1: " in holdfast("migrate").stdout
    assert holdfast("webmention", "list").exit_code == 0
    assert holdfast("migrate").stdout == "nothing to do\n"
