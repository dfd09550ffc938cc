"""FastAPI: a page's view counter, and users that are loaded once.

uvicorn examples.fastapi_app:app
"""

import os

import msgspec
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from holdfast import Holdfast
from holdfast.persist import DuplicateKey


class User(BaseModel):
    name: str
    likes: list[str] = []


hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///app.db"))
app = FastAPI(lifespan=hold.lifespan)


@app.post("/users/{id}", status_code=201)
async def create_user(id: str, user: User) -> User:
    try:
        await hold.persist.create(f"user:{id}", user)
    except DuplicateKey:
        raise HTTPException(409, "there is such a user already") from None
    return user


@app.get("/users/{id}")
async def read_user(id: str) -> User:
    user = await hold.persist.get(f"user:{id}", User)
    if user is None:
        raise HTTPException(404, "no such user")
    return user


class Report(msgspec.Struct):
    page: str
    words: int


@app.get("/pages/{page}")
async def read_page(page: str) -> dict[str, object]:
    async def count_words() -> Report:
        """Slow, so it runs once a minute and in one process at a time, however many ask."""
        return Report(page, words=len(page.split("-")))

    views = await hold.persist.increment(f"views:{page}")
    report = await hold.persist.get_or_create(f"report:{page}", Report, count_words, expires=60)
    return {"views": views, "words": report.words}
