"""Litestar: at most five requests a minute for each caller.

uvicorn examples.litestar_app:app
"""

import os

from litestar import Litestar, Request, get
from litestar.exceptions import TooManyRequestsException

from holdfast import Holdfast

hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///app.db"))


@get("/quote")
async def quote(request: Request[None, None, None]) -> dict[str, str]:
    caller = request.client.host if request.client else "unknown"
    # The minute begins with the first request: a counter that lives keeps its expiry.
    count = await hold.persist.increment(f"requests:{caller}", expires=60)
    if count > 5:
        raise TooManyRequestsException("five a minute")
    return {"quote": "Hold fast that which is good."}


app = Litestar([quote], lifespan=[hold.lifespan])
