"""Where a page takes webmentions: the cases of the public validator, and what else the Recommendation says."""

import pytest
from tests.unit.webmention.nested_pages import NESTED

from holdfast.webmention.discovery import Discovered, enough, find_endpoint
from holdfast.webmention.pages import Page

URL = "https://bob.example/test/1"
RIGHT = "https://bob.example/test/1/webmention"
WRONG = "https://bob.example/test/1/webmention/error"


def page(
    html: str = "", *links: str, url: str = URL, media_type: str = "text/html", status: int = 200
) -> Page:
    headers = (("content-type", media_type), *(("link", link) for link in links))
    return Page(url=url, status=status, headers=headers, body=html.encode())


def endpoint(html: str = "", *links: str, url: str = URL) -> str | None:
    return find_endpoint(page(html, *links, url=url)).endpoint


def test_case_1_a_link_header_with_a_bare_rel_and_a_relative_url() -> None:
    found = find_endpoint(page("<p>a post", "</test/1/webmention>; rel=webmention"))
    assert (found.endpoint, found.where) == (RIGHT, "header")


def test_case_2_a_link_header_with_a_bare_rel_and_an_absolute_url() -> None:
    assert endpoint("", f"<{RIGHT}>; rel=webmention") == RIGHT


def test_case_3_a_link_element_with_a_relative_url() -> None:
    found = find_endpoint(page('<head><link rel="webmention" href="/test/1/webmention"></head>'))
    assert (found.endpoint, found.where) == (RIGHT, "link")


def test_case_4_a_link_element_with_an_absolute_url_before_its_rel() -> None:
    assert endpoint(f'<link href="{RIGHT}" rel="webmention">') == RIGHT


def test_case_5_an_a_element_with_a_relative_url() -> None:
    found = find_endpoint(page('<p>Send <a rel="webmention" href="/test/1/webmention">here</a>'))
    assert (found.endpoint, found.where) == (RIGHT, "a")


def test_case_6_an_a_element_with_an_absolute_url_before_its_rel() -> None:
    assert endpoint(f'<a href="{RIGHT}" rel="webmention">here</a>') == RIGHT


def test_case_7_a_header_named_in_an_odd_mixture_of_cases_is_the_same_header() -> None:
    # Names are in lower case in a Page, which is where this case is met; the rel may be mixed as well.
    assert endpoint("", f"<{RIGHT}>; Rel=WebMention") == RIGHT


def test_case_8_a_link_header_with_a_quoted_rel() -> None:
    assert endpoint("", f'<{RIGHT}>; rel="webmention"') == RIGHT


def test_case_9_a_link_element_with_several_rels() -> None:
    assert endpoint(f'<link rel="webmention somethingelse" href="{RIGHT}">') == RIGHT
    assert endpoint(f'<link rel="somethingelse\nWEBMENTION" href="{RIGHT}">') == RIGHT


def test_case_10_a_link_header_with_several_rels() -> None:
    assert endpoint("", f'<{RIGHT}>; rel="webmention somethingelse"') == RIGHT


def test_case_11_the_header_counts_before_both_elements() -> None:
    wrong = f'<link rel="webmention" href="{WRONG}"><a rel="webmention" href="{WRONG}">x</a>'
    assert endpoint(wrong, f"<{RIGHT}>; rel=webmention") == RIGHT


def test_case_12_a_rel_that_only_contains_the_word_is_another_rel() -> None:
    html = f'<link rel="not-webmention" href="{WRONG}"><a rel="webmention" href="{RIGHT}">x</a>'
    assert endpoint(html) == RIGHT


def test_case_13_what_stands_in_a_comment_does_not_count() -> None:
    html = f'<!-- <a rel="webmention" href="{WRONG}">x</a> --><a rel="webmention" href="{RIGHT}">x</a>'
    assert endpoint(html) == RIGHT


def test_case_14_what_is_escaped_in_code_does_not_count() -> None:
    html = f'<code>&lt;a rel="webmention" href="{WRONG}"&gt;</code><a rel="webmention" href="{RIGHT}">x</a>'
    assert endpoint(html) == RIGHT


def test_case_15_an_empty_href_is_the_page_itself() -> None:
    assert endpoint('<link rel="webmention" href="">') == URL
    assert endpoint("<link rel=webmention href>", url=URL + "?page=2") == URL + "?page=2"


def test_case_16_an_a_element_before_a_link_element_counts() -> None:
    html = f'<a rel="webmention" href="{RIGHT}">x</a><link rel="webmention" href="{WRONG}">'
    assert endpoint(html) == RIGHT


def test_case_17_a_link_element_in_the_body_before_an_a_element_counts() -> None:
    html = f'<body><link rel="webmention" href="{RIGHT}"><a rel="webmention" href="{WRONG}">x</a>'
    assert endpoint(html) == RIGHT


def test_case_18_another_link_header_is_passed_over() -> None:
    assert endpoint("", f'<{WRONG}>; rel="other"', f"<{RIGHT}>; rel=webmention") == RIGHT


def test_case_19_another_link_in_the_same_header_is_passed_over() -> None:
    assert endpoint("", f'<{WRONG}>; rel="other", <{RIGHT}>; rel="webmention"') == RIGHT


def test_case_20_a_link_element_without_href_is_passed_over() -> None:
    assert endpoint(f'<link rel="webmention"><a rel="webmention" href="{RIGHT}">x</a>') == RIGHT


