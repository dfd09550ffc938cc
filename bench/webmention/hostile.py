"""A megabyte of markup that is made to cost: what looking through it takes, in a process of its own.

`python -m bench.webmention.hostile holdfast verify div` prints seconds of CPU. The peers' own entry points
are called, with `requests` answering with the page at once; Holdfast's are given it.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.webmention.site import BLOG

__all__ = ["LACKING", "LOOKS", "ROWS", "SHAPES", "shapes"]

SOURCE = "http://somebody.example/post"
SHAPES: Final = ("div", "b", "table", "lists")
"""What the peers are given; Holdfast gets all that its tests have."""

END: Final = '<a rel="webmention" href="http://somebody.example/take">here</a>'
LOOKS: Final = ("verify", "parse", "discover")
ROWS: Final = ("holdfast", "webmentions", "indieweb-utils", "ronkyuu")
LACKING: Final = {
    ("indieweb-utils", "parse"): "it reads no mention out of a page",
    ("ronkyuu", "parse"): "it reads no mention out of a page",
}


def shapes() -> dict[str, str]:
    """The hostile megabytes of the tests, each with an endpoint at its end: nobody is done before that."""
    path = Path(__file__).resolve().parents[2] / "tests" / "unit" / "webmention" / "nested_pages.py"
    pages: dict[str, str] = runpy.run_path(str(path))["NESTED"]
    return {name: html + END for name, html in pages.items()}


def _holdfast(look: str, html: str) -> Callable[[], Any]:
    from holdfast.webmention import Page, parse_mention, verify
    from holdfast.webmention.discovery import find_endpoint

    body = html.encode()
    page = Page(url=SOURCE, status=200, headers=(("content-type", "text/html"),), body=body)
    return {
        "verify": lambda: verify(body, "text/html; charset=utf-8", BLOG, base=SOURCE),
        "parse": lambda: parse_mention(body, SOURCE, BLOG),
        "discover": lambda: find_endpoint(page),
    }[look]


def _webmentions(look: str, html: str) -> Callable[[], Any]:
    parsers, outgoing = import_module("webmentions.handlers._parser"), import_module("webmentions.handlers")
    model = import_module("webmentions._model")
    parser = parsers.WebmentionsRequestParser
    mention = model.Webmention(source=SOURCE, target=BLOG, direction=model.WebmentionDirection.IN)
    out = outgoing.WebmentionsHandler(None, ssrf_protection=False).outgoing
    return {
        "verify": lambda: parser._source_mentions_target(html, BLOG),
        "parse": lambda: parser._parse_source_payload(mention, html, SOURCE, BLOG),
        "discover": lambda: out._discover_webmention_endpoint(SOURCE),
    }[look]


def _indieweb(look: str, html: str) -> Callable[[], Any]:
    package = import_module("indieweb_utils")
    discovering = import_module("indieweb_utils.webmentions.discovery")
    return {
        "verify": lambda: package.validate_webmention(SOURCE, BLOG),
        "discover": lambda: discovering.discover_webmention_endpoint(SOURCE),
    }[look]


def _ronkyuu(look: str, html: str) -> Callable[[], Any]:
    package = import_module("ronkyuu")
    return {
        "verify": lambda: package.findMentions(SOURCE, BLOG, content=html),
        "discover": lambda: package.discoverEndpoint(SOURCE),
    }[look]


_LOOKING: Final = {
    "holdfast": _holdfast,
    "webmentions": _webmentions,
    "indieweb-utils": _indieweb,
    "ronkyuu": _ronkyuu,
}


def _answer_with(html: str) -> None:
    """Whatever `requests` is asked for is this page."""
    requests = import_module("requests")

    def request(self: Any, method: str, url: str, **how: Any) -> Any:
        response = requests.Response()
        response.status_code, response.url, response.encoding = 200, url, "utf-8"
        response.headers.update({"Content-Type": "text/html; charset=utf-8"})
        response._content = html.encode()
        response._content_consumed = True
        return response

    requests.Session.request = request


def took(call: Callable[[], Any]) -> float:
    """Seconds of CPU; what the call raises for want of a link or an endpoint is an answer too."""
    began = time.process_time()
    try:
        call()
    except RecursionError:
        raise
    except Exception as exc:  # noqa: BLE001 - "there is none" is said in many ways
        print(type(exc).__name__, file=sys.stderr)
    return time.process_time() - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=_LOOKING)
    parser.add_argument("look", choices=LOOKS)
    parser.add_argument("shapes", nargs="+")
    options = parser.parse_args(arguments)
    pages = shapes()
    if options.name != "holdfast":
        _answer_with(pages[options.shapes[0]])
    for shape in options.shapes:
        call = _LOOKING[options.name](options.look, pages[shape])
        print(took(call), flush=True)


if __name__ == "__main__":
    main()
