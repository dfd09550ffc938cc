"""The Link header: commas and semicolons, quotes and brackets, and everything that servers get wrong."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.webmention.link_header import Link, parse


def rels(*values: str) -> list[tuple[str, list[str]]]:
    return [(link.url, sorted(link.rels)) for link in parse(values)]


@pytest.mark.parametrize(
    ("value", "links"),
    [
        ("</a>; rel=webmention", [("/a", ["webmention"])]),
        ('</a>; rel="webmention"', [("/a", ["webmention"])]),
        ("</a>;rel=webmention", [("/a", ["webmention"])]),
        ("  < /a >  ;  rel  =  webmention  ", [("/a", ["webmention"])]),
        ('</a>; REL="WebMention Next"', [("/a", ["next", "webmention"])]),
        ("</a>; rel=next; rel=webmention", [("/a", ["next"])]),
        ('</a>; title="x; rel=webmention, <b>"; rel=next', [("/a", ["next"])]),
        ('</a>; title="say \\"hi\\", <b>"; rel=next', [("/a", ["next"])]),
        ("</a,b;c>; rel=next", [("/a,b;c", ["next"])]),
        ("</a>; rel=next, </b>; rel=prev", [("/a", ["next"]), ("/b", ["prev"])]),
        (",, </a>; rel=next ,,, </b>", [("/a", ["next"]), ("/b", [])]),
        ("<>; rel=webmention", [("", ["webmention"])]),
        ("</a>; rel", [("/a", [])]),
        ("</a>; rel=", [("/a", [])]),
        ('</a>; rel=""', [("/a", [])]),
        ("</a>;;; rel=next;", [("/a", ["next"])]),
        ("</a>; crossorigin; rel=next", [("/a", ["next"])]),
        ("/a; rel=webmention", []),
        ("/a; rel=webmention, </b>; rel=next", [("/b", ["next"])]),
        ('"</a>; rel=next", </b>; rel=prev', [("/b", ["prev"])]),
        ("</a; rel=webmention", []),
        ("</a, </b>; rel=next", [("/b", ["next"])]),
        ('</a>; rel="webmention', [("/a", ["webmention"])]),
        ('</a>; rel="web\\mention"', [("/a", ["webmention"])]),
        ('</a>; rel="webmention\\', [("/a", ["webmention"])]),
        ("</a> rel=webmention", [("/a", [])]),
        ("", []),
    ],
)
def test_a_field_is_read_as_rfc_8288_has_it(value: str, links: list[tuple[str, list[str]]]) -> None:
    assert rels(value) == links


def test_the_fields_of_an_answer_come_in_their_order() -> None:
    assert rels("<a>; rel=x", "<b>; rel=y, <c>") == [("a", ["x"]), ("b", ["y"]), ("c", [])]


def test_an_anchor_says_what_it_is_a_link_of() -> None:
    [link] = parse(['</a>; rel=webmention; anchor="/other"; anchor=x'])
    assert link == Link("/a", frozenset(["webmention"]), "/other")


TOKEN = st.text(alphabet="abcXYZ019-", min_size=1, max_size=8)
URL = st.text(alphabet='abc/:?,;="\\ é', max_size=12)
QUOTED = st.text(alphabet='ab ,;<>="\\é', max_size=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def written(draw: st.DrawFn) -> tuple[str, Link]:
    """A link in some spelling, and what it says."""
    url, words = draw(URL), draw(st.lists(TOKEN, max_size=3))
    space = st.sampled_from(["", " ", "\t "])
    before = [f"{draw(TOKEN)}x={quoted(draw(QUOTED))}" for _ in range(draw(st.integers(0, 2)))]
    bare = len(words) == 1 and draw(st.booleans())
    rel = f"{draw(st.sampled_from(['rel', 'Rel', 'REL']))}{draw(space)}={draw(space)}"
    rel += words[0] if bare else quoted(" ".join(words))
    text = f"<{url}>" + "".join(f"{draw(space)};{draw(space)}{each}" for each in [*before, rel, "rel=wrong"])
    return text, Link(url.strip(), frozenset(word.lower() for word in words))


@given(st.lists(st.lists(written(), min_size=1, max_size=4), max_size=3))
def test_what_was_written_is_read_again(fields: list[list[tuple[str, Link]]]) -> None:
    values = [" , ".join(text for text, _ in links) for links in fields]
    assert parse(values) == [link for links in fields for _, link in links]


@given(st.lists(st.text() | st.text(alphabet='<>,;="\\ rel')))
def test_nothing_raises(values: list[str]) -> None:
    for link in parse(values):
        assert not set("<>") & set(link.url)


@given(written(), st.text(alphabet="<ab;= >"))
def test_what_is_malformed_ends_at_the_next_comma(link: tuple[str, Link], wrong: str) -> None:
    assert parse([f"{wrong},{link[0]}"])[-1] == link[1]


@pytest.mark.parametrize(
    "piece", [",", "<", "<,", ";", " ", '"', '",', "\\", "<a", "<a>", "<a>;", '<a>;b="', "<a>;b=c ", "a,<"]
)
def test_a_long_field_costs_no_more_than_its_length(piece: str) -> None:
    value = piece * (1_000_000 // len(piece))
    began = time.process_time()
    parse([value, value[:-1] + "x"])
    assert time.process_time() - began < 3
