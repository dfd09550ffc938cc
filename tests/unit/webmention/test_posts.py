"""What of a page is its post."""

from __future__ import annotations

import pytest

from holdfast.webmention import find_links, read_post

URL = "https://alice.example/post"
ENTRY = """
<article class="h-entry">{before}
 <h1 class="p-name">On {name}</h1>
 <a class="u-in-reply-to" href="https://bob.example/1">Bob</a>
 <div class="e-content">I agree with <a href="https://carol.example/">Carol</a>.</div>
 <a class="u-url" href="/post">link</a>{after}
</article>
"""


def page(before="", after="", name="masts", around="{}"):
    entry = ENTRY.format(before=before, after=after, name=name)
    return f"<!doctype html><title>x</title><body>{around.format(entry)}</body>"


def test_a_new_footer_is_no_new_post():
    plain = read_post(page(), URL)
    footed = read_post(page(around='{}<footer><a href="https://dave.example/">d</a></footer>'), URL)
    assert plain == footed
    assert plain.how == "h-entry"
    assert find_links(plain.html, base=URL) == ["https://bob.example/1", "https://carol.example/"]


@pytest.mark.parametrize(
    "aside",
    [
        '<div class="u-comment h-cite"><a class="u-url" href="https://eve.example/">Eve</a>: yes</div>',
        '<a class="u-like h-cite" href="https://eve.example/like">liked</a>',
        '<section class="hf-mentions"><a href="https://eve.example/">Eve</a></section>',
        '<script nonce="7f3">https://eve.example/</script>',
    ],
)
def test_what_others_answered_and_what_nobody_reads_is_not_the_post(aside):
    assert read_post(page(after=aside), URL) == read_post(page(), URL)
    bare = '<div class="h-entry">Hello <a href="https://bob.example/">Bob</a>{}</div>'
    assert read_post(bare.format(aside), URL) == read_post(bare.format(""), URL)


def test_a_like_of_somebody_is_what_the_post_says():
    liked = '<div class="h-entry"><a class="u-like-of h-cite" href="https://bob.example/">b</a></div>'
    assert find_links(read_post(liked, URL).html, base=URL) == ["https://bob.example/"]


def test_a_changed_title_and_a_changed_answer_to_an_invitation_are_a_changed_post():
    assert read_post(page(), URL) != read_post(page(name="sails"), URL)
    yes, no = (
        read_post(page(after=f'<data class="p-rsvp" value="{word}">{word}</data>'), URL)
        for word in ("yes", "no")
    )
    assert yes != no


def test_links_are_seen_from_the_base_of_the_page():
    html = f'<base href="https://bob.example/">{ENTRY}'.replace("https://carol.example/", "/2")
    assert "https://bob.example/2" in find_links(read_post(html, URL).html, base=URL)


def test_of_several_entries_the_page_is_about_the_one_with_its_address():
    other = '<article class="h-entry"><a class="u-url" href="/other">o</a></article>'
    assert read_post(page(around=other + "{}"), URL + "#top").html == read_post(page(), URL).html


def test_a_page_of_entries_lists_them():
    feed = '<div class="h-feed">' + "".join(
        f'<article class="h-entry"><a class="u-url" href="/{name}">x</a><p class="e-content">y</p></article>'
        for name in ("a", "b", "a#again")
    )
    assert read_post(feed, "https://alice.example/").listed == (
        "https://alice.example/a",
        "https://alice.example/b",
    )
    assert not read_post(page(), URL).listed


@pytest.mark.parametrize(
    ("html", "how"),
    [
        ("<nav>n</nav><main>said</main><footer>f</footer>", "main"),
        ("<nav>n</nav><article>said</article>", "article"),
        ("<body>said</body>", "page"),
        ("said", "page"),
    ],
)
def test_without_microformats_it_is_what_most_likely_is_meant(html, how):
    found = read_post(html, URL)
    assert (found.html, found.how) == ("said", how)


def test_a_megabyte_of_nested_elements_is_read():
    assert read_post("<div>" * 200_000 + '<p class="h-entry">x', URL).how in ("h-entry", "page")
