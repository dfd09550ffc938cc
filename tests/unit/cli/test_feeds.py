"""Which posts a feed or a sitemap lists."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.feeds import read_feed

URL = "https://alice.example/feed/"
A, B = "https://alice.example/a", "https://alice.example/b"
ATOM = """<?xml version="1.0" encoding="{encoding}"?>
<!-- made by hand -->
<feed xmlns="http://www.w3.org/2005/Atom"><link href="/"/><title>\u00e4</title>
<entry><link rel="replies" href="/r"/><link type="application/json" href="/a.json"/><link href="/a"/></entry>
<entry><link rel="alternate" type="text/html" href="/b"/></entry><entry><id>x</id></entry></feed>"""
RSS = """<!DOCTYPE rss PUBLIC "-//x" "x"><rss version='2.0'><channel><link>/</link>
<item><link> {} </link></item><item><link>/b</link></item></channel></rss>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><link>/</link></channel><item><link>/a</link></item><item><link>/b</link></item></rdf:RDF>"""
SITEMAP = """<urlset><url><loc>/a</loc><lastmod>2024</lastmod></url><url><loc>/b</loc></url>
<url><loc>/a</loc></url></urlset>"""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (ATOM.format(encoding="utf-8").encode(), "atom"),
        (ATOM.format(encoding="utf-16").encode("utf-16"), "atom"),
        (ATOM.format(encoding="iso-8859-1").encode("latin-1"), "atom"),
        (RSS.format("<![CDATA[/a]]>").encode(), "rss"),
        (RDF.encode(), "rss"),
        (SITEMAP.encode(), "sitemap"),
        (b"\xef\xbb\xbf" + SITEMAP.encode(), "sitemap"),
    ],
)
def test_the_posts_of_a_feed_are_listed_in_their_order_each_once(body, kind):
    found = read_feed(body, "application/xml", URL)
    assert found.kind == kind
    assert found.posts == (A, B)


def test_a_feed_in_json_is_one_too():
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": [{"url": "/a"}, {"id": 5}, {"url": B}, 7]}
    assert read_feed(json.dumps(feed).encode(), "application/feed+json", URL).posts == (A, B)
    assert read_feed(b'{"items": []}', "application/json", URL) is None
    assert read_feed(b"[" * 100_000, "application/json", URL) is None


def test_an_index_names_sitemaps():
    found = read_feed(b"<sitemapindex><sitemap><loc>/1.xml</loc></sitemap></sitemapindex>", "text/xml", URL)
    assert (found.posts, found.sitemaps) == ((), ("https://alice.example/1.xml",))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<p>hello", "text/html"),
        (b"<feed/>", "text/html"),
        (b"<html><feed>", "application/xml"),
        (b"# hello", "text/plain"),
        (b'<!DOCTYPE rss [<!ENTITY a "b">]><rss>&a;</rss>', "text/xml"),
    ],
)
def test_what_is_no_feed_is_none(body, kind):
    assert read_feed(body, kind, URL) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<rss><channel>",
        b'<?xml version="1.0" encoding="nonsense"?><feed/>',
        b'<rss><!DOCTYPE rss [<!ENTITY a "b">]></rss>',
    ],
)
def test_what_begins_as_a_feed_and_cannot_be_read_is_an_error(body):
    with pytest.raises(ValueError, match="feed: "):
        read_feed(body, "application/xml", URL) or pytest.fail("no feed")


def test_entities_are_refused_before_they_are_expanded():
    laughs = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    for encoding in ("utf-8", "utf-16"):
        body = f'<?xml version="1.0" encoding="{encoding}"?><rss>x</rss>{laughs}'.encode(encoding)
        with pytest.raises(ValueError, match="entities"):
            read_feed(body, "text/xml", URL)


def test_addresses_of_other_schemes_and_broken_ones_are_passed_over():
    items = "".join(f"<item><link>{url}</link></item>" for url in ("mailto:a@b", "http://[", "/a"))
    assert read_feed(f"<rss><channel>{items}</channel></rss>".encode(), "text/xml", URL).posts == (A,)


def test_a_megabyte_of_nested_elements_is_read():
    body = b"<rss>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</rss>"
    assert read_feed(body, "text/xml", URL).posts == ()
