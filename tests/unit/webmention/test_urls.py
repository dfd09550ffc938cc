"""One spelling for one URL, and None for everything that is no web address."""

import string
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.webmention.urls import MAX_LENGTH, clean, digest, host_of, resolve, same_site, without_fragment


@pytest.mark.parametrize(
    ("given_", "cleaned"),
    [
        ("https://alice.example/post", "https://alice.example/post"),
        ("HTTPS://Alice.EXAMPLE/Post", "https://alice.example/Post"),
        ("https://alice.example", "https://alice.example/"),
        ("https://alice.example?q", "https://alice.example/?q"),
        ("https://alice.example#f", "https://alice.example/#f"),
        ("https://alice.example:443/", "https://alice.example/"),
        ("http://alice.example:80/", "http://alice.example/"),
        ("http://alice.example:443/", "http://alice.example:443/"),
        ("https://alice.example:/", "https://alice.example/"),
        ("https://alice.example:0443/", "https://alice.example/"),
        ("  \n https://alice.example/\t", "https://alice.example/"),
        ("https://alice.exa\nmple/a\tb", "https://alice.example/ab"),
        ("https://alice.example/a b?c d#e f", "https://alice.example/a%20b?c%20d#e%20f"),
        ("https://alice.example/ü?ü", "https://alice.example/%C3%BC?%C3%BC"),
        ("https://alice.example/%c3%bc", "https://alice.example/%c3%bc"),
        ("https://alice.example/a/./b/../c", "https://alice.example/a/c"),
        ("https://alice.example/a/%2e%2E/c", "https://alice.example/c"),
        ("https://alice.example/a/..", "https://alice.example/"),
        ("https://alice.example/../../a", "https://alice.example/a"),
        ("https://alice.example/a//b", "https://alice.example/a//b"),
        ("https://alice.example/.well-known/...", "https://alice.example/.well-known/..."),
        ("https:\\\\alice.example\\a?b\\c", "https://alice.example/a?b\\c"),
        ("https://alice.example\\@evil.example/", "https://alice.example/@evil.example/"),
        ("https://alice.example/?", "https://alice.example/?"),
        ("https://alice.example/#", "https://alice.example/#"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example/"),
        ("https://MÜNCHEN。example/", "https://xn--mnchen-3ya.example/"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("https://[2001:DB8:0::1]:8443/", "https://[2001:db8::1]:8443/"),
    ],
)
def test_a_url_has_one_spelling(given_: str, cleaned: str) -> None:
    assert clean(given_) == cleaned


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "alice.example",
        "/post",
        "//alice.example/post",
        "https:",
        "https:/alice.example/",
        "https:alice.example",
        "https://",
        "https:///post",
        "https://?q",
        "https://:443/",
        "javascript:alert(1)",
        "JaVaScRiPt://alice.example/%0aalert(1)",
        "data:text/html,x",
        "mailto:alice@alice.example",
        "ftp://alice.example/",
        "file:///etc/passwd",
        "https://me@alice.example/",
        "https://me:secret@alice.example/",
        "https://@alice.example/",
        "https://alice.example:port/",
        "https://alice.example:65536/",
        "https://alice.example:-1/",
        "https://alice.example:１/",
        "https://alice example/",
        "https://alice%2eexample/",
        "https://al<ice.example/",
        "https://.example/",
        "https://[::1",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
        "https://[alice]/",
        "https://a℀b.example/",  # which is "a/c" in its compatible form
        "https://evil.example？.alice.example/",
        "https://alice.example/\ud800",
        "https://al\ud800ice.example/",
        "https://" + "a" * 254 + "/",
        "https://alice.example/" + "a" * MAX_LENGTH,
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://1.2.3.09/",
        "https://a.1/",
    ],
)
def test_what_is_no_web_address_is_none(wrong: str) -> None:
    assert clean(wrong) is None


@pytest.mark.parametrize(
    "hidden",
    [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.01",
        "127.0.0.1.",
        "１２７.0.0.1",
    ],
)
def test_an_address_hidden_in_a_number_is_spelled_out(hidden: str) -> None:
    assert clean(f"http://{hidden}/") == "http://127.0.0.1/"


