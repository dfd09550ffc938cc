"""`import holdfast.testing` costs nothing that is not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast.testing


def test_neither_pytest_nor_hypothesis_is_imported_until_it_is_needed() -> None:
    script = (
        "import sys, holdfast.testing\n"
        "from holdfast.testing import PersistSuite, PersistModel, ManualClock, RedisServer, faults\n"
        "assert not {'pytest', 'hypothesis', 'redis', 'asyncpg', 'sqlalchemy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", holdfast.testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(holdfast.testing, name) is not None
    assert name in dir(holdfast.testing)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Sweet"):
        holdfast.testing.PersistSweet  # noqa: B018
