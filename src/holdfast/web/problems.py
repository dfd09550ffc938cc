"""Errors as `application/problem+json` (RFC 9457).

`type` is a stable `urn:holdfast:problem:<name>` that a program can compare;
`title` never changes for a type, `detail` speaks of this one occurrence and
never holds a value or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from holdfast.errors import (
    Closed,
    HoldfastError,
    InvalidConversion,
    NotMigrated,
    Overloaded,
    StoreUnavailable,
)

__all__ = ["PROBLEMS", "Problem", "problem_of", "problem_of_status"]

# name -> status, title; docs/reference/http.md lists these, and a test holds the two together
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "bad-key": (400, "The key cannot be a key"),
    "bad-parameter": (400, "A query parameter cannot be understood"),
    "bad-json": (400, "The body is not JSON"),
    "bad-precondition": (400, "A precondition cannot be understood"),
    "unauthorized": (401, "The token is missing or wrong"),
    "forbidden": (403, "The request did not come from this dashboard"),
    "not-found": (404, "There is no such resource"),
    "no-value": (404, "There is no live value under this key"),
    "method-not-allowed": (405, "The resource does not have this method"),
    "unreadable": (409, "What is stored is not JSON"),
    "not-a-counter": (409, "The value is not a counter"),
    "precondition-failed": (412, "The value is not what the precondition says"),
    "too-large": (413, "The body is larger than a value may be"),
    "not-json": (415, "The body must be application/json"),
    "wrong-host": (421, "This server does not answer to that name"),
    "out-of-range": (422, "The counter would leave the signed 64-bit range"),
    "too-many-attempts": (429, "Too many attempts to sign in"),
    "error": (500, "The server failed"),
    "store-unavailable": (503, "The store does not answer"),
    "overloaded": (503, "Too many operations wait for the store"),
    "not-ready": (503, "The store is not ready"),
}


class Problem(Exception):
    """One answer that is not a success; raised anywhere, rendered once."""

    def __init__(
        self, name: str, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.status, self.title = PROBLEMS[name]
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """The problem document."""
        body = {"type": f"urn:holdfast:problem:{self.name}", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(
            msgspec.json.encode(body | self.members),
            status_code=self.status,
            media_type="application/problem+json",
            headers=headers,
        )


def problem_of(error: HoldfastError) -> Problem:
    """What the store's error means to someone who speaks HTTP."""
    later = {"Retry-After": "1"}
    if isinstance(error, Overloaded):
        return Problem("overloaded", "Nothing was sent. Try again.", headers=later, maybe_applied=False)
    if isinstance(error, StoreUnavailable):
        known = "It may have been applied." if error.maybe_applied else "Nothing was changed."
        return Problem("store-unavailable", known, headers=later, maybe_applied=error.maybe_applied)
    if isinstance(error, NotMigrated):
        return Problem("not-ready", str(error), maybe_applied=False)
    if isinstance(error, Closed):
        return Problem("not-ready", "The server is starting or stopping.", headers=later, maybe_applied=False)
    if isinstance(error, InvalidConversion):
        return Problem("unreadable", "Something other than Holdfast wrote it.")
    return Problem("error")


def problem_of_status(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Problem:
    """The problem of a status that the framework itself answered with."""
    names = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
    found = Problem(names.get(status, "error"), detail, headers=headers)
    if found.status != status:
        found.status, found.title = status, HTTPStatus(status).phrase
    return found
