"""The soak's figures: collected while it runs, written into docs/benchmarks.md when all of it is over.

A run of a part of it replaces the rows that it measured, and leaves the others.
"""

import os
import platform
from datetime import date
from pathlib import Path

SOAK = os.environ.get("HOLDFAST_SOAK") == "1"
PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"
SECONDS = float(os.environ.get("HOLDFAST_SOAK_SECONDS", "60"))
"""How long each proof of the soak goes on that could go on for ever."""
FIRST, LAST = "<!-- soak -->", "<!-- /soak -->"
_rows: list[tuple[str, str, str]] = []


def record(proof: str, engine: str, figures: str) -> None:
    """One row of the table, and one line on the terminal."""
    _rows.append((proof, engine, figures))
    print(f"{proof}, {engine}: {figures}")


def write() -> None:
    if not (SOAK and _rows):
        return
    python, cores = platform.python_version(), os.cpu_count()
    head = f"Printed by `make soak`, last on {date.today()}, CPython {python}, {cores} cores."
    text = PAGE.read_text() if PAGE.exists() else f"# Benchmarks\n\n## Soak\n\n{FIRST}\n{LAST}\n"
    before, _, rest = text.partition(FIRST)
    there, _, after = rest.partition(LAST)
    rows = _there(there) | {row[:2]: row[2] for row in _rows}
    table = "\n".join(
        [
            "| proof | engine | figures |",
            "|---|---|---|",
            *(f"| {proof} | {engine} | {said} |" for (proof, engine), said in rows.items()),
        ]
    )
    PAGE.write_text(f"{before}{FIRST}\n\n{head}\n\n{table}\n\n{LAST}{after}")


def _there(text: str) -> dict[tuple[str, str], str]:
    """The rows of a table that was written before, in their order."""
    cells = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    return {(row[1], row[2]): "|".join(row[3:-1]) for row in cells[2:]}
