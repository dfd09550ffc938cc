"""What a type checker must say about the API; `test_answers.py` runs mypy and pyright over this file."""

from dataclasses import dataclass
from typing import Any, assert_type

from holdfast.persist import Entry, Persist


@dataclass
class User:
    name: str


async def answers(persist: Persist) -> None:
    assert_type(await persist.get("k", User), User | None)
    assert_type(await persist.get("k", User, renew=60), User | None)
    assert_type(await persist.get("k", list[User]), list[User] | None)
    assert_type(await persist.get("k", int), int | None)
    assert_type(await persist.get("k"), Any)
    assert_type(await persist.entry("k", User), Entry[User] | None)
    assert_type(await persist.get_many(["k"], User), dict[str, User])
    assert_type(await persist.entries(["k"], User), dict[str, Entry[User]])
    assert_type(await persist.remove("k"), bool)
    assert_type(await persist.touch("k", 60), bool)
    assert_type(await persist.increment("n", by=2, expires=60), int)
    assert_type(await persist.replace("k", User("Ada"), version="1"), str)

    def rename(user: User | None) -> User:
        return User("Ada") if user is None else User(user.name.upper())

    async def load() -> User:
        return User("Ada")

    assert_type(await persist.update("k", User, rename), User)
    assert_type(await persist.get_or_create("k", User, load, expires=60), User)
    assert_type(await persist.get_or_create("k", User, lambda: User("Ada")), User)
    async for key in persist.keys("user:"):
        assert_type(key, str)
    async with persist.lock("nightly", expires=30, wait=0) as fence:
        assert_type(fence, int)
