"""One document: what comes back, under which name, with which number and version."""

from __future__ import annotations

from holdfast.testing.webmention.running import SuiteCore, case
from holdfast.testing.webmention.subject import DATA, HOUR, Subject, body, ids, numbers
from holdfast.webmention.driver import Drop, Put

__all__ = ["DocumentCases"]

TEXTS = (
    b"{}",
    b'{"b":1,"a":2,"a":3}',  # neither sorted nor made unique
    b' { "spaced" :\n [ 1 , 2.0, 1e2, 1E400 , -0 ] }\t',
    '{"é":"ü🦑\u2028"}'.encode(),
    b'{"escaped":"\\u00e9\\u0000\\/\\ud83e\\udd91"}',
    b'"\'; DROP TABLE mentions; -- %s {} $1 ?"',
    b"123456789012345678901234567890.10",
    b"null",
)
ALIKE = (
    "a",
    "A",
    "a ",
    " a",
    "aa",
    "ab",
    "a%",
    "a_",
    "a*",
    "[a]",
    "a?",
    "a:b",
    'a"b',
    "a'b",
    "a\\b",
    "a,b",
    "{a}",
    "~",
    "0",
    "00",
    "1",
    "1.0",
    "l" * 199,
    "l" * 200,
    "l" * 199 + "L",
)


