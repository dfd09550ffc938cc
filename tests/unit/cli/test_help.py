"""What `--help` says is so, and the reference agrees with it."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from holdfast.cli import COMMANDS, command
from holdfast.cli.output import EXITS

GROUPS = {name: command.get_command(None, name).commands for name in ("channels", "webmention")}
REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_the_common_options_and_is_what_the_table_says(name):
    found = command.get_command(None, name)
    assert found.name == name
    names = {option for each in found.params for option in each.opts}
    assert {"--store", "--namespace", "--json"} <= names
    assert found.help
    assert COMMANDS[name][1].endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_names_every_option(name):
    assert f"holdfast {name}" in REFERENCE
    for each in command.get_command(None, name).params:
        for option in each.opts if isinstance(each, click.Option) else ():
            assert f"`{option}" in REFERENCE or f" {option}" in REFERENCE or f"[{option}" in REFERENCE, option


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in GROUPS[group]])
def test_a_command_of_a_group_is_one_like_the_others(group, name):
    found = GROUPS[group][name]
    names = {option for each in found.params for option in each.opts}
    assert {"--store", "--namespace", "--json"} <= names
    assert found.help
    assert f"holdfast {group} {name} " in REFERENCE
    for option in names:
        assert not option.startswith("-") or f"[{option}" in REFERENCE or f"`{option}" in REFERENCE, option


def test_help_and_reference_list_every_exit_code(holdfast):
    text = holdfast("--help").output
    for code, meaning in EXITS.items():
        assert re.search(rf"^ +{code}  {re.escape(meaning)}$", text, re.M)
        assert f"| {code} | {meaning} |" in REFERENCE


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_needs_no_store(name, monkeypatch):
    from click.testing import CliRunner

    monkeypatch.setenv("HOLDFAST_STORE", "nonsense")
    assert CliRunner().invoke(command, [name, "--help"]).exit_code == 0


def test_a_misspelt_command_is_answered_with_the_right_one(holdfast):
    answer = holdfast("exprot")
    assert answer.exit_code == 2
    assert "did you mean 'export'?" in answer.stderr


def test_no_command_at_all_is_wrong_use_and_shows_the_help(holdfast):
    answer = holdfast()
    assert answer.exit_code == 2
    assert "Commands:" in answer.stderr
    assert answer.stdout == ""


def test_a_url_where_the_command_belongs_shows_no_password(holdfast):
    assert "hunter2" not in holdfast("redis://ada:hunter2@host/0", "get", "k").output
    assert "hunter2" not in holdfast("get", "k", "redis://ada:hunter2@host/0").output
