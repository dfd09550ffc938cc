"""The soak's figures: collected while it runs, written into docs/benchmarks.md when all of it is over."""

import os
import platform
from datetime import date
from pathlib import Path

SOAK = os.environ.get("HOLDFAST_SOAK") == "1"
PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"
FIRST, LAST = "<!-- soak -->", "<!-- /soak -->"
_rows: list[tuple[str, str, str]] = []


def record(proof: str, engine: str, figures: str) -> None:
    """One row of the table, and one line on the terminal."""
    _rows.append((proof, engine, figures))
    print(f"{proof}, {engine}: {figures}")


def write() -> None:
    if not (SOAK and _rows):
        return
    head = f"Printed by `make soak`, {date.today()}, CPython {platform.python_version()}, {os.cpu_count()} cores."
    table = "\n".join(
        ["| proof | engine | figures |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in _rows)]
    )
    text = PAGE.read_text() if PAGE.exists() else f"# Benchmarks\n\n## Soak\n\n{FIRST}\n{LAST}\n"
    before, _, rest = text.partition(FIRST)
    after = rest.partition(LAST)[2]
    PAGE.write_text(f"{before}{FIRST}\n\n{head}\n\n{table}\n\n{LAST}{after}")
