"""webmention.io's formats, written and read."""

import json
import xml.etree.ElementTree as Xml
from typing import Any

import pytest

from holdfast.webmention.formats import (
    MEDIA_TYPES,
    as_atom,
    as_count,
    as_html,
    as_jf2,
    as_json,
    from_dump,
    relation,
)
from holdfast.webmention.mentions import Author, MentionType, ParsedMention, ReceivedMention
from holdfast.webmention.urls import digest

SOURCE, TARGET = "https://alice.example/posts/1", "https://bob.example/post"
KINDS: list[tuple[MentionType, str]] = [
    ("mention", "mention-of"),
    ("reply", "in-reply-to"),
    ("like", "like-of"),
    ("repost", "repost-of"),
    ("bookmark", "bookmark-of"),
    ("rsvp", "rsvp"),
]


def mention(kind: MentionType = "reply", **said: Any) -> ReceivedMention:
    said.setdefault(
        "author", Author(name="Alice", url="https://alice.example/", photo="https://alice.example/me.png")
    )
    return ReceivedMention(
        id=digest(SOURCE, TARGET),
        source_url=SOURCE,
        target_url=TARGET,
        state="accepted",
        number=42,
        received_at=1_767_225_600.0,
        asked_at=1_767_225_600.0,
        verified_at=1_767_225_600.0,
        mention=ParsedMention(type=kind, **said),
    )


WHOLE = mention(
    url=SOURCE,
    name="A title",
    text="Words & more",
    html="<p>Words &amp; more</p>",
    published="2026-01-02T03:04:05+01:00",
)


def test_jf2_has_the_fields_that_webmention_io_has() -> None:
    assert json.loads(as_jf2([WHOLE])) == {
        "type": "feed",
        "name": "Webmentions",
        "children": [
            {
                "type": "entry",
                "author": {
                    "type": "card",
                    "name": "Alice",
                    "photo": "https://alice.example/me.png",
                    "url": "https://alice.example/",
                },
                "url": SOURCE,
                "published": "2026-01-02T03:04:05+01:00",
                "wm-received": "2026-01-01T00:00:00Z",
                "wm-id": 42,
                "wm-source": SOURCE,
                "wm-target": TARGET,
                "wm-protocol": "webmention",
                "name": "A title",
                "content": {"html": "<p>Words &amp; more</p>", "text": "Words & more"},
                "in-reply-to": TARGET,
                "wm-property": "in-reply-to",
                "wm-private": False,
            }
        ],
    }


def test_json_has_the_older_fields() -> None:
    assert json.loads(as_json([WHOLE])) == {
        "links": [
            {
                "source": SOURCE,
                "verified": True,
                "verified_date": "2026-01-01T00:00:00Z",
                "id": 42,
                "private": False,
                "data": {
                    "author": {
                        "name": "Alice",
                        "url": "https://alice.example/",
                        "photo": "https://alice.example/me.png",
                    },
                    "url": SOURCE,
                    "name": "A title",
                    "content": "<p>Words &amp; more</p>",
                    "published": "2026-01-02T03:04:05+01:00",
                    "published_ts": 1767319445,
                },
                "activity": {
                    "type": "reply",
                    "sentence": f"Alice replied to {TARGET}",
                    "sentence_html": f'<a href="https://alice.example/">Alice</a> <a href="{SOURCE}">replied to</a>'
                    f' <a href="{TARGET}">{TARGET}</a>',
                },
                "target": TARGET,
            }
        ]
    }


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_each_type_has_its_property(kind: MentionType, name: str) -> None:
    (entry,) = json.loads(as_jf2([mention(kind)]))["children"]
    assert entry["wm-property"] == relation(mention(kind)) == name
    assert entry["in-reply-to" if kind == "rsvp" else name] == TARGET
    assert ("rsvp" in entry) == (kind == "rsvp")


def test_an_answer_is_told() -> None:
    (entry,) = json.loads(as_jf2([mention("rsvp", rsvp="maybe")]))["children"]
    assert entry["rsvp"] == "maybe"