class DocumentCases(SuiteCore):
    """Put, get and drop."""

    @case
    async def test_data_comes_back_as_the_text_that_it_was(self, s: Subject) -> None:
        assert await s.write(*(Put("o", f"text{at}", text) for at, text in enumerate(TEXTS)))
        found = await s.driver.get(s.kind("o"), [f"text{at}" for at in range(len(TEXTS))])
        for text, document in zip(TEXTS, found, strict=True):
            assert document is not None
            assert type(document.data) is bytes, f"data is {type(document.data).__name__}"
            assert document.data == text
        assert [each.data for each in await s.page()] == list(TEXTS), "a page re-encodes"

    @case
    async def test_a_document_comes_back_as_it_was_put(self, s: Subject) -> None:
        start = s.wall()
        assert await s.write(Put("o", "one", DATA, ("x", "y"), HOUR))
        assert await s.write(Put("o", "two", body(2)))
        end = s.wall()
        one, two = await s.there("one"), await s.there("two")
        assert (one.data, sorted(one.tags)) == (DATA, ["x", "y"])
        assert one.due is not None
        assert start - s.skew <= one.due - HOUR <= end + s.skew, f"due at {one.due}, put at {start}"
        assert (two.data, tuple(two.tags), two.due) == (body(2), (), None)

    @case
    async def test_the_largest_documents_come_back_whole(self, s: Subject) -> None:
        largest = b'{"long!":"%s"}' % ("abé".encode() * ((1 << 18) - 3))
        assert len(largest) == 1 << 20
        assert (await s.put("long", largest)).data == largest
        ((page),) = await s.page()
        assert page.data == largest

    @case
    async def test_get_answers_by_position(self, s: Subject) -> None:
        await s.fill(("a", "b", "c"))
        asked = ["c", "none", "a", "c", "b"]
        found = await s.driver.get(s.kind("o"), asked)
        assert [each and each.id for each in found] == ["c", None, "a", "c", "b"]
        assert [each and each.data for each in found] == [body("c"), None, body("a"), body("c"), body("b")]

    @case
    async def test_nothing_is_answered_where_nothing_is_asked(self, s: Subject) -> None:
        await s.fill(("a",))
        kind = s.kind("o")
        assert await s.driver.write([]) is True
        assert list(await s.driver.get(kind, [])) == []
        assert list(await s.driver.count(kind, [])) == []
        assert await s.get("a", "empty") is None
        assert await s.page(kind="empty") == []
        assert await s.count("", "x", kind="empty") == [0, 0]
        assert await s.claim(kind="empty") == []
        assert await s.next_due("empty") is None

    @case
    async def test_ids_that_look_alike_are_different_ids(self, s: Subject) -> None:
        assert await s.write(*(Put("o", id, body(at)) for at, id in enumerate(ALIKE)))
        found = await s.driver.get(s.kind("o"), ALIKE)
        assert [each and each.data for each in found] == [body(at) for at in range(len(ALIKE))]
        for gone in range(0, len(ALIKE), 2):
            assert await s.drop(ALIKE[gone])
        assert ids(await s.page()) == list(ALIKE[1::2])

    @case
    async def test_kinds_that_look_alike_are_different_kinds(self, s: Subject) -> None:
        kinds = ("o", "O", "oo", "o:", "o%", "_", "i")
        for kind in kinds:
            await s.put("same", body(kind), kind=kind, tags=("x",), wait=0)
        for kind in kinds:
            assert (await s.there("same", kind)).data == body(kind)
            assert [each.data for each in await s.page("x", kind=kind)] == [body(kind)]
            assert await s.count("", "x", kind=kind) == [1, 1]
        assert [each.data for each in await s.claim(9, kind="o")] == [body("o")]
        assert await s.drop("same")
        assert await s.get("same") is None
        assert [each.data for each in await s.claim(9, kind="oo")] == [body("oo")]
        assert await s.next_due("i") == 0

    @case
    async def test_what_a_put_does_not_name_is_gone(self, s: Subject) -> None:
        first = await s.put("one", body(1), tags=("x", "y"), wait=0)
        second = await s.put("one", body(2), tags=("y", "z"))
        assert (second.data, sorted(second.tags), second.due) == (body(2), ["y", "z"], None)
        assert second.number == first.number, "a document got another number"
        assert await s.count("x", "y", "z", "") == [0, 1, 1, 1]
        assert await s.page("x") == []
        assert await s.page("z") == [second]
        assert await s.claim() == []
        assert await s.next_due() is None
        third = await s.put("one", body(3))
        assert tuple(third.tags) == ()
        assert await s.count("y", "z", "") == [0, 0, 1]

    @case
    async def test_a_dropped_document_is_nowhere(self, s: Subject) -> None:
        await s.put("gone", tags=("x",), wait=0)
        await s.put("stays", tags=("x",), wait=HOUR)
        assert await s.drop("gone")
        assert await s.get("gone") is None
        assert ids(await s.page()) == ids(await s.page("x")) == ["stays"]
        assert await s.count("", "x") == [1, 1]
        assert await s.claim(9) == []
        due = await s.next_due()
        assert due is not None
        assert due > HOUR // 2

    @case
    async def test_a_document_that_comes_back_has_nothing_of_the_one_that_went(self, s: Subject) -> None:
        await s.put("one", body(1), tags=("x",), wait=0)
        assert await s.drop("one")
        again = await s.put("one", body(2))
        assert (tuple(again.tags), again.due) == ((), None)
        assert await s.count("", "x") == [1, 0]
        assert await s.claim() == []

    @case
    async def test_dropping_what_is_not_there_is_no_error(self, s: Subject) -> None:
        assert await s.drop("nothing")
        assert await s.write(Put("o", "one", DATA), Drop("o", "nothing"))
        assert await s.get("one") is not None

    # --- numbers ---

    @case
    async def test_numbers_grow_within_the_store(self, s: Subject) -> None:
        made = [await s.put(f"d{turn}", kind="oi"[turn % 2]) for turn in range(12)]
        assert await s.write(*(Put("o", f"more{at}", DATA) for at in range(5)))
        more = await s.driver.get(s.kind("o"), [f"more{at}" for at in range(5)])
        given = [*numbers(made), *(each.number for each in more if each)]
        assert all(isinstance(each, int) for each in given), given
        assert given == sorted(set(given)), f"numbers do not grow: {given}"
        assert given[0] > 0

    @case
    async def test_a_number_is_never_given_twice(self, s: Subject) -> None:
        given: list[int] = []
        for turn in range(6):
            given += numbers([await s.put("one"), await s.put(f"two{turn}", kind="i")])
            await s.drop("one")
            await s.drop(f"two{turn}", kind="i")
        assert given == sorted(set(given)), f"a number came back: {given}"

    @case
    async def test_a_document_keeps_its_number(self, s: Subject) -> None:
        first = await s.put("one", wait=0)
        await s.put("two")
        assert (await s.put("one", body(2), wait=0)).number == first.number
        assert numbers(await s.claim()) == [first.number]
        assert ids(await s.page()) == ["one", "two"]

    # --- versions ---

    @case
    async def test_every_change_gives_another_version(self, s: Subject) -> None:
        seen = []
        for _ in range(3):
            seen.append((await s.put("one", wait=0)).version)  # the very same, again
            (claimed,) = await s.claim()
            seen.append(claimed.version)
        assert len(set(seen)) == 6, seen
        assert (await s.there("one")).version == seen[-1], "a look changes the version"
        await s.put("other")
        assert (await s.there("one")).version == seen[-1], "another document's change changes the version"

    @case
    async def test_a_version_never_comes_back(self, s: Subject) -> None:
        seen = []
        for turn in range(8):
            seen += [(await s.put("one", body(again))).version for again in range(turn % 3 + 1)]
            assert await s.drop("one")
        assert len(set(seen)) == len(seen), f"a version came back: {seen}"
        await s.put("one")
        for old in seen:
            assert not await s.write(Put("o", "one", body("late"), expect=old)), (
                "a version from before its removal"
            )

    @case
    async def test_a_version_is_a_short_text(self, s: Subject) -> None:
        version = (await s.put("one")).version
        assert isinstance(version, str)
        assert 1 <= len(version) <= 64
        assert version.isascii()
