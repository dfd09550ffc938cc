"""The dashboard's style sheet, script and mark: three small files, held in memory, cached for good by their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from holdfast.web.problems import Problem

__all__ = ["Static"]

_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Static:
    """Reads the files once, when it is made."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.name: (path.read_bytes(), _KINDS[path.suffix])
            for path in sorted(folder.iterdir())
            if path.suffix in _KINDS
        }
        self._hashes = {
            name: hashlib.sha256(content).hexdigest()[:12] for name, (content, _) in self._files.items()
        }

    def address(self, name: str) -> str:
        """Below the root path: `static/app.css?v=<hash>`."""
        return f"static/{name}?v={self._hashes[name]}"

    async def serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise Problem("not-found")
        content, kind = self._files[name]
        current = request.query_params.get("v") == self._hashes[name]
        age = "public, max-age=31536000, immutable" if current else "no-cache"
        return Response(content, media_type=kind, headers={"Cache-Control": age})
