"""The types that users see, as mypy and pyright see them."""

import subprocess
import sys
from pathlib import Path

import pytest

ANSWERS = Path(__file__).with_name("answers.py")
ROOT = ANSWERS.parents[2]


@pytest.mark.parametrize(
    "checker",
    [
        ("mypy", "--strict", "--no-incremental", "--config-file="),
        ("basedpyright", "--level", "error"),
    ],
    ids=lambda checker: str(checker[0]),
)
def test_a_type_checker_knows_what_comes_back(checker: tuple[str, ...], tmp_path: Path) -> None:
    target = tmp_path / "answers.py"
    target.write_text(ANSWERS.read_text())
    said = subprocess.run(
        [sys.executable, "-m", *checker, str(target)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    target.write_text(ANSWERS.read_text().replace("User | None)", "User)"))
    said = subprocess.run(
        [sys.executable, "-m", *checker, str(target)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode != 0, f"{checker[0]} would not notice a wrong type"
