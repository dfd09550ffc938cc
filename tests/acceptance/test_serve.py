"""`holdfast serve` as its user meets it: a process, its output, its files, its end."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from tests.acceptance.served import TOKEN, Served

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def cli(store: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *words],
        env=environment | {"HOLDFAST_STORE": store},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_token_is_printed_at_the_first_start_and_never_again(store: str, tmp_path: Path) -> None:
    with Served(store, tmp_path, token=None) as first:
        token = first.token
        with first.client(token) as client:
            assert client.put("/persist/k", json="kept").status_code == 204
        first.kill()
    with Served(store, tmp_path, token=None) as second:
        assert token not in second.said
        assert not re.search(r"token +\S{43}", second.said)
        with second.client(token) as client:
            assert client.get("/persist/k").json() == "kept"
    for path in tmp_path.iterdir():
        if path.name.startswith("store.db"):
            assert token.encode() not in path.read_bytes()


def test_what_was_acknowledged_is_there_after_kill_9_and_python_reads_it(store: str, tmp_path: Path) -> None:
    acknowledged: list[int] = []

    def write() -> None:
        with served.client() as client:
            try:
                for n in range(100_000):
                    if client.put(f"/persist/k{n}", json=n).status_code == 204:
                        acknowledged.append(n)  # noqa: PERF401 - what was noted must survive the exception
            except httpx.TransportError:
                return

    with Served(store, tmp_path) as served:
        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 200:
            assert writer.is_alive()
            time.sleep(0.01)
        served.kill()
        writer.join()
    for n in (acknowledged[0], acknowledged[-1]):
        assert cli(store, "get", f"k{n}").stdout.strip() == str(n)
    with Served(store, tmp_path) as served, served.client() as client:
        assert [n for n in acknowledged if client.get(f"/persist/k{n}").status_code != 200] == []


def test_files_it_makes_are_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    with Served(f"sqlite:///{folder}/store.db", tmp_path) as served, served.client() as client:
        client.put("/persist/k", json=1)
        made = list(folder.iterdir())
        assert made
        assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def test_a_rotation_from_the_command_line_reaches_a_running_server(store: str, tmp_path: Path) -> None:
    with Served(store, tmp_path, token=None) as served:
        old = served.token
        new = cli(store, "token", "--rotate").stdout.strip()
        with served.client(new) as client:
            assert client.get("/persist").status_code == 200
        deadline = time.monotonic() + 5
        with served.client(old) as client:
            while client.get("/persist").status_code == 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_workers_share_a_store_and_a_token_that_no_command_line_shows(store: str, tmp_path: Path) -> None:
    with Served(store, tmp_path, "--workers", "2", token=None) as served:
        token = served.token

        def ask(number: int) -> float:
            with served.client(token) as client:  # a connection each, so that each worker gets some
                assert client.post("/persist/n/increment").status_code == 200
                text = client.get("/metrics").text
            found = re.findall(r'^holdfast_operations_total\{operation="increment",.* (\S+)$', text, re.M)
            return float(found[0]) if found else 0

        with ThreadPoolExecutor(16) as many:
            asked, deadline = 0, time.monotonic() + 60
            counted: list[float] = []
            while max(counted, default=asked) == asked:  # each worker counts its own
                assert time.monotonic() < deadline
                counted = list(many.map(ask, range(16)))
                asked += 16
        with served.client(token) as client:
            assert client.get("/persist/n").json() == asked
        family = [
            psutil.Process(served.process.pid),
            *psutil.Process(served.process.pid).children(recursive=True),
        ]
        assert len(family) >= 3
        assert not [process for process in family if token in " ".join(process.cmdline())]
        assert served.stop() < 12
        _, left = psutil.wait_procs(family[1:], timeout=5)
        assert left == []


def test_a_store_that_lives_in_one_process_refuses_two_workers(tmp_path: Path) -> None:
    said = cli("memory://", "serve", "--port", "0", "--workers", "2")
    assert said.returncode != 0
    assert "sqlite:///holdfast.db" in said.stderr
    assert "Traceback" not in said.stderr


def test_memory_has_a_new_token_at_every_start(tmp_path: Path) -> None:
    with Served("memory://", tmp_path, token=None) as served, served.client(served.token) as client:
        assert client.put("/persist/k", json=1).status_code == 204
        assert client.get("/persist/k").json() == 1


def test_a_taken_port_is_an_error_that_costs_no_token(store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = cli(store, "serve", "--port", str(taken.getsockname()[1]))
    assert said.returncode != 0
    assert "cannot listen on 127.0.0.1" in said.stderr
    assert "Traceback" not in said.stderr
    assert len(cli(store, "token").stdout.strip()) == 43  # none was made before


def test_sigterm_lets_a_request_under_way_finish(store: str, tmp_path: Path) -> None:
    with Served(store, tmp_path) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as line:
            head = f"PUT /persist/late HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            line.sendall((head + "Content-Length: 6\r\nExpect: 100-continue\r\n\r\n").encode())
            assert line.recv(100).startswith(b"HTTP/1.1 100")  # the server waits for the body
            served.process.terminate()
            deadline = time.monotonic() + 10
            while True:  # until it no longer accepts
                assert time.monotonic() < deadline
                try:
                    socket.create_connection((host, int(port)), timeout=5).close()
                except ConnectionRefusedError:
                    break
                time.sleep(0.02)
            line.sendall(b'"late"')
            assert b" 204 " in line.recv(1000).partition(b"\r\n")[0]
        assert served.process.wait(12) is not None
    assert cli(store, "get", "late").stdout.strip() == '"late"'


def test_nothing_is_printed_but_the_banner(store: str, tmp_path: Path) -> None:
    with Served(store, tmp_path) as served:
        with served.client() as client:
            client.get("/persist/secret-key")
            client.get("/nowhere")
        served.stop()
        assert served.process.stdout is not None
        assert served.process.stdout.read().strip() == ""
        assert served.errors == ""


def test_a_password_in_the_url_is_never_printed(tmp_path: Path) -> None:
    said = cli("redis://:geheim@127.0.0.1:1/0", "serve", "--port", "0")
    assert said.returncode != 0
    assert "geheim" not in said.stdout + said.stderr


# --- the reference ---


def examples() -> Iterator[tuple[str, list[str]]]:
    """Every `$ command` of docs/reference/http.md with the lines that it shows."""
    text = (ROOT / "docs" / "reference" / "http.md").read_text()
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        command, shown = "", []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line[2:], []
            else:
                shown.append(line)
        yield command, shown


def test_every_example_of_the_reference_is_true(store: str, tmp_path: Path) -> None:
    commands = list(examples())
    assert len(commands) > 12
    with Served(store, tmp_path) as served:
        script = [f"export TOKEN={TOKEN} URL={served.url}"]
        script += [f"{command}\nprintf '\\n@@@\\n'" for command, _ in commands]
        said = subprocess.run(
            ["bash", "-c", "\n".join(script)], capture_output=True, text=True, timeout=120, check=False
        )
    for (command, shown), answer in zip(commands, said.stdout.split("@@@\n")[:-1], strict=True):
        lines = iter(answer.replace("\r", "").splitlines())
        for wanted in shown:
            pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
            assert any(pattern.fullmatch(line) for line in lines), f"{command}\n{wanted}\nis not in\n{answer}"
