"""Two processes on one store: one `create` wins, counters add up, one loader, one lock holder."""

from itertools import pairwise

import pytest
from tests.acceptance.conftest import ENGINES
from tests.acceptance.proof.figures import SOAK, record
from tests.acceptance.proof.processes import Worker

from holdfast.persist import Persist

pytestmark = pytest.mark.soak


async def both(what: str, url: str, namespace: str, number: int) -> list[list[str]]:
    """What two workers said, let loose at the same moment."""
    async with Persist(url, namespace=namespace, auto_migrate=True):
        pass
    with Worker(what, url, namespace, number) as one, Worker(what, url, namespace, number) as other:
        one.go()
        other.go()
        return one.finish() + other.finish()


@pytest.mark.parametrize("engine", ENGINES)
async def test_of_two_creates_exactly_one_wins(engine: str, url: str, namespace: str) -> None:
    prizes = 2000 if SOAK else 200
    won = [int(words[1]) for words in await both("create", url, namespace, prizes) if words[0] == "won"]
    assert sorted(won) == list(range(prizes))
    record("two processes create", engine, f"{prizes:,} keys, each created once")


@pytest.mark.parametrize("engine", ENGINES)
async def test_counters_of_two_processes_add_up(engine: str, url: str, namespace: str) -> None:
    each = 5000 if SOAK else 500
    await both("count", url, namespace, each)
    async with Persist(url, namespace=namespace) as persist:
        assert await persist.get("hits", int) == 2 * each
    record("two processes count", engine, f"{2 * each:,} increments, all there")


@pytest.mark.parametrize("engine", ENGINES)
async def test_one_loader_runs_for_each_key(engine: str, url: str, namespace: str) -> None:
    keys = 200 if SOAK else 20
    said = await both("load", url, namespace, keys)
    loading = sorted(int(words[1]) for words in said if words[0] == "loading")
    assert loading == list(range(keys)), "a key was loaded twice, or never"
    values = {tuple(words[1:]) for words in said if words[0] == "loaded"}
    assert len(values) == keys, "the processes saw different values"
    record("two processes load", engine, f"{keys} keys, each loaded once")


@pytest.mark.parametrize("engine", ENGINES)
async def test_one_holder_has_the_lock(engine: str, url: str, namespace: str) -> None:
    times = 200 if SOAK else 20
    said = await both("lock", url, namespace, times)
    held = sorted((int(entered), int(left), int(fence)) for what, fence, entered, left in
                  (words for words in said if words[0] == "held"))  # fmt: skip
    assert len(held) == 2 * times
    for (_, left, fence), (entered, _, next_fence) in pairwise(held):
        assert left < entered, "two holders at once"
        assert fence < next_fence, "a fence did not grow"
    record("two processes lock", engine, f"{2 * times} holders, never two at once, fences only grew")
