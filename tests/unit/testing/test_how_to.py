"""The snippets of docs/how-to/test-your-app.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "test-your-app.md"
SNIPPET = re.compile(r'```python title="(?P<name>[^"]+)"\n(?P<code>.*?)```', re.DOTALL)


def test_every_snippet_of_the_how_to_runs(tmp_path: Path) -> None:
    found = list(SNIPPET.finditer(PAGE.read_text()))
    assert len(found) >= 5
    for snippet in found:
        (tmp_path / snippet["name"]).write_text(snippet["code"])
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOLDFAST_TEST_STORE"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
