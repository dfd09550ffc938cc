"""What `Persist` itself sees to, whichever driver answers."""

from pathlib import Path

import pytest

from holdfast.errors import InvalidConversion
from holdfast.persist import Persist


async def test_a_made_up_cursor_shows_no_key_outside_of_the_prefix(tmp_path: Path) -> None:
    async with Persist(f"sqlite:///{tmp_path}/app.db", namespace="b") as persist:
        await persist.set("other", 1)
        await persist.set("u:1", 1)
        for cursor in ("", "a", "b:p:", "b:p:a"):
            page, _ = await persist.page("u:", cursor=cursor)
            assert page == ["u:1"]
            page, _ = await persist.namespace("inner").page(cursor=cursor)
            assert page == []


@pytest.mark.parametrize("operation", ["get", "entry", "update", "get_many", "entries", "get_or_create"])
async def test_a_failed_conversion_names_the_operation_that_was_called(operation: str) -> None:
    async with Persist() as persist:
        await persist.set("k", "text")
        calls = {
            "get": lambda: persist.get("k", int),
            "entry": lambda: persist.entry("k", int),
            "update": lambda: persist.update("k", int, lambda old: 1),
            "get_many": lambda: persist.get_many(["k"], int),
            "entries": lambda: persist.entries(["k"], int),
            "get_or_create": lambda: persist.get_or_create("k", int, lambda: 1),
        }
        with pytest.raises(InvalidConversion, match=rf"^{operation} 'k'"):
            await calls[operation]()
