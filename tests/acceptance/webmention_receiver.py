"""A receiving side as a process of its own: `python webmention_receiver.py STORE SITE ALLOWED...`.

It serves the endpoint on a free port, which it says first, then the source of
each mention that it has accepted. Its leases are of two seconds, so that a
killed one's are soon over.
"""

import asyncio
import socket
import sys

import uvicorn

from holdfast.webmention import NetworkPolicy, ReceivedMention, Webmention, working


def say(mention: ReceivedMention) -> None:
    print(mention.source_url, flush=True)


async def main(store: str, site: str, allowed: list[str]) -> None:
    working.LEASE, working.PATIENCE = 2.0, 1.0
    policy = NetworkPolicy(allow=allowed)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with Webmention(store, site=site, accept="all", policy=policy, on_mention=say) as mentions:
            server = uvicorn.Server(uvicorn.Config(mentions, log_level="warning", lifespan="off"))
            print(listening.getsockname()[1], flush=True)
            await server.serve(sockets=[listening])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
