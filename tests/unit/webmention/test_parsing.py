"""What a page says about a target."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.webmention.mentions import Author, ParsedMention
from holdfast.webmention.parsing import MAX_HTML, MAX_TEXT, parse_mention

SOURCE = "https://alice.example/posts/1"
TARGET = "https://bob.example/post"
LINK = f'<a href="{TARGET}">post</a>'


def parsed(html: str | bytes, source: str = SOURCE, target: str = TARGET) -> ParsedMention:
    return parse_mention(html, source, target)


def entry(inside: str) -> str:
    return f'<!doctype html><title>A page</title><div class="h-entry">{inside}</div>'


def test_a_reply_says_all_of_itself() -> None:
    html = entry(
        f'<h1 class="p-name">On gardens</h1><p>To <a class="u-in-reply-to" href="{TARGET}">Bob</a></p>'
        '<a class="p-author h-card" href="/"><img src="/me.png" alt="">Alice</a>'
        '<div class="e-content"><p>I <b>like</b> <a href="2">them</a>.</p><script>x()</script></div>'
        '<time class="dt-published" datetime="2026-01-02T03:04:05+01:00">then</time>'
        '<time class="dt-updated" datetime="2026-01-03">later</time><a class="u-url" href="/posts/1?a=b">#</a>'
    )
    assert parsed(html) == ParsedMention(
        type="reply",
        author=Author(name="Alice", url="https://alice.example/", photo="https://alice.example/me.png"),
        url="https://alice.example/posts/1?a=b",
        name="On gardens",
        text="I like them.",
        html='<p>I <b>like</b> <a href="https://alice.example/posts/2" rel="nofollow ugc noopener">them</a>.</p>',
        published="2026-01-02T03:04:05+01:00",
        updated="2026-01-03",
    )


@pytest.mark.parametrize(
    ("html", "kind"),
    [
        (f'<a class="u-in-reply-to" href="{TARGET}">x</a>', "reply"),
        (f'<a class="u-like-of" href="{TARGET}">x</a>', "like"),
        (f'<a class="u-repost-of" href="{TARGET}">x</a>', "repost"),
        (f'<a class="u-bookmark-of" href="{TARGET}">x</a>', "bookmark"),
        (f'<a class="u-like-of u-in-reply-to" href="{TARGET}">x</a>', "like"),
        (f'<a class="u-repost-of u-like-of" href="{TARGET}">x</a>', "repost"),
        (f'<div class="u-like-of h-cite"><a class="u-url p-name" href="{TARGET}">x</a></div>', "like"),
        (f'<div class="p-in-reply-to h-cite"><a href="{TARGET}">x</a></div>', "reply"),
        (f'<link class="u-like-of" href="{TARGET}">', "like"),
        (
            f'<a class="u-like-of" href="https://c.example/"></a><a class="u-like-of" href="{TARGET}">x</a>',
            "like",
        ),
        (f'<a class="u-like-of" href="HTTPS://BOB.example:443/post#part">x</a> {LINK}', "like"),
        (f'<a class="u-like-of" href="https://c.example/">x</a> {LINK}', "mention"),
        (f'<a class="u-in-reply-to" href="{TARGET}/more">x</a> {LINK}', "mention"),
        (f'<a class="u-category" href="{TARGET}">x</a>', "mention"),
        (LINK, "mention"),
    ],
)
def test_the_type_is_what_the_entry_says_of_the_target(html: str, kind: str) -> None:
    assert parsed(entry(html)).type == kind


@pytest.mark.parametrize("answer", ["yes", "no", "maybe", "interested"])
def test_an_answer_to_an_invitation_is_of_its_own_type(answer: str) -> None:
    said = parsed(
        entry(
            f'<data class="p-rsvp" value="{answer.upper()}">x</data><a class="u-in-reply-to" href="{TARGET}">'
        )
    )
    assert (said.type, said.rsvp) == ("rsvp", answer)


def test_an_answer_that_is_none_or_to_somebody_else_is_no_answer() -> None:
    said = parsed(entry(f'<b class="p-rsvp">perhaps</b><a class="u-in-reply-to" href="{TARGET}">'))
    assert (said.type, said.rsvp) == ("reply", None)
    said = parsed(
        entry(f'<b class="p-rsvp">yes</b><a class="u-in-reply-to" href="https://c.example/"></a>{LINK}')
    )
    assert (said.type, said.rsvp) == ("mention", None)


def test_a_target_with_a_fragment_is_the_page_it_stands_in() -> None:
    assert (
        parsed(entry(f'<a class="u-like-of" href="{TARGET}">x</a>'), target=f"{TARGET}#part").type == "like"
    )


def test_of_a_feed_the_entry_speaks_that_links_to_the_target() -> None:
    entries = "".join(
        f'<div class="h-entry"><p class="e-content">{n} <a href="https://bob.example/{n}">x</a></p></div>'
        for n in range(100)
    )
    assert parsed(f'<div class="h-feed">{entries}</div>', target="https://bob.example/42").text == "42 x"


def test_of_a_feed_the_entry_speaks_first_that_says_what_it_is() -> None:
    first = f'<div class="h-entry"><p class="e-content">mentions {LINK}</p></div>'
    second = (
        f'<div class="h-entry"><p class="e-content">likes</p><a class="u-like-of" href="{TARGET}"></a></div>'
    )
    said = parsed(f'<div class="h-feed">{first}{second}</div>')
    assert (said.type, said.text) == ("like", "likes")


def test_a_comment_below_a_post_speaks_for_its_own_author() -> None:
    comment = (
        '<div class="p-comment h-cite"><a class="p-author h-card" href="https://carol.example/">Carol</a>'
        f'<p class="e-content">As {LINK} says.</p><a class="u-url" href="https://carol.example/9">#</a></div>'
    )
    said = parsed(entry(f'<b class="p-author">Alice</b><p class="e-content">Words.</p>{comment}'))
    assert said.author == Author(name="Carol", url="https://carol.example/")
    assert said.text == "As post says."
    assert said.url == "https://carol.example/9"


def test_a_comment_without_author_is_not_the_posts_authors() -> None:
    said = parsed(
        entry(
            f'<b class="p-author">Alice</b><div class="p-comment h-cite"><p class="p-content">{LINK}</p></div>'
        )
    )
    assert said.author == Author()


@pytest.mark.parametrize(
    "kind", ["u-in-reply-to h-cite", "u-quotation-of h-cite", "h-cite", "u-like-of h-entry"]
)
def test_what_is_cited_does_not_speak(kind: str) -> None:
    cited = f'<div class="{kind}"><b class="p-author">Bob</b><a class="u-url" href="{TARGET}">x</a> his words</div>'
    said = parsed(entry(f'<b class="p-author">Alice</b>{cited}<p class="e-content">My words.</p>'))
    assert said.author == Author(name="Alice")
    assert said.text == "My words."


def test_nothing_in_what_is_cited_speaks_either() -> None:
    inside = f'<div class="p-comment h-cite"><b class="p-author">Carol</b>{LINK}</div>'
    said = parsed(entry(f'<b class="p-author">Alice</b><div class="u-in-reply-to h-entry">{inside}</div>'))
    assert said.author == Author(name="Alice")


def test_the_entry_that_links_to_a_part_of_the_target_speaks() -> None:
    first = '<div class="h-entry"><p class="e-content">Other.</p></div>'
    second = f'<div class="h-entry"><p class="e-content">See <a href="{TARGET}#part">this</a>.</p></div>'
    assert parsed(first + second).text == "See this."


def test_a_page_about_one_entry_speaks_by_it_also_where_the_link_is_beside_it() -> None:
    said = parsed(entry('<p class="e-content">Words.</p>') + f"<aside>{LINK}</aside>")
    assert (said.type, said.text) == ("mention", "Words.")


def test_a_feed_that_links_from_beside_its_entries_speaks_by_none_of_them() -> None:
    entries = '<div class="h-entry"><p class="e-content">Words.</p></div>' * 2
    said = parsed(f"<title>A page</title>{entries}<aside><p>See {LINK} too</p></aside>")
    assert (said.name, said.text) == ("A page", "See post too")


def test_the_entry_at_the_pages_own_address_stands_for_it() -> None:
    entries = (
        '<div class="h-entry"><p class="e-content">Other.</p><a class="u-url" href="/posts/2"></a></div>'
    )
    entries += (
        '<div class="h-entry"><p class="e-content">This.</p><a class="u-url" href="/posts/1"></a></div>'
    )
    assert parsed(entries + LINK).text == "This."


def test_a_page_without_microformats_gives_its_title_and_the_paragraph_of_the_link() -> None:
    html = (
        '<head><title>On  gardens</title><meta name="author" content="Alice">'
        '<meta property="article:published_time" content="2026-01-02T03:04:05Z"></head>'
        f"<body><p>Before.</p><p>See <b>this {LINK}</b>, please.</p><p>After.</p>"
    )
    assert parsed(html) == ParsedMention(
        author=Author(name="Alice"),
        url=SOURCE,
        name="On gardens",
        text="See this post, please.",
        published="2026-01-02T03:04:05Z",
    )


def test_classic_entries_speak_too() -> None:
    said = parsed(
        '<div class="hentry"><h1 class="entry-title">T</h1><span class="author vcard"><a class="url fn" href="/a">A</a>'
        f'</span><div class="entry-content">See {LINK}</div><a rel="bookmark" href="/posts/7">#</a></div>'
    )
    assert said.author == Author(name="A", url="https://alice.example/a")
    assert (said.name, said.text, said.url) == ("T", "See post", "https://alice.example/posts/7")


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("A title", "Other words", "A title"),
        ("Some words about", "Some words about gardens", None),
        ("Some words…", "Some words about gardens", None),
        ("some  WORDS", "Some words about gardens", None),
        ("Some words about gardens and more", "Some words about gardens", None),
        ("…", "Some words", None),
    ],
)
def test_a_name_that_is_the_beginning_of_the_text_is_no_title(name: str, text: str, kept: str | None) -> None:
    assert parsed(entry(f'<p class="p-name">{name}</p><p class="e-content">{text}</p>{LINK}')).name == kept


def test_a_name_around_the_content_is_no_title() -> None:
    assert parsed(entry(f'<div class="p-name e-content">Words {LINK}</div>')).name is None


def test_a_summary_stands_for_content_that_is_missing() -> None:
    said = parsed(entry(f'<p class="p-summary">In short.</p>{LINK}'))
    assert (said.text, said.html) == ("In short.", None)


def test_text_and_html_are_bounded_and_balanced() -> None:
    said = parsed(entry(f'{LINK}<div class="e-content">' + "<p>word <b>word</b></p>" * 20_000 + "</div>"))
    assert said.text is not None
    assert said.html is not None
    assert len(said.text) <= MAX_TEXT
    assert said.text.endswith("…")
    assert len(said.html) <= MAX_HTML
    assert said.html.count("<p>") == said.html.count("</p>")


def test_html_that_grows_beyond_its_bound_is_left_out() -> None:
    base = '<base href="https://alice.example/' + "x" * 1_000 + '/">'
    said = parsed(base + entry(f'{LINK}<div class="e-content">a' + '<a href="b"></a>' * 1_000 + "</div>"))
    assert (said.text, said.html) == ("a", None)


def test_relative_links_are_those_of_the_base_that_the_page_names() -> None:
    html = '<base href="https://cdn.example/x/">' + entry(f'<a class="u-url" href="1">#</a>{LINK}')
    assert parsed(html).url == "https://cdn.example/x/1"
    assert parsed(html.replace("https://cdn", "javascript://cdn")).url == "https://alice.example/posts/1"


def test_a_target_that_is_linked_relatively_is_found() -> None:
    for target, href in (
        ("https://alice.example/", "/"),
        ("https://alice.example/a/b", "../a/b"),
        (f"{SOURCE}?x", "?x"),
    ):
        assert parsed(entry(f'<a class="u-like-of" href="{href}">x</a>'), target=target).type == "like"


def test_dates_that_are_none_are_left_out() -> None:
    said = parsed(entry(f'<time class="dt-published" datetime="2026-01<script>">x</time>{LINK}'))
    assert said.published is None


def test_no_url_is_other_than_plain_http() -> None:
    for href in (
        "javascript:alert(1)",
        "data:text/html,x",
        "https://u:p@x.example/",
        "ftp://x.example/",
        "http://[",
    ):
        said = parsed(
            entry(
                f'<a class="u-url" href="{href}">x</a><div class="p-author h-card">A<a class="u-url" href="{href}"></a>'
                f'<img class="u-photo" src="{href}"></div><div class="e-content"><a href="{href}">y</a></div>{LINK}'
            )
        )
        assert said.url == SOURCE
        assert said.author == Author(name="A")
        assert said.html is not None
        assert "href" not in said.html


def test_bytes_are_read_in_the_charset_they_name() -> None:
    html = '<meta charset="iso-8859-1">' + entry(f'<p class="p-content">caf\u00e9 {LINK}</p>')
    assert parsed(html.encode("latin-1")).text == "café post"
    assert parsed(entry(f'<p class="p-content">caf\u00e9 {LINK}</p>').encode()).text == "café post"


def test_what_is_no_text_is_left_out_and_can_be_kept() -> None:
    nasty = "a\0b\ud800c\u202ed"
    said = parsed(
        entry(
            f'<b class="p-author">{nasty}</b><b class="p-name">x{nasty}</b><p class="e-content">{nasty}</p>{LINK}'
        )
    )
    kept = msgspec.json.encode(said)
    assert not any(each in kept for each in (b"\\u0000", b"\\ud800", "\u202e".encode()))


def test_a_megabyte_of_anything_takes_no_second() -> None:
    reply = f'<a class="u-in-reply-to" href="{TARGET}">x</a>'
    pages = {
        "nested blocks": "<div>" * 210_000,
        "nested formatting": "<b><a>" * 170_000,
        "nested tables": "<table><tr><td>" * 70_000,
        "nested entries": f'<div class="h-entry">{reply}' * 10_000,
        "entries": f'<div class="h-entry">{LINK}</div>' * 15_000,
        "nested replies": '<div class="h-entry">' + '<div class="u-in-reply-to">' * 30_000 + LINK,
        "nested authors": f'<div class="h-entry">{LINK}' + '<div class="p-author h-card">' * 34_000,
        "nested contents": f'<div class="h-entry">{LINK}' + '<div class="e-content">' * 44_000,
        "many cards": f'<div class="h-entry">{LINK}</div><a rel="author" href="/"></a>'
        + '<a class="h-card" href="/x">' * 37_000,
        "links to the target": LINK * 22_000,
        "links": '<a href="/post">x</a>' * 48_000,
        "class lists": ('<div class="' + "p-a u-b h-c " * 20 + '">') * 4_000,
        "white space": f'<div class="h-entry">{LINK}<p class="p-name">' + " " * 1_000_000 + "x",
        "an attribute": f'<div class="h-entry">{LINK}<a class="u-url" href="' + "x" * 1_000_000 + '">',
        "references": f'<div class="h-entry e-content">{LINK}' + "&amp" * 250_000,
        "brackets": "<" * (1 << 20),
    }
    for what, html in pages.items():
        start = time.process_time()
        parsed(html[: 1 << 20])
        assert time.process_time() - start < 1, what


@given(
    st.lists(
        st.sampled_from(
            [
                '<div class="h-entry">', '<a class="u-in-reply-to h-cite" href="https://bob.example/post">', "</div>",
                '<p class="p-author h-card">', '<a class="u-url" href="javascript:x">', "</a>", "text", "<b>", "\0",
                '<div class="e-content p-name">', '<time class="dt-published">2026-01-01', "\ud800", "<", '"', "&#0;",
                '<div class="hentry">', '<b class="value">', '<img src="x" alt="y" class="u-photo">', "<base href=//[>",
            ]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_whatever_stands_there_it_ends_in_a_mention_that_can_be_kept(pieces: list[str]) -> None:
    said = parsed("".join(pieces))
    assert msgspec.json.decode(msgspec.json.encode(said), type=ParsedMention) == said
    assert all(
        url is None or url.startswith("https://") for url in (said.url, said.author.url, said.author.photo)
    )
