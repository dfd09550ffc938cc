"""A soak of a part leaves the figures of the rest where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.proof import figures


def run(monkeypatch: pytest.MonkeyPatch, *rows: tuple[str, str, str]) -> list[str]:
    """The table's rows after a run that measured these."""
    monkeypatch.setattr(figures, "_rows", [])
    for row in rows:
        figures.record(*row)
    figures.write()
    return [line for line in figures.PAGE.read_text().splitlines() if line.startswith("| ")][1:]


def test_a_run_replaces_the_rows_that_it_measured_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(figures, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(figures, "SOAK", True)
    first = run(monkeypatch, ("kills", "sqlite", "20"), ("kills", "redis", "20"), ("fuzz", "", "9"))
    assert first == ["| kills | sqlite | 20 |", "| kills | redis | 20 |", "| fuzz |  | 9 |"]
    text = figures.PAGE.read_text()
    figures.PAGE.write_text(f"{text}\n## More\n")
    assert run(monkeypatch, ("kills", "redis", "21"), ("fuzz", "", "10"), ("load", "redis", "1")) == [
        "| kills | sqlite | 20 |",
        "| kills | redis | 21 |",
        "| fuzz |  | 10 |",
        "| load | redis | 1 |",
    ]
    assert figures.PAGE.read_text().endswith("\n## More\n")
    before = figures.PAGE.read_text()
    monkeypatch.setattr(figures, "_rows", [])
    figures.write()
    assert figures.PAGE.read_text() == before


def test_an_ordinary_run_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(figures, "SOAK", False)
    monkeypatch.setattr(figures, "_rows", [("kills", "redis", "2")])
    figures.write()
    assert not figures.PAGE.exists()
