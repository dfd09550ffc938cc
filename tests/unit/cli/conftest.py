"""One store per test, and commands run over it inside this process."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner
from tests.unit.cli.sites import Site

from holdfast.cli import command
from holdfast.persist import Persist


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A SQLite store that does not exist yet, named by the environment."""
    url = f"sqlite:///{tmp_path}/app.db?synchronous=normal"
    monkeypatch.setenv("HOLDFAST_STORE", url)
    return url


@pytest.fixture
def holdfast(store):
    """Run a command; the answer has `exit_code`, `stdout` and `stderr`."""

    def run(*words, stdin=None):
        return CliRunner().invoke(command, [str(word) for word in words], input=stdin, prog_name="holdfast")

    return run


@pytest.fixture
def ask(store):
    """Ask the store itself: `ask(lambda persist: persist.get("k"))`."""

    def run(question):
        async def whole():
            async with Persist(store) as persist:
                return await question(persist)

        return asyncio.run(whole())

    return run


@pytest.fixture
def site():
    """Make a web site on loopback: `site()`."""
    sites = []

    def make():
        sites.append(Site())
        return sites[-1]

    yield make
    for each in sites:
        each.close()
