"""What the public validator asks of senders, as a site of our own on loopback: 23 pages, two updates, a deletion.

The cases are the validator's; pages and words are ours. Each knows its right
endpoint and its wrong ones and remembers what reached which. A case passes when
`judge(n)` finds nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.unit.webmention.site_lab import Reply, Request, Site

Headers: TypeAlias = list[tuple[str, str]]

RIGHT: Final = "{here}/webmention"
WRONG: Final = "{here}/webmention/error"

# What each page has, `{here}` its path and `{origin}` the site. RIGHT is the endpoint unless `ENDPOINTS` says so.
HEADERS: Final[dict[int, Headers]] = {
    1: [("Link", f"<{RIGHT}>; rel=webmention")],
    2: [("Link", f"<{{origin}}{RIGHT}>; rel=webmention")],
    7: [("LinK", f"<{{origin}}{RIGHT}>; rel=webmention")],
    8: [("Link", f'<{{origin}}{RIGHT}>; rel="webmention"')],
    10: [("Link", f'<{{origin}}{RIGHT}>; rel="webmention somethingelse"')],
    11: [("Link", f'<{{origin}}{RIGHT}>; rel="webmention"')],
    18: [("Link", f'<{{origin}}{WRONG}>; rel="other"'), ("Link", f'<{{origin}}{RIGHT}>; rel="webmention"')],
    19: [("Link", f'<{{origin}}{WRONG}>; rel="other", <{{origin}}{RIGHT}>; rel="webmention"')],
}
HEADS: Final = {
    3: f'<link rel="webmention" href="{RIGHT}">',
    4: f'<link href="{{origin}}{RIGHT}" rel="webmention">',
    9: f'<link rel="webmention somethingelse" href="{{origin}}{RIGHT}">',
    11: f'<link rel="webmention" href="{WRONG}">',
    12: f'<link rel="not-webmention" href="{WRONG}">',
    15: '<link rel="webmention" href="">',
    20: '<link rel="webmention">',
    21: f'<link rel="webmention" href="{RIGHT}?query=yes">',
}
BODIES: Final = {
    5: f'<a rel="webmention" href="{RIGHT}">endpoint</a>',
    6: f'<a href="{{origin}}{RIGHT}" rel="webmention">endpoint</a>',
    11: f'<a rel="webmention" href="{WRONG}">endpoint</a>',
    12: f'<a rel="webmention" href="{RIGHT}">endpoint</a>',
    13: f'<!-- <a href="{WRONG}" rel="webmention">not</a> --> <a href="{RIGHT}" rel="webmention">this</a>',
    14: f'<code>&lt;a href="{WRONG}" rel="webmention"&gt;&lt;/a&gt;</code> <a href="{RIGHT}" rel="webmention">this</a>',
    16: f'<a href="{RIGHT}" rel="webmention">this</a> <link href="{WRONG}" rel="webmention">',
    17: f'<link href="{RIGHT}" rel="webmention"> <a href="{WRONG}" rel="webmention">not</a>',
    20: f'<a href="{RIGHT}" rel="webmention">this</a>',
    22: '<a href="22/webmention" rel="webmention">relative to the path</a>',
}
ENDPOINTS: Final = {15: "{here}", 21: f"{RIGHT}?query=yes", 22: "/test/22/webmention"}
DISCOVERIES: Final = range(1, 24)


@dataclass
class Told:
    """One POST that reached a case."""

    endpoint: str
    right: bool
    source: str
    target: str
    fields: set[str]
    links: frozenset[str]  # what the source said at that moment, as `look` saw it


@dataclass
class Rocks:
    """The test site. `look` says what a source links to now; None where it is gone."""

    site: Site
    look: Callable[[str], frozenset[str] | None] = lambda source: frozenset()
    told: dict[str, list[Told]] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    _tokens: int = 0

    def __post_init__(self) -> None:
        for n in DISCOVERIES:
            self._discovery(n)
        for case in ("update/1", "update/2", "delete/1"):
            for part in (1, 2):
                self._part(f"/{case}/part/{part}")

    def target(self, n: int) -> str:
        """What a post has to mention for discovery case `n`."""
        return self.site.url("/test/23/page" if n == 23 else f"/test/{n}")

    def part(self, case: str, part: int) -> str:
        """One of the two targets of `update/1`, `update/2` or `delete/1`."""
        return self.site.url(f"/{case}/part/{part}")

    def judge(self, n: int, source: str) -> str | None:
        """What is wrong with how case `n` was told of `source`; None: it passed."""
        told = self.told.get(self.target(n), [])
        if not told:
            return "nothing reached the endpoint"
        if len(told) > 1:
            return f"{len(told)} mentions arrived"
        [mention] = told
        if not mention.right:
            return f"a wrong endpoint was told: {mention.endpoint}"
        if mention.fields != {"source", "target"}:
            return f"the form had {sorted(mention.fields)}"
        if (mention.source, mention.target) != (source, self.target(n)):
            return f"it was told of {mention.source} and {mention.target}"
        return None

    # --- pages

    def _discovery(self, n: int) -> None:
        if n == 23:
            self.site.answer("/test/23/page", self._to_a_page_of_its_own)
            return
        here = f"/test/{n}"
        words = {"here": here, "origin": self.site.url("").rstrip("/")}
        page = Reply(
            f"<!doctype html><html><head><title>{n}</title>{HEADS.get(n, '')}</head>"
            f"<body><h1>Case {n}</h1>{BODIES.get(n, '')}</body></html>".format(**words),
            headers=[(name, value.format(**words)) for name, value in HEADERS.get(n, [])],
        )
        right = ENDPOINTS.get(n, RIGHT).format(**words)
        self._takes(right, self.target(n), page if n == 15 else None)
        if n != 15:
            self.site.answer(here, page)
            self._takes(WRONG.format(**words), self.target(n), right=False)
        if n == 21:  # the endpoint without its query is a wrong one
            self._takes(RIGHT.format(**words), self.target(n), right=False)

    async def _to_a_page_of_its_own(self, request: Request) -> Reply:
        """Case 23: each visit is sent to a page that answers once, whatever the method."""
        token = self._token()
        here = f"/test/23/page/{token}"
        page = Reply(f'<html><head><link rel="webmention" href="webmention-endpoint/{token}"></head></html>')
        self._once(here, page)
        self._takes(f"/test/23/page/webmention-endpoint/{token}", self.target(23))
        return Reply(status=302, headers=[("Location", here)])

    def _part(self, here: str) -> None:
        """A target whose endpoint is another one at each visit, and takes one mention."""

        async def page(request: Request) -> Reply:
            endpoint = f"{here}/webmention/{self._token()}"
            self._takes(endpoint, self.site.url(here), single=True)
            return Reply(f'<html><head><link rel="webmention" href="{endpoint}"></head></html>')

        self.site.answer(here, page)

    def _once(self, path: str, reply: Reply) -> None:
        self.site.answer(path, reply, Reply("gone", 410))

    def _token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    def _takes(
        self, path: str, case: str, page: Reply | None = None, *, right: bool = True, single: bool = False
    ) -> None:
        """An endpoint; `page` is what it answers to those who GET it."""

        async def take(request: Request) -> Reply:
            if request.method != "POST":
                return page or Reply("POST only", 405)
            if single and path in self.spent:
                return Reply("this endpoint took its mention already", 410, kind="text/plain")
            self.spent.add(path)
            form = request.form
            source, target = form.get("source", ""), form.get("target", "")
            links = self.look(source)
            self.told.setdefault(case, []).append(
                Told(request.path, right, source, target, set(form), frozenset() if links is None else links)
            )
            if not right:
                return Reply("not this endpoint", 400, kind="text/plain")
            return Reply("thank you", 202, kind="text/plain")

        self.site.answer(path, take)
