"""`holdfast serve`: the application under uvicorn, on one port, in one process or several."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

import msgspec

from holdfast.errors import MissingExtra, StoreMisconfigured
from holdfast.persist import Persist
from holdfast.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from uvicorn import Config, Server

__all__ = ["run", "worker"]

DRAIN_SECONDS = 8
"""How long requests under way may take once it was told to stop; closing the store gets what is left of ten."""
CLOSED_SECONDS = 9.5
"""When it stops to wait for endpoints that are being told of mentions."""


def run(settings: Settings, *, allow: Sequence[str] = ()) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way within ten seconds.

    Prints once where it listens, what it serves, and, at the very first start
    on a store, the admin token. Files made meanwhile are its owner's alone.
    `allow` names addresses of inner networks that mentions may be fetched from.

    Raises:
        StoreUnavailable, StoreMisconfigured, NotMigrated: it cannot start; nothing was printed.
    """
    if find_spec("uvicorn") is None or find_spec("websockets") is None:
        raise MissingExtra('serve: pip install "holdfast[serve]"')
    if allow and settings.workers > 1:
        # The workers' settings go through the environment, where an exception of the guard has no place.
        raise StoreMisconfigured("serve: --webmention-allow is for development; use one worker")
    if allow and settings.site is None:
        raise StoreMisconfigured("serve: --webmention-allow is nothing without --site")
    os.umask(0o077)
    listener = _listen(settings)
    with listener:
        settings, token_words = asyncio.run(_prepare(settings, allow))
        port = listener.getsockname()[1]
        _announce(settings, port, token_words, allow)
        try:
            if settings.workers == 1:
                from holdfast.web.app import make_app

                _server(_config(settings, make_app(settings, allow=allow))).run([listener])
            else:
                os.environ.update(settings.environment())  # inherited by the workers, never in argv
                _supervise(_config(settings, "holdfast.web.server:worker"), listener)
        except KeyboardInterrupt:
            pass  # uvicorn raises it again after it has shut down in order


def _supervise(config: Config, listener: socket.socket) -> None:
    """Start the workers on one socket, replace those that die, and stop them all in the end."""
    from uvicorn.supervisors import Multiprocess

    own = (
        {"target": _server(config).run} if "target" in signature(Multiprocess).parameters else {}
    )  # older ones want it
    Multiprocess(config, sockets=[listener], **own).run()


def _server(config: Config) -> Server:
    """uvicorn's server, which tells rooms' clients one after the other that it stops."""
    from uvicorn import Server

    class Draining(Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()  # whoever comes back meanwhile comes to the next process
            state = _application(self.config.loaded_app).state
            if state.mentions is not None:
                state.mentions.end_by(asyncio.get_running_loop().time() + CLOSED_SECONDS)
            channels = state.channels
            if channels is not None:
                await channels.drain(DRAIN_SECONDS / 2)
            await super().shutdown(sockets)

    return Draining(config)


def _application(app: Any) -> Starlette:
    """The app that `make_app` made, out of what uvicorn wrapped around it."""
    while not hasattr(app, "state"):
        app = app.app
    return cast("Starlette", app)


def worker() -> Starlette:
    """One worker's application, from the environment that `run` left for it."""
    from holdfast.web.app import make_app

    os.umask(0o077)
    return make_app(Settings.from_environment())


def _listen(settings: Settings) -> socket.socket:
    """The port is taken before anything is made or printed, so that a taken one costs nobody a token."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
    except OSError as exc:
        raise StoreMisconfigured(f"serve: {settings.host} is no address: {exc.strerror}") from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.set_inheritable(True)
    except OSError as exc:
        listener.close()
        raise StoreMisconfigured(
            f"serve: cannot listen on {settings.host} port {settings.port}: {exc.strerror}"
        ) from exc
    return listener


def _config(settings: Settings, app: Starlette | str) -> Config:
    from uvicorn import Config

    return Config(
        app,
        factory=isinstance(app, str),
        workers=settings.workers,
        root_path=settings.root_path,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        ws="holdfast.channels.transports.uvicorn:WebSocketProtocol",
        timeout_graceful_shutdown=DRAIN_SECONDS,
        log_level="warning",
        access_log=False,  # paths hold keys
        server_header=False,
    )


async def _prepare(settings: Settings, allow: Sequence[str]) -> tuple[Settings, str]:
    """See that there is a store, tables and a token; the settings to go on with, and what to say about the token."""
    from holdfast.web import token

    given = settings.given_token()
    persist = Persist(
        settings.store,
        namespace=settings.namespace,
        auto_migrate=settings.auto_migrate,
        max_bytes=settings.max_bytes,
    )
    private = persist.traits.shared == "process"
    if private and settings.workers > 1:
        raise StoreMisconfigured(
            f"serve: {persist.store} lives in one process, so {settings.workers} workers would each have another; "
            "use one worker, or a store that processes share (sqlite:///holdfast.db)"
        )
    if settings.site is not None:
        from holdfast.web.mentions import Mentions
        from holdfast.webmention import NetworkPolicy

        NetworkPolicy(allow=tuple(allow))
        async with Mentions(settings, background=False):
            pass  # what keeps it from opening is said here, in words
    async with persist:
        if given is not None:
            where = "HOLDFAST_TOKEN" if settings.token is not None else "the token file"
            return settings, f"the one in {where}"
        if private:
            made = token.fresh()  # what is stored now would be gone before the server starts
            return msgspec.structs.replace(settings, token=made), f"{made}   (until it stops)"
        new = await token.ensure(persist)
    if new is None:
        return settings, "as printed at the first start; `holdfast token --rotate` makes a new one"
    return settings, f"{new}   (shown this once; keep it)"


def _announce(settings: Settings, port: int, token_words: str, allow: Sequence[str]) -> None:
    from holdfast.store import masked

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    host = "localhost" if settings.host in ("0.0.0.0", "::") else host
    address = f"http://{host}:{port}{settings.root_path}"
    workers = "" if settings.workers == 1 else f", {settings.workers} workers"
    lines = [
        "",
        "  Holdfast is serving",
        "",
        f"  open     {address}/",
        *([f"  chat     {address}/chat"] if settings.chat else []),
        *([] if settings.site is None else [f"  mentions {_mentions(settings, allow)}"]),
        f"  store    {masked(settings.store)}{workers}",
        f"  token    {token_words}",
        "  stop     Ctrl+C",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _mentions(settings: Settings, allow: Sequence[str]) -> str:
    """Whose they are, and what is special about this server's."""
    special = [f"accepting {settings.webmention_accept}"] if settings.webmention_accept != "known" else []
    if settings.dry_outbox:
        special.append("a rehearsal: nobody is told")
    if allow:
        special.append(f"may reach {', '.join(allow)}")
    return f"of {settings.site}" + (f" ({'; '.join(special)})" if special else "")
