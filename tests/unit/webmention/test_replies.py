"""Requests read within bounds, answers given."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import MentionRefused
from holdfast.webmention import replies
from holdfast.webmention.replies import MAX_BODY, escaped, fields, here, path_of

FORM = [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]


async def form(*chunks: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, str] | None:
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    return await fields({"headers": FORM if headers is None else headers}, receive)


async def test_a_form_may_come_in_pieces() -> None:
    assert await form(b"source=https%3A//b", b".example/&target=", b"x&other=1") == {
        "source": "https://b.example/",
        "target": "x",
        "other": "1",
    }


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"{}", [(b"content-type", b"application/json")], "as application/x-www-form-urlencoded"),
        (b"source=a", [], "as application/x-www-form-urlencoded"),
        (b"x" * (MAX_BODY + 1), None, "larger"),
        (b"", [*FORM, (b"content-length", b"999999")], "larger"),
        (b"source=a&source=b", None, "source is there twice"),
        (b"\xff=1", None, "no form"),
        (b"source=%ff", None, "no form"),
        (b"a&" * 60, None, "no form"),
    ],
)
async def test_what_is_no_small_form_is_refused(
    body: bytes, headers: list[tuple[bytes, bytes]] | None, says: str
) -> None:
    with pytest.raises(MentionRefused, match=says) as raised:
        await form(body, headers=headers)
    assert raised.value.status == 400


async def test_a_body_that_grows_is_cut_off_where_the_bound_is() -> None:
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 4096, "more_body": True}

    with pytest.raises(MentionRefused, match="larger"):
        await fields({"headers": FORM}, receive)
    assert read == MAX_BODY // 4096 + 1


async def test_a_body_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "PATIENCE", 0.01)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(MentionRefused) as raised:
        await fields({"headers": FORM}, receive)
    assert raised.value.status == 408


async def test_a_client_that_has_gone_is_no_mistake() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await fields({"headers": FORM}, receive) is None


@pytest.mark.parametrize(
    ("host", "scheme", "site", "where"),
    [
        ("alice.example", "http", "https://alice.example", "https://alice.example"),
        ("", "http", "https://alice.example/~me", "https://alice.example"),
        ("wm.example", "https", "https://alice.example", "https://wm.example"),
        ("127.0.0.1:8000", "http", None, "http://127.0.0.1:8000"),
        ("[::1]:8000", "http", None, "http://[::1]:8000"),
        ('evil"><script>', "http", None, ""),
        ("a b", "http", None, ""),
    ],
)
def test_where_we_are_is_what_the_site_says_or_a_host_that_is_one(
    host: str, scheme: str, site: str | None, where: str
) -> None:
    headers = [(b"host", host.encode())] if host else []
    assert here({"headers": headers, "scheme": scheme}, site) == where


@pytest.mark.parametrize(
    ("root", "path", "whole"),
    [
        ("", "/webmention/", "/webmention"),
        ("/app", "/app/webmention", "/app/webmention"),
        ("/app/", "/webmention", "/app/webmention"),
        ("/web", "/webmention", "/web/webmention"),
        ("/webmention", "/", "/webmention"),
    ],
)
def test_a_path_is_whole_whether_the_server_strips_its_mount_or_not(root: str, path: str, whole: str) -> None:
    assert path_of({"path": path, "root_path": root}) == whole


def test_what_is_shown_is_escaped() -> None:
    assert escaped("<a href=\"'&\ud800") == "&lt;a href=&quot;&#x27;&amp;?"
