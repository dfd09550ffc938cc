"""Another site on loopback, in a thread of its own: it shows pages, and remembers what it was told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl


class Neighbour:
    """Started by `with`. `pages` are its bodies by path, `told` the forms that were posted to it."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.told: list[dict[str, str]] = []
        neighbour = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = neighbour.pages.get(self.path, ("", b""))
                self._say(200 if kind else 404, kind or "text/plain", body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                neighbour.told.append(dict(parse_qsl(body.decode())))
                self._say(202, "text/plain", b"thanks")

            def _say(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.where = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def page(self, path: str, body: str | bytes, kind: str = "text/html; charset=utf-8") -> str:
        """Show this from now on; its URL."""
        self.pages[path] = (kind, body.encode() if isinstance(body, str) else body)
        return f"http://{self.where}{path}"
