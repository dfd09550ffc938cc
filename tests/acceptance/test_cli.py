"""The command line as a shell meets it: real processes, pipes, terminals and signals."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import fcntl
import gzip
import json
import mmap
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from pathlib import Path

import pytest

from holdfast.cli import COMMANDS
from holdfast.persist import Persist
from holdfast.testing.servers import RedisServer

HOLDFAST = [sys.executable, "-m", "holdfast"]
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


@pytest.fixture
def environment(tmp_path):
    """A shell's environment with a store in this test's own directory."""
    dropped = ("HOLDFAST_", "NO_COLOR", "PYTHONUNBUFFERED")
    clean = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
    return clean | {
        "HOLDFAST_STORE": f"sqlite:///{tmp_path}/app.db",
        "TERM": "xterm",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def holdfast(environment, tmp_path):
    """Run one command to its end: exit code, standard output and error as text."""

    def run(*words, stdin=b"", **variables):
        return subprocess.run(
            [*HOLDFAST, *words],
            input=stdin,
            capture_output=True,
            env=environment | variables,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def started(environment, tmp_path):
    """Start one command; it is ended with the test."""
    running = []

    def start(*words, **settings):
        process = subprocess.Popen(
            [*HOLDFAST, *words], env=environment, cwd=tmp_path, start_new_session=True, **settings
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def fill(directory, count, value=None):
    async def write():
        async with Persist(f"sqlite:///{directory}/app.db?synchronous=normal") as persist:
            await persist.set_many({f"key:{number:06}": value or {"n": number} for number in range(count)})

    asyncio.run(write())


def rows(count, text="x"):
    return b"".join(b'{"key":"key:%06d","value":"%b"}\n' % (number, text.encode()) for number in range(count))


def until(ready, seconds=30):
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# --- docs ---


def blocks():
    found = re.findall(r"^```console\n(.*?)^```", DOCS.read_text(), re.M | re.S)
    return [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M) for block in found]


def test_every_snippet_of_the_reference_prints_what_it_says(environment, tmp_path):
    lines = [line for block in blocks() for line in block]
    assert len(lines) > 25
    script = ["exec 2>&1"] + [f"{line}\necho '--- end'" for line, _ in lines]
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "holdfast").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfast "$@"\n')
    (tools / "holdfast").chmod(0o755)
    environment["PATH"] = f"{tools}:{environment['PATH']}"
    del environment["HOLDFAST_STORE"]
    answer = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    printed = answer.stdout.decode().split("--- end\n")
    assert len(printed) == len(lines) + 1
    for (line, want), got in zip(lines, printed, strict=False):
        same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
        assert same, f"$ {line}\nexpected:\n{want}\ngot:\n{got}"


# --- exit codes, streams ---


def test_every_kind_of_end_has_its_code(holdfast, tmp_path):
    assert holdfast("set", "k", "1").returncode == 0
    assert holdfast("get", "absent").returncode == 1
    assert holdfast("get").returncode == 2
    assert holdfast("set", "k", "not json").returncode == 2
    assert holdfast("get", "k", HOLDFAST_STORE="rediss://").returncode in (2, 3)
    assert holdfast("get", "k", HOLDFAST_STORE="nosuch://x").returncode == 2
    assert holdfast("get", "k", HOLDFAST_STROE="x").returncode == 2
    assert holdfast("get", "k", HOLDFAST_STORE="redis://127.0.0.1:1/0").returncode == 3
    assert holdfast("get", "k", HOLDFAST_STORE="sqlite:///missing.db").returncode == 3
    assert holdfast("create", "k", "2").returncode == 4
    assert holdfast("import", stdin=b"nonsense\n").returncode == 5
    assert not (tmp_path / "missing.db").exists()


def test_errors_are_one_line_on_standard_error_with_a_way_out_and_no_traceback(holdfast):
    for words in (
        ["get", "absent"],
        ["set", "k", "hello"],
        ["get", "k", "--store", "redis://:hunter2@127.0.0.1:1/0"],
    ):
        answer = holdfast(*words)
        assert answer.stdout == b""
        text = answer.stderr.decode()
        assert text.startswith("holdfast: ")
        assert text.count("\n") == 1
        assert "Traceback" not in text
        assert "hunter2" not in text


def test_a_file_of_somebody_else_is_an_error_in_words(holdfast, tmp_path):
    (tmp_path / "app.db").write_bytes(b"this is no database at all, " * 100)
    answer = holdfast("get", "k")
    assert answer.returncode in (2, 3)
    assert b"Traceback" not in answer.stderr


def test_with_json_an_error_is_an_object(holdfast):
    answer = holdfast("--json", "get", "k", "--store", "redis://127.0.0.1:1/0")
    error = json.loads(answer.stderr)
    assert (error["error"], error["exit"], error["maybe_applied"]) == ("StoreUnavailable", 3, False)


def test_data_is_utf8_whatever_the_locale_says(holdfast):
    for locale in ("C", "POSIX", "en_US.ISO-8859-1"):
        assert (
            holdfast(
                "set", "grüße", '"🌊"', LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"
            ).returncode
            == 0
        )
        answer = holdfast("get", "grüße", LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
        assert answer.stdout.decode() == '"🌊"\n'


def test_without_click_the_command_says_what_to_install():
    code = "import sys; sys.modules['click'] = None; import holdfast.__main__ as m; m.main()"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr == b'holdfast: click is not installed; pip install "holdfast[cli]"\n'


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_loads_neither_asyncio_nor_a_client_library_nor_rich(name):
    code = (
        f"import sys, holdfast.__main__ as m\nsys.argv = ['holdfast', *{name.split()}, '--help']\n"
        "try: m.main()\nexcept SystemExit: pass\n"
        "print(sorted({'asyncio', 'rich', 'redis', 'sqlite3', 'uvicorn'} & set(sys.modules)), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert b"--store" in answer.stdout
    assert answer.stderr == b"[]\n"


# --- terminals ---


def on_terminal(words, environment, tmp_path):
    """What the command prints where standard output and error are a terminal."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [*HOLDFAST, *words],
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
        env=environment,
        cwd=tmp_path,
    )
    os.close(other)
    text = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while part := os.read(main, 65536):
            text += part
    os.close(main)
    process.wait(60)
    return text.decode()


