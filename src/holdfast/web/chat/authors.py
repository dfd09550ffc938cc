"""Who writes in the chat: a browser's own name for itself, in a signed cookie that no script can read.

It is no account. It says that two messages came from one browser, so that this
browser, and no other, may change them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request, cookie_parser
from starlette.responses import Response

from holdfast.channels import Connect, User
from holdfast.errors import DuplicateKey
from holdfast.persist import Persist, reserved

__all__ = ["Authors", "cookie_name"]

YEAR: Final = 365 * 86400
_KEY: Final = "chat-secret"


class Authors:
    """Makes the cookies and believes those that it made."""

    def __init__(self, persist: Persist, *, path: str) -> None:
        self._own = reserved(persist)
        self._path = path or "/"
        self._secret: bytes | None = None

    async def connect(self, asked: Connect) -> User | None:
        """The user of a socket: the author of its browser, or nobody."""
        cookies = cookie_parser(asked.headers.get("cookie", ""))
        author = await self._believed(cookies.get(cookie_name(asked.headers.get("host", ""))))
        return None if author is None else User(author)

    async def ensure(self, request: Request, response: Response) -> None:
        """See that the browser has a cookie."""
        name = cookie_name(request.headers.get("host", ""))
        if await self._believed(request.cookies.get(name)) is not None:
            return
        author = secrets.token_hex(8)
        value = f"{author}.{await self._signature(author)}"
        secure = request.url.scheme == "https"
        response.set_cookie(
            name, value, max_age=YEAR, path=self._path, secure=secure, httponly=True, samesite="strict"
        )

    async def _believed(self, value: str | None) -> str | None:
        author, _, signature = (value or "").partition(".")
        if not author or not hmac.compare_digest(
            signature.encode(), (await self._signature(author)).encode()
        ):
            return None
        return author

    async def _signature(self, author: str) -> str:
        if self._secret is None:
            self._secret = await self._shared_secret()
        return hmac.new(self._secret, author.encode(), hashlib.sha256).hexdigest()

    async def _shared_secret(self) -> bytes:
        """One for all processes of the store; of several at once, one makes it."""
        secret = secrets.token_hex(32)
        try:
            await self._own.create(_KEY, secret)
        except DuplicateKey:
            kept = await self._own.get(_KEY, str)
            secret = secret if kept is None else kept
        return bytes.fromhex(secret)


def cookie_name(host: str) -> str:
    """One per port, as for sessions: another server on `localhost` would take a browser's author away."""
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None
    return f"holdfast_author_{port or 0}"
