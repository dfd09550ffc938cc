"""Mentions as HTML below a post."""

import html
from html.parser import HTMLParser

import pytest

from holdfast.webmention.mentions import Author, MentionType, ParsedMention, ReceivedMention
from holdfast.webmention.rendering import STYLESHEET, author_of, day, permalink, render

ALICE = Author(name="Alice", url="https://alice.example/", photo="https://alice.example/me.png")
NASTY = "\"><script>alert('x')</script>\u202e&"


def mention(
    kind: MentionType = "reply", author: Author = ALICE, *, private: bool = False, **said: str | None
) -> ReceivedMention:
    return ReceivedMention(
        id="1",
        source_url="https://alice.example/posts/1",
        target_url="https://bob.example/post",
        state="accepted",
        received_at=1_767_225_600.0,
        private=private,
        mention=ParsedMention(type=kind, author=author, **said),  # type: ignore[arg-type]
    )


class Seen(HTMLParser):
    """Tags with their attributes; raises where they do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_nothing_is_shown_where_there_is_nothing() -> None:
    assert render([]) == ""
    assert render([mention(private=True)]) == ""
    assert (
        render([ReceivedMention(id="1", source_url="https://a.example/", target_url="https://b.example/")])
        == ""
    )


def test_likes_and_reposts_are_faces_and_the_rest_are_comments() -> None:
    said = render(
        [
            mention("like"),
            mention("reply", text="Yes."),
            mention("like"),
            mention("repost"),
            mention("mention", text="See."),
        ],
        heading="What others say",
    )
    for words in ("<h2>What others say</h2>", "2 likes", "1 repost", "1 reply and 1 mention", "Yes.", "See."):
        assert words in said
    assert said.index("2 likes") < said.index("1 repost") < said.index("Yes.") < said.index("See.")
    assert said.count('class="hf-comment"') == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("yes", "1 person is going"),
        ("no", "1 person cannot come"),
        ("maybe", "1 person may come"),
        (None, "is going"),
    ],
)
def test_answers_to_an_invitation_are_counted_by_what_they_say(answer: str | None, words: str) -> None:
    assert words in render([mention("rsvp", rsvp=answer)])


def test_every_type_is_shown() -> None:
    kinds: list[MentionType] = ["mention", "reply", "like", "repost", "bookmark", "rsvp"]
    for kind in kinds:
        assert "Alice" in render([mention(kind, text="words")]), kind


def test_nothing_that_others_wrote_becomes_markup() -> None:
    author = Author(name=NASTY, url="https://alice.example/?a=\"'<b>", photo="https://alice.example/\"'")
    kinds: list[MentionType] = ["like", "reply"]
    said = render(
        [mention(kind, author, name=NASTY, text=NASTY, published=NASTY) for kind in kinds],
        heading=NASTY,
        photo=lambda url: f"/photo?{url}",
    )
    assert "<script" not in said
    assert "\u202e" not in said
    assert "alert" in html.unescape(said)
    for tag, attributes in Seen(said).tags:
        assert tag in {
            *(
                "section",
                "h2",
                "h3",
                "ul",
                "ol",
                "li",
                "a",
                "img",
                "span",
                "bdi",
                "article",
                "header",
                "time",
                "p",
                "div",
            ),
        }
        assert all(not name.startswith("on") for name in attributes)


def test_html_that_was_stored_is_sanitised_again() -> None:
    said = render(
        [mention(html='<p>ok <img src=x onerror=alert(1)><a href="javascript:x">y</a></p><script>z</script>')]
    )
    assert "ok" in said
    assert not any(word in said for word in ("<img", "javascript", "<script", "onerror"))
    Seen(said)


def test_html_that_is_not_balanced_ends_where_it_is_shown() -> None:
    Seen(render([mention(html="</div></article></li></ol><p><b>a"), mention(text="b")]))


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://u:p@x.example/", "data:text/html,x", ""])
def test_addresses_that_were_stored_wrongly_are_not_shown(url: str) -> None:
    said = render([mention(author=Author(name="A", url=url, photo=url), url=url)], photo=lambda photo: photo)
    links = [attributes["href"] for tag, attributes in Seen(said).tags if tag == "a"]
    assert links == ["https://alice.example/posts/1"]
    assert "<img" not in said


def test_links_say_that_nobody_vouches_for_them() -> None:
    for tag, attributes in Seen(render([mention("like"), mention(text="a", name="b")])).tags:
        if tag == "a":
            assert attributes["rel"] == "nofollow ugc noopener"


def test_photos_come_from_where_the_site_says_or_are_initials() -> None:
    assert "me.png" not in render([mention()])
    assert ">A</span>" in render([mention()])
    assert ">A</span>" in render([mention()], photo=lambda url: None)
    shown = [each for tag, each in Seen(render([mention()], photo=lambda url: "/p?a&b")).tags if tag == "img"]
    assert [(each["src"], each["alt"]) for each in shown] == [("/p?a&b", "")]


def test_a_face_has_a_name_also_for_those_who_do_not_see_it() -> None:
    assert '<span class="hf-name"><bdi>Alice</bdi></span>' in render([mention("like")])
    assert ">?</span>" in render([mention("like", Author(name="…"))])


def test_an_author_without_name_is_called_by_the_host() -> None:
    assert author_of(mention(author=Author())).name == "alice.example"
    assert author_of(mention(author=Author(url="https://carol.example/x"))).name == "carol.example"


def test_text_keeps_its_lines() -> None:
    assert "one<br>\ntwo &lt;b&gt;" in render([mention(text="one\ntwo <b>")])


def test_it_can_be_read_where_it_says_or_where_it_was_found() -> None:
    assert permalink(mention(url="https://alice.example/p")) == "https://alice.example/p"
    assert permalink(mention()) == "https://alice.example/posts/1"


def test_days_are_written_as_a_person_writes_them() -> None:
    assert day("2026-11-02T03:04:05Z") == "2 November 2026"
    assert day("2026-11-02") == "2 November 2026"
    assert day("soon") == ""
    assert '<time datetime="2026-11-02">2 November 2026</time>' in render([mention(published="2026-11-02")])
    assert '<time datetime="2026-01-01T00:00:00Z">1 January 2026</time>' in render(
        [mention(published="soon")]
    )


def test_the_stylesheet_touches_nothing_but_its_own_and_loads_nothing() -> None:
    assert "url(" not in STYLESHEET
    assert "@import" not in STYLESHEET
    for rule in STYLESHEET.replace("\n", " ").split("}")[:-1]:
        for selector in rule.split("{")[0].split(","):
            assert selector.strip().startswith(".hf-"), selector
    styled = {
        word for word in STYLESHEET.replace(",", " ").replace(":", " ").split() if word.startswith(".hf-")
    }
    assert ".hf-mentions" in styled
