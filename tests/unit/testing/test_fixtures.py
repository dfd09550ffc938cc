"""`store` and `clock`, as users get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.persist import Persist
from holdfast.persist.registry import driver_for
from holdfast.testing import ManualClock

pytest_plugins = ["holdfast.testing.fixtures"]


async def test_a_store_is_open_and_empty(store: Persist) -> None:
    assert [key async for key in store.keys("")] == []
    await store.create("k", 1)


async def test_no_test_sees_the_store_of_another(store: Persist) -> None:
    assert await store.get("k") is None
    await store.create("k", 2)


async def test_the_clock_decides_when_values_expire(store: Persist, clock: ManualClock) -> None:
    await store.set("k", 1, expires=60)
    clock.advance(59.999)
    assert await store.get("k") == 1
    clock.advance(0.001)
    assert await store.get("k") is None


def test_time_only_goes_forward(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


class TestWithARealStore:
    @pytest.fixture(autouse=True)
    def _url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = f"sqlite:///{tmp_path / 'app.db'}"
        monkeypatch.setenv("HOLDFAST_TEST_STORE", self.url)

    async def test_the_store_is_where_the_environment_says(self, store: Persist) -> None:
        await store.set("k", 1)
        await store.namespace("inner").set("k", 2)
        driver = driver_for(self.url)
        async with Persist(driver, namespace="beside") as beside:
            await beside.set("mine", 1)
            assert await store.get("k") == 1

    def test_a_clock_is_refused(self, request: pytest.FixtureRequest) -> None:
        with pytest.raises(pytest.skip.Exception, match="cannot be moved"):
            request.getfixturevalue("clock")


async def test_a_real_store_is_left_as_it_was(tmp_path: Path) -> None:
    from holdfast.testing.fixtures import _empty

    async with Persist(f"sqlite:///{tmp_path / 'app.db'}", namespace="test1") as mine:
        driver = driver_for(f"sqlite:///{tmp_path / 'app.db'}")
        async with Persist(driver, namespace="test11") as theirs:
            await mine.set("k", 1)
            await mine.namespace("inner").set("k", 1)
            async with mine.lock("l"):
                pass
            await theirs.set("k", 1)
            await _empty(driver, "test1")
            assert await mine.get("k") is None
            assert await mine.namespace("inner").get("k") is None
            assert await theirs.get("k") == 1