def test_values_are_coloured_on_a_terminal_only(holdfast, environment, tmp_path):
    holdfast("set", "k", '{"a":1}')
    assert "\x1b[" in on_terminal(["get", "k"], environment, tmp_path)
    assert "\x1b[" not in on_terminal(["get", "k"], environment | {"NO_COLOR": "1"}, tmp_path)
    assert "\x1b[" not in on_terminal(["get", "k"], environment | {"TERM": "dumb"}, tmp_path)
    assert holdfast("get", "k").stdout == b'{"a":1}\n'
    assert b"\x1b" not in holdfast("get", "absent").stderr
    assert b"\x1b" not in holdfast("doctor").stdout


def test_a_progress_bar_is_drawn_on_a_terminal_only(holdfast, environment, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(rows(3_000) + b"nonsense\n")
    printed = on_terminal(["import", "rows.jsonl"], environment, tmp_path)
    assert "import" in printed
    assert "rows" in printed
    assert "line 3001: not JSON" in printed
    assert "3,000 stored, 1 broken" in printed
    quiet = holdfast("import", "rows.jsonl")
    assert b"\x1b" not in quiet.stderr
    assert quiet.stderr.count(b"\n") == 2


# --- pipes and signals ---


def test_a_reader_that_goes_away_is_no_traceback(started, tmp_path):
    fill(tmp_path, 20_000)
    for command in ("keys", "export"):
        process = started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [["get", "k"], ["export"], ["--help"], ["--json", "get", "k"]])
def test_a_full_disk_behind_standard_output_is_said_in_one_line(started, holdfast, words):
    holdfast("set", "k", "1")
    with open("/dev/full", "wb") as full:
        process = started(*words, stdout=full, stderr=subprocess.PIPE)
        assert process.wait(30) == 2
    text = process.stderr.read()
    assert b"No space left on device" in text
    assert text.count(b"\n") == 1


def test_a_closed_standard_output_is_not_taken_for_the_store(holdfast, environment, tmp_path):
    holdfast("set", "k", "1")
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        line = (
            f"'{sys.executable}' -m holdfast set k 2 {closed}; '{sys.executable}' -m holdfast get k {closed}"
        )
        subprocess.run(["sh", "-c", line], env=environment, cwd=tmp_path, check=True, timeout=60)
        answer = holdfast("get", "k")
        assert (answer.returncode, answer.stdout) == (0, b"2\n")


