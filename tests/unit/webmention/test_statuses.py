import pytest

from holdfast.webmention.pages import Page
from holdfast.webmention.statuses import status_of


def said(body: str, kind: str = "application/json", status: int = 200) -> str:
    return status_of(page(body, kind, status)).says


def page(body: str = "", kind: str = "text/plain", status: int = 200) -> Page:
    return Page(
        url="https://x.example/", status=status, headers=(("content-type", kind),), body=body.encode()
    )


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        ('{"status": "queued", "summary": "in the queue"}', "application/json", "200: queued, in the queue"),
        ('{"status": 7}', "application/json", "200"),
        ("[" * 100_000, "application/json", "200"),
        ("no json", "application/json", "200"),
        ("  it\n\x1b[31m waits ", "text/plain", "200: it [31m waits"),
        ("<head><title>Fish &amp; chips</title>", "text/html; charset=utf-8", "200: Fish & chips"),
        ("<p>no title", "text/html", "200"),
        ("binary", "image/png", "200"),
    ],
)  # fmt: skip
def test_a_status_page_is_read_in_a_few_words(body: str, kind: str, says: str) -> None:
    assert said(body, kind) == says


def test_words_are_few() -> None:
    assert len(said("x" * 100_000, "text/plain")) < 300
    assert len(said("<title>" * 100_000, "text/html")) < 300


@pytest.mark.parametrize(
    ("status", "over"), [(200, False), (404, True), (410, True), (429, False), (500, False)]
)
def test_a_page_that_is_gone_is_not_asked_for_again(status: int, over: bool) -> None:
    assert status_of(page("words", status=status)).over is over


def test_what_an_error_page_says_is_not_kept() -> None:
    assert status_of(page("stack trace", status=500)).says == "500"
