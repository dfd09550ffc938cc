"""Starlette: a form that may be sent once, however often the button is pressed.

uvicorn examples.starlette_app:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast import Holdfast
from holdfast.persist import DuplicateKey

hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///app.db"))


async def order(request: Request) -> JSONResponse:
    body = await request.json()
    try:
        await hold.persist.create(f"order:{request.headers['Idempotency-Key']}", body, expires=24 * 3600)
    except DuplicateKey:
        return JSONResponse({"already": True})
    number = await hold.persist.increment("orders")
    return JSONResponse({"number": number}, status_code=201)


@asynccontextmanager
async def existing(app: Starlette) -> AsyncIterator[None]:
    """The lifespan that the application had already; the store is open around it."""
    await hold.persist.set("started", True, expires=60)
    yield


app = Starlette(routes=[Route("/orders", order, methods=["POST"])], lifespan=hold.lifespan(existing))
