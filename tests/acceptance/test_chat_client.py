"""The chat's client module by itself, in Chromium: what it says over a socket that a test holds in its hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.served import Served

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page  # noqa: E402
from tests.acceptance.scripted import WIRE, accept, hear, said  # noqa: E402
from tests.acceptance.watched import launched  # noqa: E402

pytestmark = pytest.mark.browser

JOIN = """
async () => {
  const { Socket } = await import("/static/channels.js");
  window.told = [];
  window.socket = new Socket("/socket/websocket");
  const tell = (name) => (...what) => told.push([name, ...what]);
  socket.onstate = tell("state");
  window.room = socket.channel("room:1", () => ({ name: "Ada" }), {
    joined: tell("joined"), live: tell("live"), lost: tell("lost"), refused: tell("refused"),
    event: (event, payload) => told.push([event, payload._holdfast?.id ?? null]),
  });
  socket.connect();
  wire().open();
}
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Served("memory://", tmp_path_factory.mktemp("served"), "--chat") as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, origin: str) -> Iterator[Page]:
    """Joined under the ref "1", with the reply still to come; time stands still."""
    context = chromium.new_context()
    page = context.new_page()
    page.add_init_script(WIRE)
    page.clock.install(time=0)
    page.goto(origin + "/chat")
    page.clock.pause_at(3_600_000)
    page.evaluate(JOIN)
    yield page
    context.close()


def told(page: Page) -> list[Any]:
    """What the hooks were told since the last time."""
    found: list[Any] = page.evaluate("told.splice(0)")
    return found


def joins(page: Page) -> list[Any]:
    """The joins that were sent over the latest connection."""
    return [frame for frame in page.evaluate("wire().sent") if frame[3] == "phx_join"]


def reconnect(page: Page) -> None:
    before = page.evaluate("wires.length")
    page.evaluate("wire().end()")
    page.clock.run_for(100)
    assert page.evaluate("wires.length") == before + 1
    page.evaluate("wire().open()")


def test_it_asks_for_version_two_and_joins_with_its_parameters(page: Page) -> None:
    assert page.evaluate("wire().url") == "/socket/websocket?vsn=2.0.0"
    assert joins(page) == [["1", "1", "room:1", "phx_join", {"name": "Ada"}]]
    accept(page, "1", "1~e", author="me")
    hear(page, "1", None, "room:1", "new_message", said("2~e"))
    hear(page, "1", None, "room:1", "new_message", said("3~e"))
    hear(page, "1", None, "room:1", "presence_state", {})
    hear(page, None, None, "room:1", "new_message", said("4~e"))
    assert told(page) == [
        ["state", "connecting"],
        ["state", "open"],
        ["joined", {"position": "1~e", "recovered": False, "author": "me"}],
        ["new_message", "2~e"],
        ["new_message", "3~e"],
        ["live", 2],
        ["presence_state", None],
        ["new_message", "4~e"],
    ]


@pytest.mark.parametrize(
    ("heard", "since"),
    [
        ([], "6~e"),  # the reply's is before all that follows it
        ([("1", "new_message", "7~e")], "7~e"),
        ([("1", "new_message", "7~e"), ("1", "new_message", "8~e")], "8~e"),
        ([("1", "presence_state", None)], "6~e"),
        ([("1", "new_message", "7~e"), ("1", "presence_state", None)], "7~e"),
        ([("1", "presence_state", None), (None, "new_message", "10~e")], "10~e"),
        ([(None, "new_message", "10~e")], "10~e"),
        ([("1", "new_message", "7~e"), (None, "typing", None)], "7~e"),
        ([("0", "new_message", "99~e")], "6~e"),  # said to an earlier stay
        ([("1", "presence_state", None), (None, "message_edited", "11~e")], "11~e"),
    ],
)
def test_wherever_the_connection_ends_it_goes_on_from_what_it_has_seen(
    page: Page, heard: list[tuple[str | None, str, str | None]], since: str
) -> None:
    accept(page, "1", "6~e")
    for join_ref, event, position in heard:
        hear(page, join_ref, None, "room:1", event, {} if position is None else said(position))
    reconnect(page)
    assert [frame[4] for frame in joins(page)] == [{"name": "Ada", "since": since}]


