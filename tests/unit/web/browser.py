"""A browser without a script: follows redirects, keeps cookies, sends forms as they are on the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx

from .conftest import TOKEN


class Forms(HTMLParser):
    """The forms of a page: where they go, and what a browser would send."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._text: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append((given.get("action") or "", {}))
        elif tag in ("input", "textarea", "select") and self.forms and (name := given.get("name")):
            fields = self.forms[-1][1]
            if tag == "textarea":
                self._text = name
                fields[name] = ""
            elif given.get("type") != "radio" or "checked" in given:
                fields[name] = given.get("value") or ""
        elif tag == "option" and "selected" in given:
            self.forms[-1][1]["unit"] = ""

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self.forms[-1][1][self._text] += data
        elif self.forms and self.forms[-1][1].get("unit") == "":
            self.forms[-1][1]["unit"] = data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._text is not None:
            fields = self.forms[-1][1]
            fields[self._text] = fields[self._text].removeprefix("\n")  # as HTML says
            self._text = None


class Browser:
    """Follows redirects, keeps cookies, fills in forms."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        client.headers["Accept"] = "text/html"
        client.follow_redirects = True
        self.page: httpx.Response

    async def go(self, path: str) -> httpx.Response:
        self.page = await self.client.get(path)
        return self.page

    def form(self, action: str) -> dict[str, str]:
        for where, fields in Forms(self.page.text).forms:
            if where.endswith(action):
                return fields
        raise AssertionError(f"no form to {action}")

    async def send(self, action: str, **changes: str) -> httpx.Response:
        self.page = await self.client.post(action, data=self.form(action) | changes)
        return self.page

    async def sign_in(self, secret: str = TOKEN) -> httpx.Response:
        await self.go("/sign-in")
        return await self.send("/sign-in", token=secret)

    @property
    def text(self) -> str:
        """What a person reads."""
        bare = re.sub(r"<[^>]*>", " ", self.page.text.partition("<main")[2].partition(">")[2])
        for escape, character in (
            ("&#34;", '"'),
            ("&#39;", "'"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
        ):
            bare = bare.replace(escape, character)
        return re.sub(r"\s+", " ", bare)