def test_what_is_missing_has_the_shape_that_readers_expect() -> None:
    (entry,) = json.loads(as_jf2([mention("like", author=Author())]))["children"]
    assert entry["author"] == {"type": "card", "name": "alice.example", "photo": "", "url": ""}
    assert entry["published"] is None
    assert "content" not in entry
    assert "name" not in entry
    (link,) = json.loads(as_json([mention("mention", author=Author(), published="soon")]))["links"]
    assert link["data"]["content"] is None
    assert link["data"]["published_ts"] is None
    assert link["activity"]["type"] == "link"


def test_photos_are_where_the_site_says() -> None:
    for write, path in ((as_jf2, "children"), (as_json, "links")):
        (entry,) = json.loads(write([WHOLE], photo=lambda url: f"https://bob.example/p?{len(url)}"))[path]
        assert entry.get("data", entry)["author"]["photo"] == "https://bob.example/p?28"
        (entry,) = json.loads(write([WHOLE], photo=lambda url: None))[path]
        assert not entry.get("data", entry)["author"]["photo"]


def test_atom_is_xml_with_an_entry_each() -> None:
    nasty = mention(name="<b>&\0\u202e]]>", html="<p>a</p><script>b</script>", author=Author(name="<A>&"))
    feed = Xml.fromstring(as_atom([WHOLE, nasty], url="https://bob.example/api/mentions.atom?target=a&b"))
    atom = "{http://www.w3.org/2005/Atom}"
    assert feed.findtext(f"{atom}id") == "https://bob.example/api/mentions.atom?target=a&b"
    assert feed.findtext(f"{atom}updated") == "2026-01-01T00:00:00Z"
    titles = [each.findtext(f"{atom}title") for each in feed.iter(f"{atom}entry")]
    assert titles == ["A title", "<b>&]]>"]
    contents = [each.text for each in feed.iter(f"{atom}content")]
    assert contents == ["<p>Words &amp; more</p>", "<p>a</p>"]
    assert feed.find(f"{atom}entry/{atom}link").attrib["href"] == SOURCE  # type: ignore[union-attr]


def test_an_empty_feed_is_one_too() -> None:
    assert Xml.fromstring(as_atom([], url="https://bob.example/")).tag.endswith("feed")
    assert json.loads(as_jf2([]))["children"] == []
    assert json.loads(as_json([])) == {"links": []}
    assert b"None yet" in as_html([])


def test_html_is_a_whole_page_that_loads_no_script() -> None:
    page = as_html([WHOLE], heading="<i>Said</i>").decode()
    assert page.startswith("<!doctype html>")
    assert "<title>&lt;i&gt;Said&lt;/i&gt;</title>" in page
    assert "<p>Words &amp; more</p>" in page
    assert "<script" not in page


def test_counts_are_in_all_and_by_type() -> None:
    assert json.loads(as_count({"like": 2, "reply": 1, "mention": 0})) == {
        "count": 3,
        "type": {"like": 2, "reply": 1},
    }
    assert json.loads(as_count({})) == {"count": 0, "type": {}}


def test_no_format_tells_an_address_that_is_no_plain_http() -> None:
    for url in ("javascript:alert(1)", "https://user:secret@x.example/", "data:x"):
        wrong = mention(url=url, author=Author(name="A", url=url, photo=url), html=f'<a href="{url}">b</a>')
        for said in (as_jf2([wrong]), as_json([wrong]), as_html([wrong]), as_atom([wrong], url=TARGET)):
            assert url.encode() not in said


def test_every_format_has_its_media_type() -> None:
    assert set(MEDIA_TYPES) == {"json", "jf2", "html", "atom"}


@pytest.mark.parametrize(("kind", "name"), KINDS)
@pytest.mark.parametrize("write", [as_jf2, as_json])
def test_what_is_written_can_be_read(write: Any, kind: MentionType, name: str) -> None:
    (read,) = from_dump(
        write([mention(kind, text="Words", html="<p>Words</p>", published="2026-01-02", url=SOURCE)])
    )
    assert read.mention is not None
    assert (read.id, read.source_url, read.target_url) == (digest(SOURCE, TARGET), SOURCE, TARGET)
    assert (read.state, read.number) == ("accepted", 0)
    assert read.received_at == read.verified_at == 1_767_225_600.0
    assert read.mention.type == kind
    assert read.mention.html == "<p>Words</p>"
    assert read.mention.author == Author(
        name="Alice", url="https://alice.example/", photo="https://alice.example/me.png"
    )
    assert read.mention.rsvp == ("yes" if kind == "rsvp" else None)


