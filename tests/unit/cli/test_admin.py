"""`migrate`, `doctor`, `token`, and what commands make or leave alone."""

from __future__ import annotations

import json
import sqlite3

import pytest

from holdfast.cli import sql
from holdfast.store import Migration


def test_commands_that_read_make_no_file(holdfast, tmp_path):
    for words in (["get", "k"], ["keys"], ["ttl", "k"], ["export"], ["rm", "k"], ["doctor"]):
        answer = holdfast(*words)
        assert answer.exit_code == 3, words
        assert "there is no such file" in answer.stderr
    holdfast("migrate", "--dry-run")
    holdfast("migrate", "--sql")
    holdfast("migrate", "--sql", "--all")
    assert list(tmp_path.iterdir()) == []


def test_commands_that_read_make_no_tables(holdfast, tmp_path):
    sqlite3.connect(tmp_path / "app.db").close()
    for words in (["get", "k"], ["keys"], ["export"]):
        answer = holdfast(*words)
        assert answer.exit_code == 3, words
        assert "holdfast migrate" in answer.stderr
    assert holdfast("migrate", "--dry-run").exit_code == 1
    assert holdfast("migrate").stdout.startswith("applied persist 1: ")
    assert holdfast("migrate").stdout == "nothing to do\n"
    assert holdfast("migrate", "--dry-run").exit_code == 0
    assert holdfast("get", "k").exit_code == 1


def test_the_printed_sql_makes_the_store(holdfast, tmp_path):
    text = holdfast("migrate", "--sql").stdout
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.executescript(text)
    connection.close()
    assert holdfast("migrate", "--dry-run").stdout == "nothing to do\n"
    assert holdfast("migrate", "--sql").stdout == ""
    assert holdfast("set", "k", "1").exit_code == 0
    assert holdfast("get", "k").stdout == "1\n"


def test_all_sql_is_printed_for_a_database_that_cannot_be_reached(holdfast):
    for url in ("postgresql://127.0.0.1:1/app", "sqlalchemy+postgresql+asyncpg://127.0.0.1:1/app"):
        text = holdfast("migrate", "--sql", "--all", "--store", url).stdout
        assert text.startswith("BEGIN;\n")
        assert text.endswith("COMMIT;\n")
        assert 'COLLATE "C"' in text
    answer = holdfast("migrate", "--sql", "--all", "--store", "redis://127.0.0.1:1")
    assert answer.exit_code == 2
    assert "postgresql" in answer.stderr


def test_all_goes_with_sql(holdfast):
    assert holdfast("migrate", "--all").exit_code == 2


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("postgres://h/d", "postgresql"),
        ("sqlalchemy+mysql+asyncmy://h/d", "mysql"),
        ("sqlalchemy+mariadb+asyncmy://h/d", "mysql"),
        ("redis://h", "redis"),
    ],
)
def test_a_url_speaks_a_dialect(url, dialect):
    assert sql.dialect_of(url) == dialect


def test_every_statement_of_every_migration_is_printed():
    steps = [Migration("persist", n, f"step {n}", (f"A{n}", f"B{n}")) for n in (1, 2)]
    text = sql.script("mysql", steps, 7)
    assert "BEGIN" not in text
    for n in (1, 2):
        assert f"-- persist {n}: step {n}\nA{n};\nB{n};\n" in text
        assert f"VALUES ('persist', {n}, 7);" in text


def test_doctor_says_what_is_promised(holdfast):
    holdfast("set", "k", "1")
    answer = holdfast("doctor")
    assert "durability" in answer.stdout
    assert "migrations: " in answer.stdout
    facts = json.loads(holdfast("doctor", "--json").stdout)
    assert {each["subject"] for each in facts["findings"]} >= {"durability", "migrations"}
    warnings = [each for each in facts["findings"] if each["level"] == "warning"]
    assert facts["ok"] == (not warnings)
    assert answer.exit_code == (1 if warnings else 0)


def test_doctor_warns_of_pending_migrations(holdfast, tmp_path):
    sqlite3.connect(tmp_path / "app.db").close()
    answer = holdfast("doctor")
    assert answer.exit_code == 1
    assert any(line.startswith("warning") and "igrat" in line for line in answer.stdout.splitlines())


def test_doctor_of_memory_says_that_it_forgets(holdfast):
    answer = holdfast("doctor", "--store", "memory://")
    assert answer.exit_code in (0, 1)
    assert "memory" in answer.stdout


def test_other_commands_refuse_a_store_that_ends_with_them(holdfast):
    for words in (["get", "k"], ["set", "k", "1"], ["export"], ["token"], ["migrate"]):
        answer = holdfast(*words, "--store", "memory://")
        assert answer.exit_code == 2, words
        assert "HOLDFAST_STORE" in answer.stderr


def test_a_token_is_printed_once_and_again_only_by_rotation(holdfast):
    first = holdfast("token")
    assert (first.exit_code, len(first.stdout) > 32) == (0, True)
    again = holdfast("token")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "--rotate" in again.stderr
    rotated = holdfast("token", "--rotate")
    assert rotated.exit_code == 0
    assert rotated.stdout != first.stdout
    assert holdfast("keys").stdout == ""


def test_a_setting_that_nobody_knows_is_wrong_use(holdfast, monkeypatch):
    monkeypatch.setenv("HOLDFAST_NAMESPCE", "x")
    answer = holdfast("keys")
    assert answer.exit_code == 2
    assert "HOLDFAST_NAMESPACE" in answer.stderr
