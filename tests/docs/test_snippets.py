"""Every Python block and every `holdfast` line of README and docs is run, in order, in an empty folder per page.

A block that cannot run by itself says so in the line above its fence, as an
HTML comment that names the test which runs it: `<!-- run by: tests/... -->`. A
block with a title is a file of that name, for those behind it to import; one
whose name begins with `test_` is run by pytest.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- run by: (?P<elsewhere>\S+) -->\n+)?^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```",
    re.M | re.S,
)
QUIET = ["-o", "asyncio_default_fixture_loop_scope=function", "--rootdir=."]
NOT_HERE = ("holdfast serve", "holdfast token")  # run by the acceptance tests of the server
ELSEWHERE = {
    "docs/reference/cli.md": "tests/acceptance/test_cli.py",
    "docs/reference/http.md": "tests/unit/web",
    "docs/how-to/frameworks-rooms.md": "tests/acceptance/test_channels_frameworks.py",
    "docs/how-to/test-your-app.md": "tests/unit/testing/test_how_to.py",
}


def blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """Kind, title and text of what is to run."""
    found = []
    for match in BLOCK.finditer(page.read_text()):
        if match["elsewhere"]:
            assert (ROOT / match["elsewhere"]).exists(), f"{page.name}: {match['elsewhere']} is not there"
        else:
            found.append((match["kind"], match["title"], match["text"]))
    return found


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUNNABLE = [
    page
    for page in PAGES
    if name(page) not in ELSEWHERE
    and any(kind == "python" or (kind == "sh" and "holdfast " in text) for kind, _, text in blocks(page))
]


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "error", "NO_COLOR": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    said = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, f"{command[-1]}\n{said.stdout}\n{said.stderr}"


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_every_snippet_of_a_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for number, (kind, title, text) in enumerate(blocks(page)):
        for url, fixture in (
            ("redis://localhost/0", "redis_url"),
            ("postgresql://localhost/app", "postgres_url"),
        ):
            if url in text:
                text = text.replace(url, request.getfixturevalue(fixture))
        if kind == "python":
            script = tmp_path / (title or f"block_{number}.py")
            script.write_text(text)
            pytest_ = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *QUIET]
            run(
                [sys.executable, *(pytest_ if script.name.startswith("test_") else []), str(script)], tmp_path
            )
        elif kind == "sh":
            for line in re.sub(r"\\\n\s*", "", text).splitlines():
                if line.startswith("holdfast ") and not line.startswith(NOT_HERE):
                    run(["sh", "-c", line], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}"
