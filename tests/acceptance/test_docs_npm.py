"""What README and docs show of a client, run with npm's phoenix as it is, against the server that they show.

Over a `kill -9` of that server: the snippet is to come back by itself, with
nothing missing and nothing twice.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.apps import AppServer
from tests.acceptance.phoenix_clients.node import HERE, installed, node
from tests.acceptance.wire import ROOT

HOW_TO = ROOT / "docs" / "how-to" / "frameworks-rooms.md"
README = ROOT / "README.md"
# What a page has and Node has not; and the end, which is a message that came back.
PAGE = """
globalThis.location = {{ host: "127.0.0.1:{port}", protocol: "http:" }}
globalThis.self = globalThis
const told = console.log
console.log = (text) => {{ told(text); if (text.endsWith("again")) process.exitCode = 0, setTimeout(process.exit, 50) }}
setTimeout(() => process.exit(1), 30000)
"""


@pytest.mark.parametrize("page", [README, HOW_TO], ids=lambda page: page.name)
def test_the_client_of_the_page_hears_itself_in_the_room_of_the_page(page: Path, tmp_path: Path) -> None:
    installed()
    text = page.read_text()
    if page is README:
        [app] = [
            code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "ChatRoom(Channel)" in code
        ]
        files = {"app": app}
    else:
        files = dict(re.findall(r'```python title="(\w+)\.py"\n(.*?)```', text, re.S))
        files["app"] = files["starlette_app"]
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code.replace("sqlite:///app.db", f"sqlite:///{tmp_path}/app.db"))
    [client] = re.findall(r"```js\n(import .*?)```", text, re.S)
    with AppServer("uvicorn-holdfast", "app:app", tmp_path) as server:
        package = HERE / "node_modules" / "phoenix-1.8" / "priv" / "static" / "phoenix.mjs"
        (tmp_path / "page.mjs").write_text(PAGE.format(port=server.port))
        code = client.replace('"phoenix"', f'"{package}"')
        (tmp_path / "client.mjs").write_text(f'import "./page.mjs"\n{code}')
        with subprocess.Popen([node(), tmp_path / "client.mjs"], stdout=subprocess.PIPE) as shown:
            assert shown.stdout is not None
            assert shown.stdout.readline() == b"Ada: Hello\n"
            server.kill()
            server.start()
            with server.client() as bob:
                bob.join("chat_room:lobby")
                said = {"name": "Bob", "message": "again"}
                bob.send("1", "2", "chat_room:lobby", "new_message", said)
                assert shown.stdout.read() == b"Bob: again\n"
            assert shown.wait(10) == 0