def test_case_21_the_query_of_an_endpoint_is_kept() -> None:
    assert (
        endpoint(f'<link rel="webmention" href="{RIGHT}?query=yes&amp;copy=2">')
        == RIGHT + "?query=yes&copy=2"
    )


def test_case_22_an_href_is_relative_to_the_path() -> None:
    assert endpoint('<link rel="webmention" href="1/webmention">') == RIGHT


def test_case_23_after_redirects_an_href_is_relative_to_the_final_url() -> None:
    final = Page(
        url="https://bob.example/page/abc",
        status=200,
        headers=(("content-type", "text/html"), ("link", "<abc/webmention>; rel=webmention")),
        redirects=("https://bob.example/test/23/page",),
    )
    found = find_endpoint(final)
    assert found.endpoint == "https://bob.example/page/abc/webmention"
    assert "1 redirect after https://bob.example/test/23/page" in found.steps[0]


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "image/svg+xml", ""])
def test_only_html_is_searched(media_type: str) -> None:
    found = find_endpoint(page(f'<link rel="webmention" href="{WRONG}">', media_type=media_type))
    assert (found.endpoint, found.where) == (None, None)
    assert "no HTML" in found.steps[-1]


@pytest.mark.parametrize("media_type", ["text/html", "Text/HTML; charset=koi8-r", "application/xhtml+xml"])
def test_html_is_searched_whatever_else_its_type_says(media_type: str) -> None:
    assert find_endpoint(page('<link rel=webmention href="/ü"/>', media_type=media_type)).endpoint


def test_the_header_of_an_answer_that_is_no_html_counts() -> None:
    assert find_endpoint(page("x", "</w>; rel=webmention", media_type="image/png")).where == "header"


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "mailto:bob@bob.example", "https://me@bob.example/", "http://["]
)
def test_an_endpoint_that_is_no_web_address_is_passed_over_and_told(href: str) -> None:
    found = find_endpoint(page(f'<link rel=webmention href="{href}"><a rel=webmention href="{RIGHT}">x</a>'))
    assert found.endpoint == RIGHT
    assert any(href in step and "no http(s) URL" in step for step in found.steps)


@pytest.mark.parametrize("hidden", ["script", "style", "template", "textarea", "title", "iframe"])
def test_what_is_no_part_of_the_document_does_not_count(hidden: str) -> None:
    html = f'<{hidden}><a rel="webmention" href="{WRONG}">x</a></{hidden}><a rel="webmention" href="{RIGHT}">x</a>'
    assert endpoint(html) == RIGHT


def test_the_base_of_a_page_is_that_of_its_elements_and_not_of_its_headers() -> None:
    html = '<base href="/one/"><base href="/two/"><link rel="webmention" href="w">'
    assert endpoint(html) == "https://bob.example/one/w"
    assert endpoint(html, "<w>; rel=webmention") == "https://bob.example/test/w"
    assert (
        endpoint('<base href="javascript:x"><link rel="webmention" href="w">') == "https://bob.example/test/w"
    )


def test_a_link_header_of_another_page_is_not_of_this_one() -> None:
    assert endpoint("", f"<{WRONG}>; rel=webmention; anchor=/other", f"<{RIGHT}>; rel=webmention") == RIGHT
    assert endpoint("", f'<{RIGHT}>; rel=webmention; anchor="#post"') == RIGHT


def test_the_steps_say_why_nothing_was_found() -> None:
    found = find_endpoint(page("<p>", "</feed>; rel=alternate", status=404))
    assert found == Discovered(
        None,
        None,
        (
            f"{URL} answered 404.",
            "Link header: none of them has rel=webmention.",
            "The page has no <link> and no <a> with rel=webmention and a usable href.",
        ),
    )


def test_the_steps_of_a_page_full_of_wrong_links_are_few() -> None:
    found = find_endpoint(page(('<a rel=webmention href="x:' + "y" * 1000 + '">') * 1000))
    assert len(found.steps) < 25
    assert max(map(len, found.steps)) < 500


def test_a_page_in_another_charset_is_searched() -> None:
    utf_16 = Page(
        url=URL,
        status=200,
        headers=(("content-type", "text/html; charset=utf-16"),),
        body=f'<link rel="webmention" href="{RIGHT}">'.encode("utf-16"),
    )
    assert find_endpoint(utf_16).endpoint == RIGHT


def test_no_body_is_needed_where_the_header_says_it_or_nothing_can() -> None:
    assert enough(page("", "</w>; rel=webmention"), b"")
    assert enough(page("", media_type="image/png"), b"")
    assert not enough(page("", "</w>; rel=next"), b"")


def test_a_body_is_enough_when_the_tag_is_complete_and_not_before() -> None:
    whole = '<!-- <a rel=webmention href=x> --><p>é<link rel="webmention" href="/w">'.encode()
    told = [at for at in range(len(whole) + 1) if enough(page(), whole[:at])]
    assert told == [len(whole)]
    assert not enough(page(), b"<link rel=webmention><a rel=webmention href=x:y>")


@pytest.mark.parametrize("kind", NESTED)
def test_a_hostile_megabyte_is_searched_to_its_end(kind: str) -> None:
    found = find_endpoint(page(NESTED[kind] + "<!-- webmention -->"))
    assert found.endpoint is None