ENTRY = {
    "wm-source": SOURCE,
    "wm-target": TARGET,
    "wm-property": "like-of",
    "wm-received": "2026-01-01T00:00:00Z",
}


def test_a_dump_may_be_a_feed_a_list_one_entry_or_an_entry_a_line() -> None:
    for dump in (
        json.dumps({"type": "feed", "children": [ENTRY, ENTRY]}),
        json.dumps([ENTRY, ENTRY]).encode(),
        "\ufeff" + json.dumps([ENTRY, ENTRY]),
        f"{json.dumps(ENTRY)}\n\n{json.dumps(ENTRY)}\n",
    ):
        assert [each.source_url for each in from_dump(dump)] == [SOURCE, SOURCE]
    assert len(list(from_dump(json.dumps(ENTRY)))) == 1
    assert list(from_dump("[]")) == []


def test_older_entries_name_source_and_target_by_other_fields() -> None:
    (read,) = from_dump(json.dumps([{"url": SOURCE, "in-reply-to": TARGET, "wm-property": "in-reply-to"}]))
    assert (read.source_url, read.target_url) == (SOURCE, TARGET)
    (read,) = from_dump(
        json.dumps(
            [{**ENTRY, "content": {"content-type": "text/html", "value": "<b>a</b><script>b</script>"}}]
        )
    )
    assert read.mention is not None
    assert (read.mention.html, read.mention.text) == ("<b>a</b>", None)
    (read,) = from_dump(json.dumps([{**ENTRY, "content": {"content-type": "text/plain", "value": "a < b"}}]))
    assert read.mention is not None
    assert (read.mention.html, read.mention.text) == (None, "a < b")


def test_what_is_private_or_was_not_verified_stays_so() -> None:
    (private,) = from_dump(json.dumps([{**ENTRY, "wm-private": True}]))
    assert private.private
    (link,) = from_dump(
        json.dumps({"links": [{"source": SOURCE, "target": TARGET, "verified": False, "data": {}}]})
    )
    assert (link.state, link.verified_at, link.private) == ("pending", None, False)


def test_entries_that_are_no_mentions_are_passed_over_and_told() -> None:
    told: list[str] = []
    wrong: list[Any] = [
        3,
        {},
        {**ENTRY, "wm-source": "javascript:alert(1)"},
        {**ENTRY, "wm-target": "https://u:p@x.example/"},
        {**ENTRY, "wm-source": ["x", 3], "wm-target": {"a": []}},
        {"data": {}, "source": None},
    ]
    read = list(from_dump(json.dumps([*wrong, ENTRY]), skipped=told.append))
    assert len(read) == 1
    assert len(told) == len(wrong)
    assert told[0] == "entry 1: no object"
    assert "source" in told[1]
    assert "target" in told[3]
    assert not any("javascript" in each or "u:p" in each for each in told)


def test_whatever_an_entry_holds_it_ends_in_a_mention() -> None:
    strange: list[Any] = [None, 3, True, "x", [], ["x"], {}, {"a": 1}, "\ud800\0"]
    for name in (
        "author",
        "content",
        "url",
        "name",
        "published",
        "rsvp",
        "wm-property",
        "wm-received",
        "wm-private",
    ):
        for value in strange:
            (read,) = from_dump(json.dumps([{**ENTRY, name: value}]))
            assert as_jf2([read])
            assert as_json([read])
    for name in ("author", "content", "url", "published"):
        for value in strange:
            (read,) = from_dump(
                json.dumps([{"source": SOURCE, "target": TARGET, "data": {name: value}, "activity": value}])
            )
            assert as_jf2([read])


def test_what_is_no_json_is_an_error_that_does_not_repeat_it() -> None:
    for dump in ("", "secret", b"\xff\xfe", "3", '"secret"', "[" * 100_000):
        with pytest.raises(ValueError) as caught:
            list(from_dump(dump))
        assert "secret" not in str(caught.value)


def test_times_that_are_none_are_no_reason_to_lose_a_mention() -> None:
    for said in ("soon", "9999-99-99", "0001-01-01T00:00:00+14:00", "", None):
        (read,) = from_dump(json.dumps([{**ENTRY, "wm-received": said}]))
        assert as_atom([read], url=TARGET)
