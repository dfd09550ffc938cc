"""The dashboard without a script: forms as a browser sends them, on memory and on SQLite."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from holdfast.errors import StoreUnavailable
from holdfast.persist import KEEP, Keep, Persist
from holdfast.persist.drivers.memory import MemoryDriver
from holdfast.settings import Settings
from holdfast.testing.clock import ManualClock
from holdfast.testing.faults import Dropping, Failing
from holdfast.web import token
from holdfast.web.dashboard.attempts import PER_CLIENT
from holdfast.web.dashboard.sessions import IDLE_SECONDS
from holdfast.web.dashboard.signin import local

from .browser import Browser, Forms
from .conftest import TOKEN, serving, store_of


@pytest.fixture
async def visitor(anybody: httpx.AsyncClient) -> Browser:
    return Browser(anybody)


@pytest.fixture
async def browser(visitor: Browser) -> Browser:
    await visitor.sign_in()
    return visitor


@pytest.fixture
def kept(anybody: httpx.AsyncClient) -> Persist:
    return store_of(anybody)


# --- signing in ---


async def test_whoever_knows_the_token_comes_in_and_back_to_where_one_wanted(visitor: Browser) -> None:
    await visitor.go("/keys?prefix=a%26b")
    assert visitor.page.url.path == "/sign-in"
    page = await visitor.send("/sign-in", token=f" {TOKEN} ")
    assert (page.status_code, page.url.path, page.url.query) == (200, "/keys", b"prefix=a%26b")


async def test_a_wrong_token_stays_outside(visitor: Browser) -> None:
    page = await visitor.sign_in("wrong")
    assert page.status_code == 401
    assert "That is not the token." in visitor.text
    assert (await visitor.go("/keys")).url.path == "/sign-in"


async def test_the_session_cookie_is_for_this_server_and_no_script(visitor: Browser) -> None:
    visitor.client.follow_redirects = False
    page = await visitor.sign_in()
    cookies = [value for name, value in page.headers.multi_items() if name == "set-cookie"]
    session = next(each for each in cookies if each.startswith("holdfast_session_8000="))
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in session
    assert "Secure" not in session
    assert TOKEN not in "".join(cookies)


async def test_over_https_and_below_a_root_path_the_cookie_says_so(store_url: str) -> None:
    settings = Settings(store=store_url, token=TOKEN, root_path="/store", site="https://alice.example")
    async with serving(settings, base="https://alice.example") as client:
        browser = Browser(client)
        await browser.go("/store/")
        assert browser.page.url.path == "/store/sign-in"
        client.follow_redirects = False
        page = await browser.send("/store/sign-in", token=TOKEN)
        assert page.headers["location"] == "/store/"
        session = next(value for name, value in page.headers.multi_items() if "holdfast_session_0" in value)
        assert "Secure" in session
        assert "Path=/store" in session
        client.follow_redirects = True
        await browser.go("/store/")
        for link in re.findall(r'(?:href|src|action|data-live-url)="([^"#]+)"', browser.page.text):
            assert link.startswith("/store/"), link
            assert (await client.get(link.replace("&amp;", "&"))).status_code in (200, 405)


async def test_a_sign_in_form_without_its_cookie_is_refused_with_a_fresh_one(visitor: Browser) -> None:
    await visitor.go("/sign-in")
    visitor.client.cookies.clear()
    page = await visitor.send("/sign-in", token=TOKEN)
    assert page.status_code == 403
    assert (await visitor.send("/sign-in", token=TOKEN)).url.path == "/"


async def test_after_ten_attempts_the_right_token_does_not_help_for_a_while(visitor: Browser) -> None:
    for _ in range(PER_CLIENT):
        assert (await visitor.sign_in("wrong")).status_code == 401
    page = await visitor.sign_in()
    assert page.status_code == 429
    assert 0 < int(page.headers["retry-after"]) <= 900
    assert "Too many attempts. Please wait 15 min" in visitor.text
    visitor.client.headers["Authorization"] = f"Bearer {TOKEN}"
    assert (await visitor.client.get("/persist")).status_code == 200  # programs are not concerned


async def test_signing_in_forgets_the_failures_before_it(visitor: Browser) -> None:
    for _ in range(3):
        for _ in range(PER_CLIENT - 1):
            await visitor.sign_in("wrong")
        assert (await visitor.sign_in()).status_code == 200
        await visitor.send("/sign-out")


async def test_signing_out_ends_the_session_in_the_store_too(browser: Browser) -> None:
    cookie = dict(browser.client.cookies)
    await browser.go("/")
    await browser.send("/sign-out")
    assert "You are signed out." in browser.text
    browser.client.cookies.update(cookie)
    assert (await browser.go("/")).url.path == "/sign-in"


async def test_a_new_token_signs_everybody_out(store_url: str) -> None:
    async with serving(Settings(store=store_url)) as client:
        browser = Browser(client)
        made = await token.ensure(store_of(client))
        assert made is not None
        assert (await browser.sign_in(made)).url.path == "/"
        await token.rotate(store_of(client))
        assert (await browser.go("/")).url.path == "/sign-in"


async def test_a_store_without_a_token_says_how_to_make_one(store_url: str) -> None:
    async with serving(Settings(store=store_url)) as client:
        browser = Browser(client)
        assert (await browser.sign_in("")).status_code == 401
        assert "holdfast token --rotate" in browser.text


async def test_who_is_signed_in_is_not_asked_again(browser: Browser) -> None:
    assert (await browser.go("/sign-in?next=/keys")).url.path == "/keys"


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\/evil", "", "/a\nb", "evil", "/\tx"],
)
def test_a_way_back_never_leads_elsewhere(path: str) -> None:
    assert local(path) == "/"


# --- forms of others ---


@pytest.mark.parametrize("path", ["/edit", "/remove", "/sign-out"])
async def test_a_form_without_the_sessions_mark_does_nothing(
    browser: Browser, kept: Persist, path: str
) -> None:
    await kept.set("k", 1)
    entry = await kept.entry("k")
    assert entry is not None
    for csrf in ("", "x" * 43):
        form = {"csrf": csrf, "at": "k", "version": entry.version, "text": "2"}
        assert (await browser.client.post(path, data=form)).status_code == 403
    assert await kept.get("k") == 1
    assert (await browser.go("/")).url.path == "/"


async def test_a_form_that_another_site_sent_does_nothing(browser: Browser, kept: Persist) -> None:
    await browser.go("/new")
    browser.client.headers["Sec-Fetch-Site"] = "cross-site"
    page = await browser.send("/edit", key="k", text="1")
    assert page.status_code == 403
    assert await kept.get("k") is None


async def test_a_form_must_be_a_form(browser: Browser) -> None:
    assert (await browser.client.post("/edit", json={})).status_code == 415
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await browser.client.post("/edit", content=b"x=%FF", headers=headers)).status_code == 400
    await browser.go("/new")
    assert (await browser.send("/edit", key="k", text="1" * 200_000)).status_code == 413


# --- looking ---


async def test_the_overview_says_what_the_store_is_and_promises(browser: Browser, kept: Persist) -> None:
    await browser.go("/")
    assert "The store answers" in browser.text
    assert kept.store in browser.text
    for finding in await kept.describe():
        assert finding.subject.capitalize() in browser.text


async def test_the_live_figures_are_counted(browser: Browser, kept: Persist) -> None:
    figures = (await browser.client.get("/live.json")).json()
    assert figures["up"] is True
    assert len(figures["series"]) == 60
    assert figures["errors"] == figures["lost"] == 0


async def test_an_ended_session_is_told_to_the_script_that_polls(visitor: Browser) -> None:
    answer = await visitor.client.get("/live.json")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_empty_store_says_how_to_begin(browser: Browser) -> None:
    await browser.go("/keys")
    assert "Nothing is stored yet" in browser.text
    assert "http://localhost:8000/persist/greeting" in browser.text


async def test_keys_are_listed_with_their_value_life_and_version(browser: Browser, kept: Persist) -> None:
    await kept.set("user:1", {"name": "Ada"}, expires=3600)
    await kept.set("user:2", "x" * 300)
    await kept.set("other", None)
    entry = await kept.entry("user:1")
    assert entry is not None
    await browser.go("/keys?prefix=user")
    assert '{"name":"Ada"}' in browser.text
    assert re.search(r"(1 h|59 min 5\d s)", browser.text)
    assert entry.version[:10] in browser.text
    assert "x" * 100 in browser.text
    assert "x" * 200 not in browser.text
    assert "other" not in browser.text
    await browser.go("/keys?prefix=none")
    assert "No key starts with none" in browser.text
    assert (await browser.go(f"/keys?prefix={'x' * 600}")).status_code == 400


async def test_a_long_list_is_paged_to_its_end(browser: Browser, kept: Persist) -> None:
    wanted = {f"k{n:03}" for n in range(120)}
    await kept.set_many(dict.fromkeys(wanted, 1))
    found: set[str] = set()
    await browser.go("/keys?prefix=k")
    for _ in range(5):
        found |= set(re.findall(r"\bk\d{3}\b", browser.text))
        following = re.search(r'rel="next" href="([^"]+)"', browser.page.text)
        if following is None:
            break
        await browser.go(following[1].replace("&amp;", "&"))
    assert found == wanted


async def test_a_cursor_of_another_time_begins_again(browser: Browser, kept: Persist) -> None:
    await kept.set("k1", 1)
    page = await browser.go("/keys?prefix=k&cursor=AAAA")
    assert page.url.query == b"prefix=k"
    assert "k1" in browser.text


@pytest.mark.parametrize("key", ["a/b", "<script>", "a\r\nb", "?&#=+%", "ü", " x ", "..", '"quoted"'])
async def test_any_key_is_listed_opened_changed_and_removed(
    browser: Browser, kept: Persist, key: str
) -> None:
    await kept.set(key, {"n": 1})
    await browser.go("/keys")
    assert "<script>" not in browser.page.text.replace('<script type="module"', "")
    link = re.search(r'<th scope="row"><a href="([^"]+)"', browser.page.text)
    assert link is not None
    await browser.go(link[1])
    assert '"n" : 1' in browser.text
    await browser.go(f"/edit?key={quote(key, safe='')}")
    assert (await browser.send("/edit", text='{"n": 2}')).status_code == 200
    assert "Saved." in browser.text
    assert await kept.get(key) == {"n": 2}
    await browser.go(f"/remove?key={quote(key, safe='')}")
    await browser.send("/remove")
    assert "Removed." in browser.text
    assert await kept.get(key) is None


async def test_a_key_with_nothing_under_it_is_said_to_be_gone(browser: Browser) -> None:
    for path in ("/value", "/edit", "/remove"):
        page = await browser.go(f"{path}?key=gone")
        assert page.status_code == 404
        assert "Nothing is stored under this key gone" in browser.text
    assert (await browser.go("/value")).status_code == 400


# --- creating and changing ---


async def test_a_value_is_created_with_the_life_that_was_chosen(browser: Browser, kept: Persist) -> None:
    for lifetime, number, unit, most in (
        ("never", "", "minutes", None),
        ("after", "1,5", "hours", 5400),
        ("after", "30", "seconds", 30),
    ):
        await browser.go("/new")
        await browser.send("/edit", key="k", text=" [1,\n 2]", lifetime=lifetime, number=number, unit=unit)
        assert "Created." in browser.text
        entry = await kept.entry("k")
        assert entry is not None
        assert entry.value == [1, 2]
        assert entry.ttl is None if most is None else most - 5 < (entry.ttl or 0) <= most
        await kept.remove("k")


async def test_a_change_keeps_ends_or_renews_the_life(browser: Browser, kept: Persist) -> None:
    choices: list[tuple[dict[str, str], float | None]] = [
        ({"lifetime": "keep"}, 100),
        ({"lifetime": "never"}, None),
        ({"lifetime": "after", "number": "2", "unit": "days"}, 2 * 86400),
    ]
    for choice, most in choices:
        await kept.set("k", 1, expires=100)
        await browser.go("/edit?key=k")
        assert browser.form("/edit")["lifetime"] == "keep"
        await browser.send("/edit", text="2", **choice)
        entry = await kept.entry("k")
        assert entry is not None
        assert entry.value == 2
        assert (entry.ttl is None) if most is None else (most - 5 < (entry.ttl or 0) <= most)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": '{"a": oops}'}, "This is not JSON: invalid character in line 1, column 7."),
        ({"text": ""}, "This is not JSON: empty"),
        ({"text": '"' + "x" * 2000 + '"'}, "This is 2,002 bytes; a value may have 2,000."),
        ({"key": ""}, "The key is empty."),
        ({"key": "k" * 513}, "The key has 513 bytes"),
        ({"key": "a\0b"}, "A key cannot hold NUL."),
        ({"lifetime": "after", "number": ""}, "How long? A number greater than zero."),
        ({"lifetime": "after", "number": "-1"}, "How long?"),
        ({"lifetime": "after", "number": "nan"}, "How long?"),
        ({"lifetime": "after", "number": "1", "unit": "aeons"}, "How long?"),
    ],
)
async def test_what_cannot_be_saved_is_shown_again_with_the_reason(
    browser: Browser, kept: Persist, changes: dict[str, str], says: str
) -> None:
    await browser.go("/new")
    sent = {"key": "k", "text": '{"a": 1}', "number": "5", "unit": "hours"} | changes
    page = await browser.send("/edit", **sent)
    assert page.status_code == 400
    assert says in browser.text
    assert 'aria-invalid="true"' in page.text
    shown = browser.form("/edit")
    assert {name: shown[name] for name in ("text", "number")} == {
        name: sent[name] for name in ("text", "number")
    }
    assert await kept.get("k") is None


async def test_a_conflict_shows_both_and_loses_neither(browser: Browser, kept: Persist) -> None:
    await kept.set("k", {"n": 1})
    await browser.go("/edit?key=k")
    await kept.set("k", {"n": "theirs"})
    page = await browser.send("/edit", text='{"n": "mine"}')
    assert page.status_code == 409
    assert "Somebody else changed this value" in browser.text
    assert '"theirs"' in browser.text
    assert browser.form("/edit")["text"] == '{"n": "mine"}'
    assert await kept.get("k") == {"n": "theirs"}
    assert (await browser.send("/edit")).status_code == 200
    assert await kept.get("k") == {"n": "mine"}


async def test_a_second_change_during_a_conflict_is_a_conflict_again(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1)
    await browser.go("/edit?key=k")
    for theirs in (2, 3):
        await kept.set("k", theirs)
        assert (await browser.send("/edit", text='"mine"')).status_code == 409
        assert await kept.get("k") == theirs


async def test_a_value_that_went_meanwhile_can_be_created_again(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1, expires=100)
    await browser.go("/edit?key=k")
    await kept.remove("k")
    page = await browser.send("/edit", text='"mine"')
    assert page.status_code == 409
    assert "This value is gone." in browser.text
    assert await kept.get("k") is None
    await browser.send("/edit")
    assert "Created." in browser.text
    assert await kept.get("k") == "mine"


async def test_creating_over_a_live_value_asks_first(browser: Browser, kept: Persist) -> None:
    await browser.go("/new")
    await kept.set("k", "theirs")
    page = await browser.send("/edit", key="k", text='"mine"')
    assert page.status_code == 409
    assert "There is a value under this key already." in browser.text
    assert await kept.get("k") == "theirs"
    await browser.send("/edit")
    assert await kept.get("k") == "mine"


async def test_saving_what_is_stored_already_is_no_conflict(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1)
    await browser.go("/edit?key=k")
    await kept.set("k", {"n": 2})
    page = await browser.send("/edit", text='{ "n": 2 }')
    assert page.status_code == 200
    assert "Saved." in browser.text


# --- removing ---


async def test_a_value_that_changed_is_not_removed_unseen(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1)
    await browser.go("/remove?key=k")
    await kept.set("k", "another")
    page = await browser.send("/remove")
    assert page.status_code == 409
    assert '"another"' in browser.text
    assert await kept.get("k") == "another"
    await browser.send("/remove")
    assert await kept.get("k") is None


async def test_removing_what_is_gone_says_so(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1)
    await browser.go("/remove?key=k")
    await kept.remove("k")
    await browser.send("/remove")
    assert "It was gone already" in browser.text


# --- sessions and stores that go away ---


@pytest.fixture
async def timed() -> AsyncIterator[tuple[Browser, Persist, ManualClock]]:
    clock = ManualClock()
    persist = Persist(MemoryDriver(now_ms=clock))
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        yield Browser(client), persist, clock


async def test_what_was_written_survives_the_end_of_the_session(
    timed: tuple[Browser, Persist, ManualClock],
) -> None:
    browser, persist, clock = timed
    await browser.sign_in()
    await persist.set("a/ü", 1)
    await browser.go("/edit?key=a%2F%C3%BC")
    clock.advance(IDLE_SECONDS)
    page = await browser.send("/edit", text='{"long": "work"}')
    assert page.status_code == 401
    assert "Your session has ended." in browser.text
    assert await persist.get("a/ü") == 1
    await browser.send("/sign-in", token="wrong")
    await browser.send("/sign-in", token=TOKEN)
    assert "You are signed in again. Nothing was saved yet" in browser.text
    assert browser.form("/edit")["text"] == '{"long": "work"}'
    await browser.send("/edit")
    assert await persist.get("a/ü") == {"long": "work"}


async def test_a_forgotten_tab_that_polls_does_not_keep_its_session_alive(
    timed: tuple[Browser, Persist, ManualClock],
) -> None:
    browser, _, clock = timed
    await browser.sign_in()
    for _ in range(4):
        assert (await browser.client.get("/live.json")).status_code == 200
        clock.advance(IDLE_SECONDS / 4)
    assert (await browser.client.get("/live.json")).status_code == 401


async def test_a_value_that_expires_while_it_is_looked_at_is_said_to_have_expired(
    timed: tuple[Browser, Persist, ManualClock],
) -> None:
    browser, persist, clock = timed
    await browser.sign_in()
    await persist.set("k", 1, expires=60)
    await browser.go("/value?key=k")
    clock.advance(60)
    assert (await browser.go("/value?key=k")).status_code == 404
    assert "It has expired, or somebody removed it." in browser.text


class Breakable(Failing):
    """Fails while `broken`."""

    def __init__(self) -> None:
        super().__init__(MemoryDriver())
        self.broken = False
        self.on = self

    def __contains__(self, number: object) -> bool:
        return self.broken


async def test_a_store_that_is_away_is_said_so_and_the_form_is_kept() -> None:
    driver = Breakable()
    persist = Persist(driver)
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        browser = Browser(client)
        await browser.sign_in()
        await browser.go("/new")
        driver.broken = True
        page = await browser.send("/edit", key="k", text='"work"')
        assert page.status_code == 503
        assert "The store does not answer" in browser.text
        for path in ("/", "/keys", "/sign-in", "/value?key=k"):
            page = await client.get(path)
            assert page.status_code == 503
            assert "The store does not answer" in page.text
            assert page.headers["retry-after"] == "1"
        driver.broken = False
        again = Forms(browser.page.text).forms[-1][1]
        await client.post("/edit", data=again)
        assert await persist.get("k") == "work"


async def test_a_save_that_fails_halfway_says_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Dropping(MemoryDriver(), on=())
    persist = Persist(driver)
    async with serving(Settings(token=TOKEN), persist=persist) as client:
        browser = Browser(client)
        await browser.sign_in()
        await persist.set("k", 1)
        await browser.go("/edit?key=k")
        plain = Persist.replace

        async def lost(
            self: Persist, key: str, value: object, *, version: str, expires: float | Keep | None = KEEP
        ) -> str:
            await plain(self, key, value, version=version, expires=expires)
            raise StoreUnavailable("lost", maybe_applied=True)

        monkeypatch.setattr(Persist, "replace", lost)
        page = await browser.send("/edit", text="2")
        assert page.status_code == 503
        assert "nobody can say whether it was" in browser.text
        monkeypatch.setattr(Persist, "replace", plain)
        await browser.send("/edit")  # it was: the same again is no conflict
        assert "Saved." in browser.text


# --- the pages themselves ---


async def test_no_page_has_a_style_a_script_or_an_address_of_its_own(browser: Browser, kept: Persist) -> None:
    await kept.set("k", {"n": [1, None, "x"]})
    for path in (
        "/",
        "/keys",
        "/keys?prefix=x",
        "/value?key=k",
        "/edit?key=k",
        "/new",
        "/remove?key=k",
        "/none",
    ):
        page = (await browser.go(path)).text
        assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)|\son\w+=", page), path
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), path
        assert '<html lang="en">' in page
        assert page.count("<h1") == 1, path
        assert "<title>" in page


async def test_every_field_has_a_label_and_every_image_a_text(browser: Browser, kept: Persist) -> None:
    await kept.set("k", 1)
    for path in ("/", "/keys", "/edit?key=k", "/new", "/remove?key=k"):
        page = (await browser.go(path)).text
        for tag in re.findall(r"<(?:input|textarea|select)\b[^>]*>", page):
            if 'type="hidden"' in tag or 'type="radio"' in tag:
                continue
            found = re.search(r'\bid="(\w+)"', tag)
            assert found is not None, tag
            assert f'for="{found[1]}"' in page, tag
        assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))
