"""Those who take mentions in, each as an ASGI app under uvicorn, in a process of its own.

`python -m bench.webmention.receivers holdfast --port 4711 --site-port 4712 --hosts 200` listens on 4711.
The libraries `indieweb-utils` and `ronkyuu` have no endpoint.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final

import uvicorn
import uvloop

from bench.webmention.site import addresses

__all__ = ["RECEIVERS"]

WAIT: Final = 100_000
"""The bounds on what waits are out of the way: all comes from one address here."""


@asynccontextmanager
async def _holdfast(store: str, where: Sequence[str]) -> AsyncIterator[Any]:
    from holdfast.webmention import InboxLimits, NetworkPolicy, Webmention

    logging.getLogger("holdfast.webmention").setLevel(logging.ERROR)
    limits = InboxLimits(queued=WAIT, per_host=WAIT, per_client=WAIT)
    async with Webmention(
        store, site="http://blog.example", policy=NetworkPolicy(allow=where), limits=limits
    ) as app:
        yield app


@asynccontextmanager
async def _webmentions(store: str, where: Sequence[str]) -> AsyncIterator[Any]:
    package = import_module("webmentions")
    from bench.webmention.senders import kept

    app = import_module("fastapi").FastAPI()
    handler = package.WebmentionsHandler(
        storage=kept(), base_url="http://blog.example", ssrf_protection=False
    )
    import_module("webmentions.server.adapters.fastapi").bind_webmentions(app, handler, route="/")
    yield app


RECEIVERS: Final = {
    "holdfast": (_holdfast, "memory://"),
    "holdfast-sqlite": (_holdfast, "sqlite:///{directory}/ours.db"),
    "webmentions": (_webmentions, ""),
}


async def _serve(name: str, port: int, where: Sequence[str], directory: str) -> None:
    make, store = RECEIVERS[name]
    async with make(store.format(directory=directory), where) as app:
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="error"
        )
        await uvicorn.Server(config).serve()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=RECEIVERS)
    for option in ("--port", "--site-port", "--hosts"):
        parser.add_argument(option, type=int, required=True)
    options = parser.parse_args(arguments)
    where = [f"{address}:{options.site_port}" for address in addresses(options.hosts)]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        uvloop.run(_serve(options.name, options.port, where, directory))


if __name__ == "__main__":
    main()
