"""Rooms in each framework, under each server, over a real WebSocket: the apps of docs/how-to/frameworks-rooms.md."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from tests.acceptance.apps import AppServer
from tests.acceptance.wire import Client, is_installed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "frameworks-rooms.md"
APPS = dict(re.findall(r'```python title="(\w+)\.py"\n(.*?)```', PAGE.read_text(), re.S))
FRAMEWORKS = [name.removesuffix("_app") for name in APPS if name != "rooms"]
PAIRS = [
    *[(framework, server) for framework in FRAMEWORKS for server in ("uvicorn-holdfast", "uvicorn")],
    ("starlette", "granian"),
    ("starlette", "hypercorn"),
]
TOPIC = "chat_room:lobby"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's apps as files that a server can import, with a store of this test's."""
    for name, code in APPS.items():
        (tmp_path / f"{name}.py").write_text(code.replace("sqlite:///app.db", f"sqlite:///{tmp_path}/app.db"))
    return tmp_path


def texts(client: Client, count: int) -> list[str]:
    """The next messages of the room, whatever else comes between them."""
    found: list[str] = []
    while len(found) < count:
        *_, event, payload = client.receive()
        if event == "new_message":
            found.append(payload["message"])
    return found


def test_the_page_has_an_app_for_each_framework() -> None:
    assert FRAMEWORKS == ["fastapi", "starlette", "litestar", "quart", "django"]


@pytest.mark.parametrize(("framework", "server"), PAIRS, ids=lambda word: word)
def test_a_room_is_joined_spoken_in_and_heard(framework: str, server: str, folder: Path) -> None:
    if not is_installed(server):
        pytest.skip(f"{server} is not installed")
    with AppServer(server, f"{framework}_app:app", folder) as served:
        with served.client() as ada, served.client() as bob:
            assert ada.join(TOPIC)["response"]["recovered"] is False
            assert bob.join(TOPIC)["status"] == "ok"
            ada.send("1", "2", TOPIC, "new_message", {"name": "Ada", "message": "first"})
            # A handler's broadcast comes before its reply, as it was called before.
            assert [ada.receive()[3], ada.receive()[3]] == ["new_message", "phx_reply"]
            assert texts(bob, 1) == ["first"]
            ada.send("1", "3", TOPIC, "new_message", {"name": "Ada"})
            refused = ada.receive()[4]
            assert (refused["status"], refused["response"]["field"]) == ("error", "$.message")
            said = httpx.post(f"{served.url}/announce", params={"text": "second"})
            assert said.is_success, said.text
            assert texts(ada, 1) == texts(bob, 1) == ["second"]
        with served.client() as late:
            assert late.join(TOPIC)["status"] == "ok"
            assert texts(late, 2) == ["first", "second"]
        served.restart()
        with served.client() as back:
            assert back.join(TOPIC, since="0~")["response"]["recovered"] is True
            assert texts(back, 2) == ["first", "second"]
        assert "Traceback" not in served.log(), served.log()


def test_the_fast_way_takes_the_connection_over_in_every_framework(folder: Path) -> None:
    """Only there a room's frames are written as they are: many in one write, and nothing counts as ASGI's."""
    for framework in FRAMEWORKS:
        code = (folder / f"{framework}_app.py").read_text()
        (folder / f"{framework}_seen.py").write_text(
            f"{code}\n\nfrom rooms import ChatRoom\n\n"
            "async def joined(self):\n"
            '    await self.push("socket", {"kind": type(self._joined.socket).__name__})\n\n'
            "ChatRoom.joined = joined\n"
        )
        with (
            AppServer("uvicorn-holdfast", f"{framework}_seen:app", folder) as served,
            served.client() as client,
        ):
            client.join(TOPIC)
            assert client.receive()[3:] == ["socket", {"kind": "RawSocket"}], framework
