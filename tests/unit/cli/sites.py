"""Web sites on loopback, served from threads while a command runs in this one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Quiet(ThreadingHTTPServer):
    """Whoever asks may go away."""

    def handle_error(self, request, client_address):
        pass


class Site:
    """Pages by path, each with its status and media type; every POST to `/take` is a mention and is accepted."""

    def __init__(self):
        self.pages = {}
        self.asked = []
        self.mentions = []
        self.answer = 202
        site = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                body, status, kind = site.pages.get(self.path, ("no such page", 404, "text/plain"))
                self.reply(body.encode(), status, kind)

            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                site.mentions.append((form["source"][0], form["target"][0]))
                self.reply(b"thank you", site.answer, "text/plain")

            def reply(self, body, status, kind):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = Quiet(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.where = f"127.0.0.1:{self._server.server_port}"
        self._thread.start()

    def url(self, path="/"):
        return f"http://{self.where}{path}"

    def page(self, path, body, status=200, kind="text/html; charset=utf-8"):
        self.pages[path] = (body, status, kind)
        return self.url(path)

    def takes(self, path):
        """A page that takes mentions."""
        return self.page(path, '<link rel="webmention" href="/take"><p>here')

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def post(*targets, words="", name="", footer=""):
    links = "".join(f'<a href="{target}">there</a>' for target in targets)
    said = f'<h1 class="p-name">{name}</h1><div class="e-content">{words}{links}</div>'
    return f'<div class="h-entry">{said}</div>{footer}'