@pytest.mark.parametrize(
    ("href", "resolved"),
    [
        ("", "https://alice.example/a/b?q"),
        ("#f", "https://alice.example/a/b?q#f"),
        ("?r", "https://alice.example/a/b?r"),
        ("c", "https://alice.example/a/c"),
        ("./c", "https://alice.example/a/c"),
        ("../c", "https://alice.example/c"),
        ("../../../c", "https://alice.example/c"),
        (".", "https://alice.example/a/"),
        ("..", "https://alice.example/"),
        ("/c", "https://alice.example/c"),
        ("/", "https://alice.example/"),
        ("\\c", "https://alice.example/c"),
        ("//bob.example/c", "https://bob.example/c"),
        ("\\/bob.example/c", "https://bob.example/c"),
        ("///bob.example/c", "https://bob.example/c"),
        ("http://bob.example", "http://bob.example/"),
        ("http:bob.example", "http://bob.example/"),
        ("https:c", "https://alice.example/a/c"),
        ("https:/c", "https://alice.example/c"),
        (" c d ", "https://alice.example/a/c%20d"),
        ("c:d", None),
        ("./c:d", "https://alice.example/a/c:d"),
        ("?c:d", "https://alice.example/a/b?c:d"),
        ("localhost:8000/c", None),
        ("javascript:alert(1)", None),
        (" java\nscript:alert(1)", None),
        ("mailto:bob@bob.example", None),
        ("http://[", None),
        ("//bob@bob.example/", None),
        ("//", None),
        ("/\udfff", None),
    ],
)
def test_a_link_leads_where_a_browser_would_go(href: str, resolved: str | None) -> None:
    assert resolve("https://alice.example/a/b?q#z", href) == resolved


def test_an_absolute_link_needs_no_base_and_a_relative_one_a_good_base() -> None:
    assert resolve("no url", "https://bob.example/c") == "https://bob.example/c"
    assert resolve("no url", "c") is None


def test_the_host_is_without_port_and_brackets() -> None:
    assert host_of("https://Alice.example:8443/") == "alice.example"
    assert host_of("https://[::1]:8443/") == "::1"
    assert host_of("mailto:alice@alice.example") == ""


def test_a_fragment_is_cut_and_nothing_else_is_touched() -> None:
    assert without_fragment("HTTPS://alice.example/a?b#c#d") == "HTTPS://alice.example/a?b"


@pytest.mark.parametrize(
    ("url", "site", "same"),
    [
        ("https://alice.example/post", "https://alice.example", True),
        ("http://ALICE.example/post", "https://alice.example", True),
        ("https://alice.example:8443/", "https://alice.example", False),
        ("https://www.alice.example/", "https://alice.example", False),
        ("https://alice.example.evil.example/", "https://alice.example", False),
        ("https://example/alice", "https://alice.example", False),
        ("https://alice.example/blog", "https://alice.example/blog/", True),
        ("https://alice.example/blog/post", "https://alice.example/blog", True),
        ("https://alice.example/blogger", "https://alice.example/blog", False),
        ("https://alice.example/blog/../other", "https://alice.example/blog", False),
        ("no url", "https://alice.example", False),
        ("https://alice.example", "no url", False),
    ],
)
def test_a_site_is_a_host_and_what_is_below_its_path(url: str, site: str, same: bool) -> None:
    assert same_site(url, site) is same


def test_a_digest_knows_where_its_parts_begin() -> None:
    assert len(digest("a")) == 40
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a", "b") == digest("a", "b")
    assert digest("\ud800")


ANY = st.text() | st.text(alphabet=":/\\?#[]@%.ahtps0x1 \n-ü")
TAIL = st.text(alphabet=string.ascii_letters + "/.-_~%20:@&=+,!$'()*", max_size=20)


@given(ANY | ANY.map("https://".__add__) | ANY.map("https://alice.example/".__add__))
def test_cleaning_twice_changes_nothing_more(url: str) -> None:
    cleaned = clean(url)
    if cleaned is None:
        return
    assert clean(cleaned) == cleaned
    assert cleaned.isascii()
    assert not any(c.isspace() or c in '<>"`' for c in cleaned)
    parts = urlsplit(cleaned)
    assert parts.scheme in ("http", "https")
    assert parts.username is None
    assert parts.password is None
    assert parts.hostname == host_of(cleaned) != ""
    assert parts.path.startswith("/")


@given(ANY, ANY)
def test_no_link_raises_and_what_comes_out_is_clean(base: str, href: str) -> None:
    for start in (base, "https://alice.example/" + base):
        url = resolve(start, href)
        assert url is None or clean(url) == url


@given(TAIL, TAIL)
def test_relative_links_agree_with_the_standard_library(base: str, href: str) -> None:
    page = clean("https://alice.example/" + base)
    if (
        page is None
        or "//" in base + href
        or base.startswith("/")
        or ":" in href.split("/")[0]
        or "%2" in href
    ):
        return  # where the two are known to differ (as they are about params after a semicolon)
    assert resolve(page, href) == clean(urljoin(page, href))
