"""`holdfast channels` as a shell meets it: what other processes say arrives, and signals and pipes end it quietly."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HOLDFAST = [sys.executable, "-m", "holdfast"]
ENGINES = ["sqlite", "sqlalchemy+sqlite", "redis", "postgres"]


class Shell:
    """Commands over one store, in a namespace of their own; what still runs ends with the test."""

    def __init__(self, store: str, folder: Path) -> None:
        self.folder = folder
        clean = {name: text for name, text in os.environ.items() if not name.startswith("HOLDFAST_")}
        self.environment = clean | {
            "HOLDFAST_STORE": store,
            "HOLDFAST_NAMESPACE": f"shell-{secrets.token_hex(4)}",
            "PYTHONWARNINGS": "error",
        }
        self.running: list[subprocess.Popen[str]] = []

    def run(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HOLDFAST, *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment | variables,
            cwd=self.folder,
            timeout=60,
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*HOLDFAST, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def publish(self, n: int, topic: str = "room:a") -> None:
        said = self.run("channels", "publish", topic, "said", json.dumps({"n": n}))
        assert said.returncode == 0, said.stderr

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    engine = getattr(request, "param", "sqlite")
    if engine in ("redis", "postgres"):
        return str(request.getfixturevalue(f"{engine}_url"))
    driver = "+aiosqlite" if engine.startswith("sqlalchemy") else ""
    return f"{engine}{driver}:///{tmp_path}/app.db"


@pytest.fixture
def shell(store: str, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(store, tmp_path)
    assert shell.run("migrate").returncode == 0
    yield shell
    shell.end()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("store", ENGINES, indirect=True)
def test_tail_prints_what_other_processes_say_once_and_in_order(shell: Shell) -> None:
    shell.publish(0)
    shell.publish(1)
    tail = shell.start("--json", "channels", "tail", "room:a", "--history", "1")
    first = json.loads(read(tail))  # from here on it follows
    for n in range(2, 5):
        shell.publish(n)
    heard = [first] + [json.loads(read(tail)) for _ in range(3)]
    assert [each["payload"]["n"] for each in heard] == [1, 2, 3, 4]
    shell.run("channels", "rm", "room:a", heard[1]["id"])
    removed = json.loads(read(tail))
    assert (removed["event"], removed["id"]) == ("message_removed", heard[1]["id"])

    again = shell.start("--json", "channels", "tail", "room:a", "--since", heard[2]["position"])
    resumed = [json.loads(read(again)) for _ in range(2)]
    assert [each["payload"].get("n") for each in resumed] == [4, None]


def test_ctrl_c_and_sigterm_end_a_tail_without_a_traceback(shell: Shell) -> None:
    shell.publish(0)
    for number, code, words in (
        (signal.SIGINT, 130, ""),
        (signal.SIGTERM, 143, "holdfast: ended by SIGTERM\n"),
    ):
        tail = shell.start("channels", "tail", "room:a", "--history", "1")
        assert read(tail)
        tail.send_signal(number)
        out, errors = tail.communicate(timeout=30)
        assert (tail.returncode, out, errors) == (code, "", words)


def test_a_tail_ends_when_its_reader_has_gone_though_nobody_says_anything(shell: Shell) -> None:
    shell.publish(0)
    tail = shell.start("channels", "tail", "room:a", "--history", "1")
    assert read(tail)
    assert tail.stdout is not None
    tail.stdout.close()
    assert tail.wait(30) == 141
    assert tail.stderr is not None
    assert tail.stderr.read() == ""


def test_a_history_that_is_lost_is_said_and_not_passed_over(shell: Shell) -> None:
    shell.publish(0)
    position = json.loads(shell.run("--json", "channels", "history", "room:a").stdout)["position"]
    shell.run("channels", "clear", "room:a", "--yes")
    shell.publish(1)
    answer = shell.run("channels", "tail", "room:a", "--since", position)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.count("\n") == 1
    assert "no longer all there" in answer.stderr


@pytest.mark.parametrize("store", ENGINES, indirect=True)
def test_rooms_move_to_another_store_whole_and_once(shell: Shell) -> None:
    shell.run("set", "key", "1")
    for n in range(3):
        shell.publish(n)
    shell.run("channels", "publish", "room:b", "said", '{"n": 3}', "--id", "mine")
    shell.run(
        "channels",
        "rm",
        "room:a",
        json.loads(shell.run("--json", "channels", "history", "room:a", "--limit", "1").stdout)["id"],
    )
    assert shell.run("export", "-o", "all.jsonl.gz").returncode == 0
    lines = gzip.decompress((shell.folder / "all.jsonl.gz").read_bytes()).splitlines()
    assert len(lines) == 6
    other = {"HOLDFAST_STORE": f"sqlite:///{shell.folder}/other.db"}
    assert shell.run("import", "all.jsonl.gz", **other).stdout == "4 stored\n"
    assert shell.run("import", "all.jsonl.gz", **other).stdout == "1 stored, 3 kept as they were\n"
    for topic, numbers in (("room:a", [0, 1]), ("room:b", [3])):
        old = shell.run("--json", "channels", "history", topic).stdout.splitlines()
        new = shell.run("--json", "channels", "history", topic, **other).stdout.splitlines()
        assert [json.loads(line)["payload"]["n"] for line in new] == numbers
        assert [json.loads(line)["at"] for line in new] == [json.loads(line)["at"] for line in old]


def test_messages_are_left_out_of_a_cluster_and_said_to_be(shell: Shell, redis_cluster_url: str) -> None:
    shell.run("set", "key", "1")
    shell.publish(0)
    shell.run("export", "-o", "all.jsonl")
    cluster = {"HOLDFAST_STORE": redis_cluster_url}
    answer = shell.run("import", "all.jsonl", **cluster)
    assert (answer.returncode, answer.stdout) == (5, "1 stored, 1 left out\n")
    assert "cannot have channels" in answer.stderr
    answer = shell.run("export", **cluster)
    assert (answer.returncode, answer.stdout.count("\n")) == (0, 3)
    assert "cannot have channels" in answer.stderr
    assert shell.run("migrate", **cluster).stdout == "nothing to do\n"
    assert shell.run("channels", "history", "room:a", **cluster).returncode == 2


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_the_printed_sql_makes_the_tables_of_rooms_on_postgres(store: str, tmp_path: Path) -> None:
    import asyncio

    import asyncpg

    shell = Shell(store, tmp_path)
    schema = f"s{secrets.token_hex(4)}"

    async def run(text: str) -> None:
        connection = await asyncpg.connect(store)
        try:
            await connection.execute(text)
        finally:
            await connection.close()

    sql = shell.run("migrate", "--sql", "--all").stdout
    asyncio.run(run(f"CREATE SCHEMA {schema}; SET search_path TO {schema}; {sql}"))
    joint = "&" if "?" in store else "?"
    shell.environment["HOLDFAST_STORE"] = f"{store}{joint}options=-csearch_path%3D{schema}"
    answer = shell.run("migrate", "--dry-run")
    assert (answer.returncode, answer.stdout) == (0, "nothing to do\n"), answer.stderr
    shell.publish(1)
    start = time.time()
    at = json.loads(shell.run("--json", "channels", "history", "room:a").stdout)["at"]
    assert abs(at - start) < 60