def test_it_goes_on_from_where_it_is_told_to_until_something_comes(page: Page) -> None:
    accept(page, "1", "9~e")
    hear(page, "1", None, "room:1", "presence_state", {})
    reconnect(page)
    accept(page, "2", "9~e", recovered=True)
    reconnect(page)  # before anything of what was missed came
    assert joins(page)[0][4]["since"] == "9~e"
    told(page)
    accept(page, "3", "9~e", recovered=True)
    hear(page, "3", None, "room:1", "new_message", said("10~e"))
    hear(page, "3", None, "room:1", "message_removed", said("11~e"))
    hear(page, "3", None, "room:1", "presence_state", {})
    assert ["live", 2] in told(page)
    reconnect(page)
    assert joins(page)[0][4]["since"] == "11~e"
    accept(page, "4", "2~f", recovered=False, reason="history_lost")  # back, and in another log
    reconnect(page)
    assert joins(page)[0][4]["since"] == "2~f"


def test_it_comes_back_ever_more_slowly_until_it_hears_something(page: Page) -> None:
    accept(page, "1", "0~")
    rests = []
    for _ in range(7):
        page.evaluate("Math.random = () => 0")  # nothing is taken off
        before = page.evaluate("wires.length")
        page.evaluate("wire().end()")
        rest = 0
        while page.evaluate("wires.length") == before:
            page.clock.run_for(50)
            rest += 50
        rests.append(rest)
        page.evaluate("wire().open()")
    assert rests == [100, 250, 500, 1000, 2000, 5000, 5000]
    ref = joins(page)[0][0]
    accept(page, ref, "0~")
    page.evaluate("wire().end()")
    page.clock.run_for(100)
    assert joins(page) == []
    page.evaluate("wire().open()")
    assert len(joins(page)) == 1


def test_a_connection_that_answers_no_heartbeat_is_given_up(page: Page) -> None:
    accept(page, "1", "0~")
    page.clock.run_for(30_000)
    beat = page.evaluate("wire().sent.at(-1)")
    assert beat == [None, "2", "phoenix", "heartbeat", {}]
    hear(page, None, "2", "phoenix", "phx_reply", {"status": "ok", "response": {}})
    page.clock.run_for(29_000)
    assert page.evaluate("wires.length") == 1
    page.clock.run_for(1_000)
    assert page.evaluate("wire().sent.at(-1)")[3] == "heartbeat"
    page.clock.run_for(9_900)
    assert page.evaluate("wires.length") == 1
    told(page)
    page.clock.run_for(300)
    assert page.evaluate("wires.length") == 2
    assert told(page)[:2] == [["lost", "disconnected"], ["state", "waiting"]]


def test_a_connection_that_is_never_made_is_given_up_too(page: Page) -> None:
    page.evaluate("wire().end()")
    page.clock.run_for(100)
    assert page.evaluate("wires.length") == 2
    page.clock.run_for(10_300)
    assert page.evaluate("wires.length") == 3


def test_who_wakes_up_does_not_wait(page: Page) -> None:
    accept(page, "1", "0~")
    page.evaluate("dispatchEvent(new Event('online'))")
    assert page.evaluate("wire().sent.at(-1)")[3] == "heartbeat"  # is it still there?
    page.evaluate("wire().end(); dispatchEvent(new Event('online'))")
    assert page.evaluate("wires.length") == 2


def test_a_push_ends_with_its_reply_or_says_why_not(page: Page) -> None:
    push = """async () => { try { return await room.push("say", { n: 1 }); } catch (error) { return error.reason; } }"""
    assert page.evaluate(push) == "disconnected"  # not joined yet
    accept(page, "1", "0~")
    page.evaluate(f"window.first = ({push})(); window.second = ({push})(); window.third = ({push})(); void 0")
    sent = page.evaluate("wire().sent")[-3:]
    assert [frame[:4] for frame in sent] == [["1", ref, "room:1", "say"] for ref in ("2", "3", "4")]
    hear(page, "1", "3", "room:1", "phx_reply", {"status": "error", "response": {"reason": "no"}})
    hear(page, "1", "2", "room:1", "phx_reply", {"status": "ok", "response": {"n": 2}})
    assert page.evaluate("Promise.all([first, second])") == [{"n": 2}, "no"]
    page.clock.run_for(10_000)
    assert page.evaluate("third") == "timeout"
    page.evaluate(f"window.fourth = ({push})(); wire().end(); void 0")
    assert page.evaluate("fourth") == "disconnected"


