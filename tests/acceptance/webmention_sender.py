"""A sending side as a process of its own: `python webmention_sender.py STORE SITE ALLOWED DEADLINE [SOURCE HTML]`.

It sends what it is given, works off what is due, sixteen in hand, and says each
attempt's status and target in a line. Its leases are hardly longer than its
deadlines ask for, so that a killed one's are soon over.
"""

import asyncio
import sys

from holdfast import events
from holdfast.webmention import NetworkPolicy, Webmention, attempts, delivering
from holdfast.webmention.outbound import Outbound


def say(event: object) -> None:
    if isinstance(event, events.MentionSent):
        print(event.status, event.target_url, flush=True)


async def main(store: str, site: str, allowed: str, deadline: str, *post: str) -> None:
    attempts.GRACE = delivering.SETTLING = 0.5  # type: ignore[misc]
    delivering.IN_HAND = 16  # type: ignore[misc]
    seconds = float(deadline)
    assert Outbound.__init__.__kwdefaults__ is not None
    Outbound.__init__.__kwdefaults__.update(deadline=seconds, lease=2 * seconds + 2)
    events.subscribe(say)
    async with Webmention(store, site=site, policy=NetworkPolicy(allow=allowed.split(","))) as mentions:
        if post:
            await mentions.send(*post)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
