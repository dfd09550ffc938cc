"""Whether a page links to a target: by media type, exactly, and where."""

import json

import pytest
from tests.unit.webmention.nested_pages import NESTED

from holdfast.webmention.verification import verify

TARGET = "https://alice.example/post"
SOURCE = "https://bob.example/notes/1"


@pytest.mark.parametrize(
    ("html", "where"),
    [
        (f'<a href="{TARGET}">x</a>', "a href"),
        (f"<a class=u-in-reply-to rel=nofollow href={TARGET}></a>", "a href"),
        (f"<map><area href='{TARGET}'></map>", "area href"),
        (f"<img src={TARGET}>", "img src"),
        (f"<video src={TARGET}></video>", "video src"),
        (f"<video poster={TARGET}></video>", "video poster"),
        (f"<audio src={TARGET}></audio>", "audio src"),
        (f"<video><source src={TARGET}></video>", "source src"),
        (f"<iframe src={TARGET}></iframe>", "iframe src"),
        (f"<embed src={TARGET}>", "embed src"),
        (f"<object data={TARGET}></object>", "object data"),
        (f"<blockquote cite={TARGET}>x</blockquote>", "blockquote cite"),
        (f"<q cite={TARGET}>x</q>", "q cite"),
        (f"<ins cite={TARGET}>x</ins>", "ins cite"),
        (f"<del cite={TARGET}>x</del>", "del cite"),
        (f"<link class=u-like-of href={TARGET}>", "link href"),
        (f"<data class=u-like-of value={TARGET}></data>", "data value"),
        (f"<template></template><p>y<a name=z><a href={TARGET}>x", "a href"),
    ],
)
def test_html_links_by_its_elements(html: str, where: str) -> None:
    assert verify(html, "text/html", TARGET) == where
    assert verify(html.encode(), "Application/XHTML+XML; charset=utf-8", TARGET) == where


@pytest.mark.parametrize(
    "html",
    [
        TARGET,
        f"<p title={TARGET}>{TARGET}</p>",
        f'<!-- <a href="{TARGET}">x</a> -->',
        f'<code>&lt;a href="{TARGET}"&gt;</code>',
        f'<script>"<a href={TARGET}>"</script>',
        f'<style><a href="{TARGET}"></style>',
        f'<template><a href="{TARGET}">x</a></template>',
        f'<textarea><a href="{TARGET}">x</a></textarea>',
        f'<a data-href="{TARGET}">x</a>',
        f'<a href="https://evil.example/?{TARGET}">x</a>',
        f'<link rel=canonical href="{TARGET}">',
        f'<data value="{TARGET}">',
        f'<a href="{TARGET}',
        "",
    ],
)
def test_what_only_names_the_target_is_no_link(html: str) -> None:
    assert verify(html, "text/html", TARGET, base=SOURCE) is None


@pytest.mark.parametrize("other", ["2", "/", "?q", "#top", "/../post2", "%20"])
def test_a_longer_url_is_another(other: str) -> None:
    for body, media_type in [
        (f'<a href="{TARGET}{other}">x</a>', "text/html"),
        (json.dumps({"url": TARGET + other}), "application/json"),
        (f"see {TARGET}{other} and", "text/plain"),
    ]:
        assert verify(body, media_type, TARGET) is None
        assert verify(body, media_type, TARGET + other) is not None


def test_a_fragment_is_part_of_the_url_in_both_ways() -> None:
    assert verify(f"<a href={TARGET}>x</a>", "text/html", TARGET + "#top") is None
    assert verify(f"<a href={TARGET}#top>x</a>", "text/html", TARGET + "#top") == "a href"


def test_other_spellings_of_the_same_url_are_the_same() -> None:
    html = '<a href="HTTPS://Alice.Example:443/./post">x</a>'
    assert verify(html, "text/html", TARGET) == "a href"
    assert verify(
        "<a href=https://alice.example/caf&eacute;>x</a>", "text/html", "https://alice.example/caf%C3%A9"
    )
    assert verify(
        "<a href='https://alice.example/?a&amp;copy=b'>x</a>", "text/html", "https://alice.example/?a&copy=b"
    )
    assert verify("<a href=http://alice.example/post>x</a>", "text/html", TARGET) is None


