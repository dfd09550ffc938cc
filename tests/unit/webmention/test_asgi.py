"""The endpoint, its status pages, and the header that names it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.webmention.receiving_lab import POST, SITE, SOURCE, ask, entry, lab

from holdfast.errors import StoreUnavailable
from holdfast.webmention import asgi
from holdfast.webmention.asgi import advertise, endpoint
from holdfast.webmention.inbound import InboxLimits

PAIR = {"source": SOURCE, "target": POST}
HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize("path", ["/webmention", "/webmention/"])
async def test_a_mention_is_created_with_a_page_that_says_what_becomes_of_it(path: str) -> None:
    async with lab() as here:
        here.web.html(SOURCE, entry())
        app = endpoint(here.inbound)
        answer = await ask(app, "POST", path, form=PAIR)
        assert answer.status == 201
        where = answer.headers["location"]
        assert where.startswith(f"{SITE}/webmention/")
        assert json.loads(answer.body)["status"] == where
        status = await ask(app, path=where.removeprefix(SITE))
        assert (status.status, json.loads(status.body)["state"]) == (200, "queued")
        await here.inbound.work()
        said = json.loads((await ask(app, path=where.removeprefix(SITE) + "/")).body)
        assert (said["state"], said["source"], said["target"]) == ("pending", SOURCE, POST)
        assert "links to the target" in said["reason"]
        assert set(said) == {"source", "target", "state", "says", "reason"}


@pytest.mark.parametrize(("path", "root"), [("/app/wm", "/app"), ("/wm", "/app"), ("/app/wm/", "/app")])
async def test_it_finds_itself_wherever_it_is_mounted(path: str, root: str) -> None:
    async with lab() as here:
        app = endpoint(here.inbound)
        answer = await ask(app, "POST", path, form=PAIR, root_path=root)
        where = answer.headers["location"].removeprefix(SITE)
        assert where.startswith("/app/wm/")
        assert (await ask(app, path=where, root_path=root)).status == 200


async def test_who_is_blocked_is_not_told_by_what() -> None:
    async with lab() as here:
        mention = await here.verified()
        await here.inbound.block("bob.example/re*")
        for headers in ({}, HTML):
            page = await ask(endpoint(here.inbound), path=f"/webmention/{mention.id}", headers=headers)
            assert ("It is not shown on this site." in page.text, "re*" in page.text) == (True, False)


async def test_who_sends_by_hand_sees_pages() -> None:
    async with lab() as here:
        app = endpoint(here.inbound)
        form = await ask(app, headers=HTML)
        assert (form.status, '<form method="post" action="/webmention">' in form.text) == (200, True)
        sent = await ask(app, "POST", form=PAIR, headers=HTML)
        assert (sent.status, "See what becomes of it" in sent.text) == (201, True)
        hostile = {"source": SOURCE + "?<script>", "target": POST}
        where = (await ask(app, "POST", form=hostile)).headers["location"].removeprefix(SITE)
        page = await ask(app, path=where, headers=HTML)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "<script" not in page.text
        assert asgi.SAYS["queued"] in page.text
        wrong = await ask(app, "POST", form={"source": "<script>", "target": POST}, headers=HTML)
        assert (wrong.status, "<script" in wrong.text) == (400, False)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "Source is missing."),
        ({"source": SOURCE}, "Target is missing."),
        ({"source": "no url", "target": POST}, "Source is not an absolute"),
        ({"source": SOURCE, "target": "no url"}, "Target is not an absolute"),
        ({"source": "no url", "target": "no url"}, "Source is not an absolute"),
        ({"source": POST, "target": POST}, "the same page"),
        ({"source": SOURCE, "target": "https://carol.example/"}, "not a page here"),
    ],
)
async def test_every_mistake_of_the_sender_is_a_400_with_a_reason(form: dict[str, str], says: str) -> None:
    async with lab() as here:
        answer = await ask(endpoint(here.inbound), "POST", form=form)
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in json.loads(answer.body)["detail"]


async def test_what_is_no_form_is_a_400() -> None:
    async with lab() as here:
        app = endpoint(here.inbound)
        kind = {"content-type": "application/json"}
        assert (await ask(app, "POST", body=[json.dumps(PAIR).encode()], headers=kind)).status == 400
        kind = {"content-type": "application/x-www-form-urlencoded"}
        assert (await ask(app, "POST", body=[b"x" * 8192] * 3, headers=kind)).status == 400


async def test_beyond_the_bound_it_says_when_to_come_back() -> None:
    async with lab(limits=InboxLimits(per_client=1)) as here:
        app = endpoint(here.inbound)
        assert (await ask(app, "POST", form=PAIR)).status == 201
        other = {"source": SOURCE + "2", "target": POST}
        answer = await ask(app, "POST", form=other)
        assert (answer.status, answer.headers["retry-after"]) == (429, "60")
        assert (await ask(app, "POST", form=other, client=("198.51.100.8", 1))).status == 201
        assert (await ask(app, "POST", form={**other, "source": SOURCE + "3"}, client=None)).status == 201


async def test_other_methods_are_told_which_there_are() -> None:
    async with lab() as here:
        app = endpoint(here.inbound)
        for method in ("PUT", "DELETE", "PATCH"):
            answer = await ask(app, method)
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
        status = "/webmention/" + "0" * 40
        answer = await ask(app, "POST", status, form=PAIR)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await ask(app, "OPTIONS")).status == 204
        assert (await ask(app, path=status)).status == 404
        head = await ask(app, "HEAD")
        assert (head.status, head.body, head.headers["content-length"] != "0") == (200, b"", True)


async def test_a_store_that_is_away_is_a_503() -> None:
    async with lab() as here:

        async def away(*_: Any) -> Any:
            raise StoreUnavailable("get: away")

        here.driver.get = away  # type: ignore[assignment, method-assign]
        answer = await ask(endpoint(here.inbound), "POST", form=PAIR)
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")


async def test_a_client_that_has_gone_is_not_answered() -> None:
    async with lab() as here:
        with pytest.raises(ValueError, match="unpack"):  # nothing was sent to unpack
            await ask(
                endpoint(here.inbound),
                "POST",
                body=[],
                headers={"content-type": "application/x-www-form-urlencoded"},
            )


async def test_it_is_an_app_for_requests_alone() -> None:
    async with lab() as here:
        for app in (endpoint(here.inbound), asgi.reading(here.inbound)):
            with pytest.raises(NotImplementedError):
                await app({"type": "websocket"}, None, None)  # type: ignore[arg-type]


async def test_it_answers_at_once_while_a_thousand_sources_hang() -> None:
    async with lab(limits=InboxLimits(per_client=5_000)) as here:
        app = endpoint(here.inbound)
        for number in range(1000):
            here.web.pages[f"https://h{number}.example/"] = None
            form = {"source": f"https://h{number}.example/", "target": POST}
            assert (await ask(app, "POST", form=form)).status == 201
        working = asyncio.ensure_future(here.inbound.work())
        await here.web.hanging.wait()
        loop = asyncio.get_running_loop()
        took = []
        for number in range(20):
            began = loop.time()
            assert (
                await ask(app, "POST", form={"source": f"{SOURCE}{number}", "target": POST})
            ).status == 201
            took.append(loop.time() - began)
        assert (
            sorted(took)[10] < 0.5
        )  # the figure itself is a line of the bench; this is what a wait would exceed
        assert not working.done()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert here.web.most <= 32


# --- advertise ---


def answering(*links: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html"), *((b"Link", link) for link in links)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


async def linked(app: Any) -> list[str]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET"}, None, send)
    return [value.decode() for name, value in sent[0]["headers"] if name.lower() == b"link"]


async def test_every_answer_of_an_app_names_the_endpoint() -> None:
    assert await linked(advertise(answering())) == ['</webmention>; rel="webmention"']
    assert await linked(advertise(answering(b"</x>; rel=next"), "https://wm.example/a?b")) == [
        "</x>; rel=next",
        '<https://wm.example/a?b>; rel="webmention"',
    ]


@pytest.mark.parametrize("link", [b"</mine>; rel=webmention", b'</a>; rel=next, </b>; rel="x Webmention"'])
async def test_an_answer_that_names_one_itself_is_left_alone(link: bytes) -> None:
    assert await linked(advertise(answering(link))) == [link.decode()]


async def test_what_is_no_request_passes_through() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    await advertise(app)({"type": "websocket"}, "receive", "send")  # type: ignore[arg-type]
    assert seen == [("websocket", "receive", "send")]


@pytest.mark.parametrize("url", ["", "/a b", "/a>;", "/a\r\nx: y", "/ü"])
def test_what_would_break_the_header_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match="advertise"):
        advertise(answering(), url)


async def test_a_path_that_was_decoded_says_nothing_in_a_header() -> None:
    async with lab() as here:
        path = "/webmention/\r\nset-cookie: a=b\N{BLACK STAR}"
        answer = await ask(endpoint(here.inbound), "POST", path, form={"source": SOURCE, "target": POST})
        assert answer.status == 201
        assert answer.headers["location"].startswith(f"{SITE}/webmention/%0D%0Aset-cookie:%20a=b%E2%98%85/")
