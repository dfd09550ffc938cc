"""Who takes part: how each server is started, and what it keeps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

__all__ = ["EVERYONE", "FRAMEWORKS", "STOCK_WS", "Contestant", "Place"]

STOCK_WS: Final = ("websockets", "websockets-sansio", "wsproto")
"""uvicorn's own WebSocket implementations."""

FAST_PATH: Final = "holdfast.channels.transports.uvicorn:WebSocketProtocol"
SERVERS: Final = "bench.channels.servers"


class Place(msgspec.Struct):
    """Where things are in this run."""

    directory: Path
    floor: Path
    postgres: str = ""
    redis: str = ""
    ws: str = STOCK_WS[0]  # what the servers under uvicorn run with


Command: TypeAlias = Callable[[Place, int], list[str]]


class Contestant(msgspec.Struct, frozen=True):
    """One server.

    `store` is "" for those that keep nothing or, asked for a history, keep it in their process.
    """

    name: str
    title: str
    about: str
    command: Command
    path: str = "/socket/websocket?vsn=2.0.0"
    store: str = ""
    socketio: bool = False
    always: bool = False  # takes part in every round: targets are judged by it

    @property
    def ours(self) -> bool:
        return self.name.startswith("holdfast")


def _script(name: str) -> Command:
    return lambda place, port: [sys.executable, "-m", f"{SERVERS}.{name}", str(port)]


def _uvicorn(app: str, ws: str | None = None) -> Command:
    def command(place: Place, port: int) -> list[str]:
        words = [
            sys.executable,
            "-m",
            "uvicorn",
            f"{SERVERS}.{app}:app",
            "--port",
            str(port),
            "--loop",
            "uvloop",
        ]
        return [
            *words,
            "--ws",
            ws or place.ws,
            "--backlog",
            "4096",
            "--log-level",
            "error",
            "--no-access-log",
        ]

    return command


def _holdfast(
    name: str, title: str, about: str, *, ws: str | None = FAST_PATH, store: str = "memory"
) -> Contestant:
    command = _uvicorn("holdfast_app", ws)
    return Contestant(name, title, about, command, store=store, always=True)


def _minimal(name: str, title: str, about: str, command: Command, *, always: bool = False) -> Contestant:
    return Contestant(name, title, about, command, always=always)


EVERYONE: Final = (
    _holdfast(
        "holdfast",
        "holdfast",
        "all of it, mounted in a Starlette app, fast path (`--ws holdfast…:WebSocketProtocol`)",
    ),
    _holdfast("holdfast-asgi", "holdfast, plain ASGI", "the same app on stock uvicorn", ws=None),
    _holdfast(
        "holdfast-sqlite", "holdfast, SQLite", "fast path, `sqlite:///` as it comes: `FULL`", store="sqlite"
    ),
    _holdfast("holdfast-postgres", "holdfast, Postgres", "fast path, `postgresql://`", store="postgres"),
    _minimal(
        "floor",
        "C floor",
        "epoll and `send`, no language in the way; checks nothing",
        lambda place, port: [str(place.floor), str(port)],
        always=True,
    ),
    _minimal(
        "starlette",
        "uvicorn + Starlette",
        "a minimal server: rooms in a dict, for each member `await send`; encoded once",
        _uvicorn("starlette_app"),
        always=True,
    ),
    _minimal("aiohttp", "aiohttp", "the same minimal server, `send_str`", _script("aiohttp_server")),
    _minimal("websockets", "websockets", "the same, the library's `broadcast`", _script("websockets_server")),
    _minimal(
        "picows", "picows", "the same, one frame for all, written to each transport", _script("picows_server")
    ),
    _minimal("litestar", "Litestar channels", "`ChannelsPlugin`, memory backend", _uvicorn("litestar_app")),
    Contestant(
        "socketio",
        "python-socketio",
        "its rooms, its own wire format",
        _uvicorn("socketio_app"),
        "/socket.io/?EIO=4&transport=websocket",
        socketio=True,
    ),
    _minimal(
        "django",
        "Django Channels",
        "a consumer and groups, `channels_redis` pub/sub layer, Redis on core 1",
        _uvicorn("django_app"),
    ),
)

FRAMEWORKS: Final = ("litestar", "socketio", "django")
"""The peers that people choose in place of channels; the others are minimal servers."""