@pytest.mark.parametrize(
    ("reply", "code", "left"), [(b"n\n", 1, b"k\n"), (b"\4", 130, b"k\n"), (b"y\n", 0, b"")]
)
def test_rm_by_prefix_asks_on_a_terminal(holdfast, started, reply, code, left):
    holdfast("set", "k", "1")
    main, other = pty.openpty()
    try:
        process = started("rm", "--prefix", "", stdin=other, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.write(main, reply)
        assert process.wait(30) == code
        assert b"Remove every key of namespace 'holdfast'" in process.stderr.read()
    finally:
        os.close(main)
        os.close(other)
    assert holdfast("keys").stdout == left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_listing_that_nobody_reads(started, tmp_path, number, code):
    fill(tmp_path, 20_000)
    size = mmap.PAGESIZE  # less than one write of the listing, which therefore waits in its middle
    process = started("keys", stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=size)
    until(lambda: _held(process.stdout) == size)
    process.send_signal(number)
    assert process.wait(10) == code
    assert process.stderr.read().count(b"\n") == 1


def _held(pipe):
    """How many bytes wait in the pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _stored(directory):
    async def count():
        async with Persist(f"sqlite:///{directory}/app.db") as persist:
            return len([key async for key in persist.keys("")])

    return asyncio.run(count()) if (directory / "app.db").exists() else 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_import_that_is_interrupted_says_where_to_go_on(started, holdfast, tmp_path, number, code):
    process = started("import", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(rows(1_000))
    process.stdin.flush()
    until(lambda: _stored(tmp_path) == 1_000)
    process.send_signal(number)
    assert process.wait(10) == code
    message = process.stderr.read().decode()
    assert message.count("\n") == 1
    line = int(re.search(r"1,000 stored until then; --from-line (\d+) goes on there", message)[1])
    assert line == 1_001
    rest = holdfast("import", f"--from-line={line}", stdin=rows(1_500))
    assert rest.stdout == b"500 stored\n"


def test_an_export_that_is_interrupted_leaves_no_file(started, tmp_path):
    fill(tmp_path, 50_000)
    process = started("export", "-o", "all.jsonl.gz", stderr=subprocess.PIPE)
    until(lambda: any(tmp_path.glob(".all.jsonl.gz.*.part")))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not list(tmp_path.glob("*all.jsonl*"))
    assert not list(tmp_path.glob(".all.jsonl*"))


# --- a store that goes away ---


def test_an_import_goes_on_after_the_store_was_down(started, holdfast, environment, tmp_path):
    with RedisServer(appendonly=True, appendfsync="always") as server:
        environment["HOLDFAST_STORE"] = server.url
        process = started("import", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        text = rows(5_000)
        half = text.index(b'{"key":"key:002500"')
        process.stdin.write(text[:half])
        process.stdin.flush()
        until(lambda: server.command("DBSIZE") == b":2500\r\n")
        server.kill()
        _, message = process.communicate(text[half:], timeout=60)
        assert process.returncode == 3
        line = int(re.search(r"--from-line (\d+) goes on there\n$", message.decode())[1])
        assert line == 2_501
        server.start()
        answer = holdfast("import", "--from-line", str(line), stdin=text, HOLDFAST_STORE=server.url)
        assert answer.stdout == b"2,500 stored\n", answer.stderr
        assert server.command("DBSIZE") == b":5000\r\n"


# --- memory ---


MEASURED = """
import re, sys
from holdfast.__main__ import main
try:
    main()
finally:
    open(PEAK, "w").write(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def peak(words, environment, tmp_path):
    """The most memory a command had, in KiB. Not `ru_maxrss`, in which this process's own counts too."""
    code = MEASURED.replace("PEAK", repr(f"{tmp_path}/peak"))
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return int((tmp_path / "peak").read_text())


def test_ten_times_the_rows_take_no_more_memory(redis_url, environment, tmp_path):
    """On Redis, because SQLite's own page cache grows with the file up to its bound."""
    taken = {}
    for count in (5_000, 50_000):
        name = f"memory-{os.getpid()}-{count}"
        store = environment | {"HOLDFAST_STORE": redis_url, "HOLDFAST_NAMESPACE": name}
        (tmp_path / "in.jsonl").write_bytes(rows(count, "x" * 200))
        taken["import", count] = peak(["import", "in.jsonl"], store, tmp_path)
        taken["export", count] = peak(["export", "-o", "out.jsonl.gz"], store, tmp_path)
        with gzip.open(tmp_path / "out.jsonl.gz") as file:
            assert sum(1 for _ in file) >= count + 2
        peak(["rm", "--prefix", "", "--yes"], store, tmp_path)
    for command in ("import", "export"):
        # 50,000 rows of 230 bytes held at once would be 11 MiB of text and far more of objects.
        assert taken[command, 50_000] - taken[command, 5_000] < 4 << 10, taken


# --- serve ---


def test_serve_as_the_reference_shows_it_answers_and_ends_in_order(started, holdfast, tmp_path):
    shown = re.search(r"^```sh\nholdfast (serve .*?)\n```", DOCS.read_text(), re.M)[1].split()
    words = ["0" if word == "8000" else word for word in shown]
    process = started(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    printed = ""
    while "stop" not in printed:
        line = process.stdout.readline().decode()
        assert line, process.stderr.read().decode()
        printed += line
    address = re.search(r"http://127\.0\.0\.1:\d+", printed)[0]

    def healthy():
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    until(healthy)
    assert holdfast("token").returncode == 1, "the server made one"
    assert holdfast("set", "k", "1").returncode == 0, "the file is shared"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, 143, -signal.SIGTERM)
    assert process.stderr.read() == b""


def test_serve_on_a_port_that_is_taken_says_so(started, holdfast):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = holdfast("serve", "--port", str(taken.getsockname()[1]))
    assert answer.returncode == 2
    assert answer.stderr.startswith(b"holdfast: serve: cannot listen on 127.0.0.1 port")
    assert answer.stderr.count(b"\n") == 1


def test_serve_takes_no_token_as_an_argument(holdfast):
    assert holdfast("serve", "--token", "x" * 32).returncode == 2


# --- every engine ---


@pytest.mark.parametrize("engine", ["sqlite", "redis", "postgres"])
def test_the_same_commands_do_the_same_on_every_engine(request, holdfast, tmp_path, engine):
    url = f"sqlite:///{tmp_path}/app.db" if engine == "sqlite" else request.getfixturevalue(f"{engine}_url")
    name = f"cli-{os.getpid()}"

    def run(*words, **more):
        return holdfast(*words, "--store", url, "--namespace", name, **more)

    assert run("migrate").returncode == 0
    assert run("migrate", "--dry-run").stdout == b"nothing to do\n"
    assert run("set", "user:1", '{"a":1.50}', "--expires", "1h").returncode == 0
    assert run("create", "user:1", "2").returncode == 4
    assert run("set", "line\nbreak", "null").returncode == 0
    assert run("get", "user:1").stdout == b'{"a":1.50}\n'
    assert 3_500 < float(run("ttl", "user:1").stdout) <= 3_600
    assert sorted(run("keys").stdout.splitlines()) == [b'"line\\nbreak"', b"user:1"]
    exported = run("export")
    assert b"2 exported" in exported.stderr
    assert run("rm", "--prefix", "", "--yes").stdout == b"2 removed\n"
    assert run("import", stdin=exported.stdout).stdout == b"2 stored\n"
    assert 3_500 < float(run("ttl", "user:1").stdout) <= 3_600
    assert (
        run("import", "--existing=keep", stdin=exported.stdout).stdout == b"0 stored, 2 kept as they were\n"
    )
    assert run("doctor").returncode in (0, 1)
    assert json.loads(run("doctor", "--json").stdout)["findings"]
    assert run("rm", "user:1", "line\nbreak").stdout == b"2 removed\n"


async def test_the_printed_sql_makes_a_postgres_store(postgres_url, holdfast):
    asyncpg = pytest.importorskip("asyncpg")
    name = f"cli_sql_{os.getpid()}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    url = postgres_url.rpartition("/")[0] + f"/{name}"
    try:
        unready = holdfast("get", "k", "--store", url)
        assert unready.returncode == 3
        assert b"holdfast migrate" in unready.stderr
        other = await asyncpg.connect(url)
        await other.execute(holdfast("migrate", "--sql", "--store", url).stdout.decode())
        await other.close()
        assert holdfast("migrate", "--dry-run", "--store", url).stdout == b"nothing to do\n"
        assert holdfast("set", "k", "1", "--store", url).returncode == 0
        assert holdfast("get", "k", "--store", url).stdout == b"1\n"
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()
