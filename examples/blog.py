"""Two small blogs that mention each other: a folder of Markdown files each, and whoever is mentioned hears of it.

python -m examples.blog                                   # Alice is 127.0.0.1:8001, Bob 127.0.0.1:8002
python -m examples.blog 127.0.0.1:8001 127.0.0.2:8001     # or where you say

Write `alice/first.md`, then `bob/reply.md` that links to http://127.0.0.1:8001/first. Alice decides:

holdfast --store sqlite:///alice.db webmention list --received
holdfast --store sqlite:///alice.db webmention accept ID

From then on Bob's reply stands below her post. Remove the link, or the file, and it goes away.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt

from holdfast import Holdfast
from holdfast.webmention import STYLESHEET, NetworkPolicy, Webmention

LOOK = 1.0
"""Seconds between two looks into the folder."""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body {{ max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font-family: system-ui }}
{style}</style><body>{body}"""

markdown = MarkdownIt("commonmark", {"html": False})


class Blog:
    """Every `*.md` in the folder is a post: shown, and told to whom it links to as soon as it is there or changes."""

    def __init__(self, author: str, address: str, allow: list[str], folder: Path) -> None:
        self.author, self.folder, self.site = author, folder, f"http://{address}"
        store = f"sqlite:///{folder}.db"
        policy = NetworkPolicy(allow=allow)  # loopback is out of reach, but for the addresses named here
        self.mentions = Webmention(store, site=self.site, policy=policy)
        self.hold = Holdfast(store, webmention=self.mentions)
        app = FastAPI(lifespan=self.hold.lifespan(self.publishing))
        app.get("/", response_class=HTMLResponse)(self.index)
        app.get("/{name}", response_class=HTMLResponse)(self.post)
        self.app = self.hold.asgi(app)  # with /webmention, /api/mentions and the Link header

    def posts(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in sorted(self.folder.glob("*.md"))}

    async def index(self) -> str:
        links = "".join(f'<li><a href="/{escape(name)}">{escape(name)}</a>' for name in self.posts())
        body = f"<h1>{self.author}</h1><ul>{links}</ul>"
        return PAGE.format(title=self.author, style="", body=body)

    async def post(self, name: str) -> str:
        url, text = f"{self.site}/{name}", self.posts().get(name)
        if text is None:  # gone, if anybody was ever told of it
            told = [each async for each in self.mentions.outgoing(url)]
            raise HTTPException(410 if told else 404)
        author = f'<a class="p-author h-card" href="{self.site}/">{self.author}</a>'
        article = (
            f'<article class="h-entry"><div class="e-content">{markdown.render(text)}</div>'
            f'<p>{author}, <a class="u-url" href="{escape(url)}">{escape(name)}</a></p></article>'
        )
        body = article + await self.mentions.html(url)
        return PAGE.format(title=escape(name), style=STYLESHEET, body=body)

    @asynccontextmanager
    async def publishing(self, app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(self.publish())
        yield
        task.cancel()
        await asyncio.wait([task])

    async def publish(self) -> None:
        seen: dict[str, str] = {}
        while True:
            await asyncio.sleep(LOOK)  # before the first look too: who is told comes to read, so be there
            posts = self.posts()
            for name, text in posts.items():
                # After a restart all look new; what was sent before is not sent again.
                if seen.get(name) != text:
                    await self.mentions.send(f"{self.site}/{name}", markdown.render(text))
            told = {each.source_url async for each in self.mentions.outgoing() if each.present}
            for url in told - {f"{self.site}/{name}" for name in posts}:
                await self.mentions.delete(url)
            seen = posts


def server(author: str, address: str, allow: list[str]) -> uvicorn.Server:
    folder = Path(author.lower())
    folder.mkdir(exist_ok=True)
    host, _, port = address.rpartition(":")
    blog = Blog(author, address, allow, folder)
    return uvicorn.Server(uvicorn.Config(blog.app, host=host, port=int(port)))


async def main(alice: str = "127.0.0.1:8001", bob: str = "127.0.0.1:8002") -> None:
    both = [alice, bob]
    await asyncio.gather(server("Alice", alice, both).serve(), server("Bob", bob, both).serve())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
