"""The pages that are made from the code say what the code says, and every public name is on one of them."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = {
    "holdfast": ["persist.md"],
    "holdfast.persist": ["persist.md", "errors.md"],
    "holdfast.channels": ["channels.md", "errors.md"],
    "holdfast.webmention": ["webmention.md", "errors.md"],
    "holdfast.errors": ["errors.md"],
    "holdfast.events": ["events.md"],
}


def test_the_made_pages_are_what_the_code_says() -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    text = "".join((ROOT / "docs" / "reference" / page).read_text() for page in PUBLIC[module])
    missing = [name for name in importlib.import_module(module).__all__ if f"`{name}" not in text]
    assert missing in ([], ["__version__"])


def test_import_holdfast_imports_nothing_else_and_persist_no_optional_library() -> None:
    def modules(statement: str) -> set[str]:
        code = (
            f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return set(said.stdout.split())

    assert {name for name in modules("import holdfast") if not name.startswith(("holdfast", "typing", "_"))} <= {
        "abc", "collections", "collections.abc", "contextlib", "copyreg", "enum", "functools", "keyword",
        "operator", "re", "reprlib", "types", "warnings",
    } | modules("import re, typing")  # fmt: skip
    optional = {
        "redis",
        "hiredis",
        "asyncpg",
        "sqlalchemy",
        "pydantic",
        "click",
        "rich",
        "uvicorn",
        "starlette",
    }
    assert not optional & {
        name.split(".")[0] for name in modules("from holdfast import Holdfast; Holdfast()")
    }