def test_a_room_that_failed_or_refused_is_joined_again_on_the_same_connection(page: Page) -> None:
    accept(page, "1", "5~e")
    hear(page, None, None, "room:1", "new_message", said("6~e"))
    told(page)
    hear(page, "1", "1", "room:1", "phx_error", {"reason": "channel_crash"})
    hear(page, None, None, "room:1", "new_message", said("7~e"))  # it is not there to hear it
    assert told(page) == [["lost", "phx_error"], ["refused", "phx_error"]]
    page.clock.run_for(500)
    assert joins(page)[1] == ["2", "2", "room:1", "phx_join", {"name": "Ada", "since": "6~e"}]
    hear(
        page,
        "2",
        "2",
        "room:1",
        "phx_reply",
        {"status": "error", "response": {"reason": "store unavailable"}},
    )
    page.clock.run_for(1_000)
    assert told(page) == [["refused", "store unavailable"]]
    assert [frame[0] for frame in joins(page)] == ["1", "2", "3"]
    page.clock.run_for(10_000)  # no answer at all
    assert told(page) == [["refused", "timeout"]]
    hear(page, "3", "3", "room:1", "phx_reply", {"status": "ok", "response": {"position": "9~e"}})
    assert told(page) == []
    page.clock.run_for(2_000)
    accept(page, "4", "9~e")
    hear(page, "4", "4", "room:1", "phx_close", {})
    page.clock.run_for(15_000)
    assert len(joins(page)) == 4
    reconnect(page)
    assert joins(page) == []  # it was ended for good


def test_presence_is_merged_by_ref_and_nobody_is_gone_who_only_changed(page: Page) -> None:
    def meta(ref: str, name: str) -> dict[str, Any]:
        return {"metas": [{"phx_ref": ref, "name": name}]}

    heard = [
        ("new_message", {}),
        ("presence_state", {"a": meta("1", "Ada"), "__proto__x": meta("2", "Grace")}),
        ("presence_diff", {"joins": {"a": meta("3", "Ada again")}, "leaves": {}}),
        (
            "presence_diff",
            {"joins": {"a": meta("3", "Ada again")}, "leaves": {}},
        ),  # what the state had already
        ("presence_diff", {"joins": {"a": meta("4", "Countess")}, "leaves": {"a": meta("3", "Ada again")}}),
        ("presence_diff", {"joins": {}, "leaves": {"a": meta("4", ""), "nobody": meta("9", "")}}),
        ("presence_diff", {"joins": {}, "leaves": {"a": meta("1", "")}}),
        ("presence_state", {"b": meta("5", "Alan")}),
    ]
    found = page.evaluate(
        """async (heard) => {
          const { Presence } = await import("/static/channels.js");
          const presence = new Presence();
          return heard.map((each) => [presence.heard(...each), presence.list().map(([key, meta]) => [key, meta.name])]);
        }""",
        [list(each) for each in heard],
    )
    grace = ["__proto__x", "Grace"]
    assert found == [
        [False, []],
        [True, [["a", "Ada"], grace]],
        [True, [["a", "Ada again"], grace]],
        [True, [["a", "Ada again"], grace]],
        [True, [["a", "Countess"], grace]],
        [True, [["a", "Ada"], grace]],
        [True, [grace]],
        [True, [["b", "Alan"]]],
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ["plain"]),
        ("a `b` c", ["a ", "<code>b", " c"]),
        ("a\n```js\nlet b;\n```\nc", ["a", "<pre>let b;", "c"]),
        ("```b```", ["<pre>b"]),
        ("```never closed `b`", ["```never closed ", "<code>b"]),
        ("see http://a.example/x, or", ["see ", "<a>http://a.example/x", ", or"]),
        ("(https://a.example/b_(c))!", ["(", "<a>https://a.example/b_(c)", ")!"]),
        ("https://a.example/?q=[1]&r", ["<a>https://a.example/?q=[1]&r"]),
        ("https://user@a.example/ https://", ["https://user@a.example/ https://"]),
        ("javascript:alert(1) ftp://a.example", ["javascript:alert(1) ftp://a.example"]),
        ("`https://a.example`", ["<code>https://a.example"]),
    ],
)
def test_text_becomes_text_code_and_links_and_nothing_else(page: Page, text: str, parts: list[str]) -> None:
    found = page.evaluate(
        """async (text) => {
          const { formatted } = await import("/static/chat-text.js");
          const fragment = formatted(text);
          fragment.normalize();
          const shown = (node) => (node.localName ? `<${node.localName}>` : "") + node.textContent;
          return [...fragment.childNodes].map(shown).filter((part) => part);
        }""",
        text,
    )
    assert found == parts
