"""Keys and values are text, all of it: nothing is folded, trimmed, escaped away or taken for a pattern."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.persist.driver import Create, Get, Remove, Set
from holdfast.testing.persist.subject import Subject, SuiteCore, case, read, same

__all__ = ["TextCases"]

KEYS = (
    *("key", "Key", "KEY", "kEy"),  # case
    *("a", "a ", "a  ", " a", "a\t", "a\n", "a\r\n"),  # spaces, at the end above all
    *("é", "e\u0301", "e", "É"),  # composed and decomposed
    *("ß", "ss", "SS", "ẞ", "ı", "i", "I", "İ", "ﬁ", "fi", "ﬀ"),  # what folding would join
    *("日本語", "日本", "עברית", "ｆｕｌｌ", "full", "½", "1⁄2"),
    *("🦑", "👩‍👩‍👧", "👩", "🏳️‍🌈", "\U0010ffff", "\uffff", "\ufffd", "\ud7ff", "\ue000"),
    *("%", "_", "%%", "a%", "a_", "\\", "\\\\", "\\%", "a\\_b"),  # LIKE
    *(
        "*",
        "?",
        "a*",
        "[a]",
        "[^a]",
        "[a-z]",
        "{a}",
        "{a}b",
        "{",
        "}",
        "{}",
        "(a|b)",
        ".*",
        "^$",
    ),  # glob, slots
    *("'", "''", '"', "`", "; DROP TABLE holdfast_persist; --", "$1", ":name", "%s", "%(a)s", "?1", "@x"),
    *("a:b", "a:b:c", ":", "::", ":a", "a:", "/", "a/b", "..", "\x01", "\x7f", "\x1b[0m", "\u200b", "\u202e"),
    *("null", "None", "0", "00", "0.0", "-0", "1e1", "10", "true"),
)

VALUES: tuple[Any, ...] = (
    *(
        "",
        "text",
        'quote " and \\ slash',
        "\x00 nul inside",
        "line\nbreak\ttab",
        "é e\u0301 ß 日本語 🦑",
        "\u2028",
    ),
    *(0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1),
    *(0.5, 1.0, -0.0, 1e22, 1e-7, 1.7976931348623157e308, 5e-324, 0.1),
    *(True, False, None, [], {}, [None, 1, "1", 1.0, True]),
    {"z": 1, "a": [{"nested": {"deep": [1, 2, {"x": None}]}}], "": "empty key", "Ä ö": "🦑", "\x00": 1},
    {str(number): number for number in range(100)},
)


class TextCases(SuiteCore):
    """Any key that the API lets through, and any value that msgspec encodes."""

    @case
    async def test_keys_that_look_alike_are_different_keys(self, s: Subject) -> None:
        for number, key in enumerate(KEYS):
            assert await s.do(Create(key, b"%d" % number, None)) is True, f"{key!r} is taken for another"
        for number, key in enumerate(KEYS):
            assert read(await s.do(Get(key))) == number, f"{key!r} reads another's value"

    @case
    async def test_keys_that_look_alike_stay_apart_in_one_batch(self, s: Subject) -> None:
        created = await s.batch(*(Create(key, b"%d" % number, None) for number, key in enumerate(KEYS)))
        assert created == [True] * len(KEYS)
        assert await s.values(KEYS) == list(range(len(KEYS)))
        removed = await s.batch(*(Remove(key) for key in KEYS[::2]))
        assert removed == [True] * len(KEYS[::2])
        left = await s.batch(*map(Get, KEYS))
        assert [text is None for text in left] == [number % 2 == 0 for number in range(len(KEYS))]

    @case
    async def test_keys_come_back_from_a_listing_as_they_went_in(self, s: Subject) -> None:
        await s.batch(*(Set(key, b"1", None) for key in KEYS))
        assert set(await s.keys(limit=7)) == set(KEYS)

    @case
    async def test_a_prefix_is_plain_text(self, s: Subject) -> None:
        await s.batch(*(Set(key, b"1", None) for key in KEYS))
        for prefix in KEYS:
            wanted = {key for key in KEYS if key.startswith(prefix)}
            assert set(await s.keys(prefix)) == wanted, f"prefix {prefix!r}"

    @case
    async def test_clear_takes_its_prefix_as_plain_text(self, s: Subject) -> None:
        for prefix in ("a_", "%", "*", "[a]", "\\", "KEY", "{a}", "a ", "\U0010ffff", "\ud7ff", "é"):
            await s.batch(*(Set(key, b"1", None) for key in KEYS))
            wanted = {key for key in KEYS if not key.startswith(prefix)}
            assert await s.clear(prefix) == len(KEYS) - len(wanted), f"prefix {prefix!r}"
            assert set(await s.keys()) == wanted, f"prefix {prefix!r}"

    @case
    async def test_a_key_may_have_512_bytes(self, s: Subject) -> None:
        longest = ["k" * 512, "k" * 511 + "K", "é" * 256, "🦑" * 128, "日" * 170 + "ab", "k" * 511]
        await s.batch(*(Set(key, b"%d" % number, None) for number, key in enumerate(longest)))
        assert await s.values(longest) == list(range(len(longest)))
        assert set(await s.keys()) == set(longest)
        assert await s.keys("k" * 512) == ["k" * 512]
        assert await s.clear("🦑" * 128) == 1

    @case
    async def test_values_come_back_as_the_json_they_were(self, s: Subject) -> None:
        texts = [msgspec.json.encode(value) for value in VALUES]
        await s.batch(*(Set(f"k{number}", text, None) for number, text in enumerate(texts)))
        for number, text in enumerate(texts):
            got = read(await s.do(Get(f"k{number}")))
            assert same(got, read(text)), f"{text[:60]!r} came back as {got!r}"

    @case
    async def test_a_value_of_one_mebibyte_is_kept_whole(self, s: Subject) -> None:
        plain = b'"' + b"x" * ((1 << 20) - 2) + b'"'
        wide = ('"' + "🦑" * ((1 << 18) - 1) + '"').encode()
        await s.do(Set("plain", plain, None))
        assert read(await s.do(Get("plain"))) == read(plain)
        assert await s.batch(Set("wide", wide, None), Create("again", plain, None)) == [None, True]
        values = await s.values(["wide", "again", "plain"])
        assert values == [read(wide), read(plain), read(plain)]