def test_relative_links_are_seen_from_the_source_and_its_base() -> None:
    assert verify("<a href=/post>x</a>", "text/html", TARGET, base="https://alice.example/2") == "a href"
    assert verify("<a href=/post>x</a>", "text/html", TARGET, base=SOURCE) is None
    assert verify("<a href=/post>x</a>", "text/html", TARGET) is None
    assert (
        verify("<base href=//alice.example><a href=post>x</a>", "text/html", TARGET, base=SOURCE) == "a href"
    )
    assert verify("<base href=https://alice.example><a href=post>x</a>", "text/html", TARGET) == "a href"


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"in-reply-to": TARGET}, "property in-reply-to"),
        ({"a": [{"b": ["x", TARGET]}]}, "property b"),
        ([[TARGET]], "value"),
        (TARGET, "value"),
        ({"a": 1, "b": None, "c": True, "d": {}, "url": TARGET}, "property url"),
        ({TARGET: "x"}, None),
        ({"text": f"see {TARGET}"}, None),
        ({"a": "http://[", "b": 1.5}, None),
    ],
)
def test_json_links_by_its_values(document: object, where: str | None) -> None:
    assert verify(json.dumps(document).encode(), "application/json", TARGET) == where
    assert verify(json.dumps(document), "application/activity+json; charset=utf-8", TARGET) == where


def test_the_first_property_of_a_document_is_told() -> None:
    assert verify(json.dumps({"a": [TARGET], "b": TARGET}), "application/json", TARGET) == "property a"


@pytest.mark.parametrize(
    "wrong", [b"{", b"", b"\xff", b"[" * 1_000_000, b'{"a":' * 200_000, b'"https://alice.example/post']
)
def test_json_that_is_none_links_to_nothing(wrong: bytes) -> None:
    assert verify(wrong, "application/json", TARGET) is None


def test_json_may_be_a_text_with_anything_in_it() -> None:
    assert verify('{"a": "\ud800", "b": "https://alice.example/post"}', "application/json", TARGET) is None


@pytest.mark.parametrize(
    "text",
    [
        TARGET,
        f"see {TARGET}.",
        f"({TARGET})",
        f"<{TARGET}>, and",
        f'"{TARGET}"',
        f"[x]({TARGET})",
        f"line\n{TARGET}\nline",
        "HTTPS://alice.example/post!",
    ],
)
def test_a_text_is_searched_for_the_url_between_its_boundaries(text: str) -> None:
    assert verify(text, "text/plain", TARGET) == "text"
    assert verify(text.encode(), "text/markdown; charset=utf-8", TARGET) == "text"


@pytest.mark.parametrize("text", [f"x{TARGET}", "alice.example/post", f"https://evil.example/{TARGET}", ""])
def test_a_text_that_holds_the_url_within_another_word_does_not_link(text: str) -> None:
    assert verify(text, "text/plain", TARGET) is None


def test_a_target_that_ends_in_punctuation_is_found_where_it_is_written_out() -> None:
    assert verify("see https://alice.example/who? yes", "text/plain", "https://alice.example/who?") == "text"
    assert verify("see https://alice.example/a_(b)", "text/plain", "https://alice.example/a_(b)") == "text"


def test_a_feed_is_searched_as_text() -> None:
    atom = f'<feed><link href="{TARGET}"/><content>&lt;a href="https://alice.example/2?a&amp;amp;b"&gt;</content></feed>'
    assert verify(atom, "application/atom+xml", TARGET) == "text"


@pytest.mark.parametrize(
    "media_type", ["image/png", "application/pdf", "application/octet-stream", "video/mp4", ""]
)
def test_what_is_no_text_links_to_nothing(media_type: str) -> None:
    assert verify(f"<a href={TARGET}>{TARGET}</a>", media_type, TARGET) is None


@pytest.mark.parametrize(
    "target", ["", "no url", "javascript:x", "mailto:x@alice.example", "https://me@alice.example/"]
)
def test_a_target_that_is_no_web_address_is_linked_from_nowhere(target: str) -> None:
    for media_type in ("text/html", "text/plain", "application/json"):
        assert verify(f'"{target}"<a href="{target}">', media_type, target) is None


def test_bytes_are_read_in_the_charset_that_the_answer_names() -> None:
    html = f'<a href="{TARGET}">x</a>'
    assert verify(html.encode("utf-16-be"), "text/html; charset=utf-16be", TARGET) == "a href"
    assert verify(
        "<a href=https://alice.example/ü>".encode("cp1252"), "text/html", "https://alice.example/%C3%BC"
    )


@pytest.mark.parametrize("kind", NESTED)
def test_a_link_behind_a_hostile_megabyte_is_found_or_swallowed(kind: str) -> None:
    swallows = {"templates", "comments", "scripts", "sections"}
    html = NESTED[kind] + '">' * (kind not in swallows) + f"</title><a href={TARGET}>x</a>"
    assert verify(html, "text/html", TARGET) == (None if kind in swallows else "a href")
