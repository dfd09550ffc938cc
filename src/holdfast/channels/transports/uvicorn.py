"""The fast path under uvicorn: ``uvicorn app:app --ws holdfast.channels.transports.uvicorn:WebSocketProtocol``.

The handshake runs through the application as always, with its middleware,
authentication and routing. Where it ends at a `Channels` endpoint, that takes
the connection over once it is accepted, as a `RawSocket`. Every other WebSocket
goes to uvicorn's own protocol, which is told what was asked and stays in charge
of it from its first answer on; so does a request that is not what browsers send.

Whether it will be ours shows only when the application answers. Until then
nothing of uvicorn's protocol is made: its parser and its state were the larger
half of what a client that comes back costs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

from uvicorn.protocols.utils import get_client_addr, get_local_addr, get_remote_addr, is_ssl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.utils import accept_key

from holdfast.channels.channel import User
from holdfast.channels.hub import Hub
from holdfast.channels.socket import Socket
from holdfast.channels.transports.raw import RawSocket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

__all__ = ["RawSocket", "WebSocketProtocol"]

EXTENSION: Final = "holdfast.raw"
_log = logging.getLogger("uvicorn.error")
_FAILED: Final = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 21\r\nConnection: close\r\n\r\nInternal Server Error"
)
_UNREADABLE: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 11\r\nConnection: close\r\n\r\nBad Request"
)


class WebSocketProtocol(asyncio.Protocol):
    """From the request to the first answer; then the connection is another's, and this is nobody's.

    INVARIANT: it is in `connections`, where uvicorn's shutdown finds it, until then.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._config = config
        self._server = server_state
        self._state = app_state
        self._transport: asyncio.Transport
        self._head = b""
        self._key = ""
        self._scope: MutableMapping[str, Any] = {}
        self._connected = False  # the application was told that somebody asks
        self._taken: RawSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._theirs: asyncio.Future[tuple[Any, Any]] | None = None  # uvicorn's `receive` and `send`
        self._stock = False  # uvicorn's protocol runs what runs here
        self._done = False  # somebody has answered, or will

    # --- for uvicorn and the transport to call ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(cast("Any", self))

    def data_received(self, data: bytes) -> None:
        """The request, as uvicorn's HTTP protocol has read it; it is whole."""
        if self._head:  # a client that speaks before it is let in; what it says waits for who serves it
            self._head += data
            self._transport.pause_reading()
            return
        self._head = data
        if not self._read(data):
            asyncio.get_running_loop().call_soon(self._to_stock)  # after uvicorn made this the protocol
            return
        # Not by the loop's factory, which may be eager: uvicorn has yet to make this the transport's protocol.
        self._task = asyncio.Task(self._run(), loop=asyncio.get_running_loop())
        self._server.tasks.add(self._task)
        self._task.add_done_callback(self._server.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(cast("Any", self))

    def eof_received(self) -> None:
        pass

    def shutdown(self) -> None:
        """The server stops."""
        self._fail()

    # --- the application ---

    async def _run(self) -> None:
        try:
            await self._config.loaded_app(cast("Any", self._scope), self._receive, cast("Any", self._send))
        except BaseException as exc:
            if self._stock:
                raise  # for uvicorn's protocol to tell
            if not isinstance(exc, asyncio.CancelledError):
                _log.exception("Exception in ASGI application\n")
            self._fail()
        else:
            if not self._done:
                _log.error("ASGI callable returned without completing handshake.")
                self._fail()

    async def _receive(self) -> Any:
        if not self._connected and self._theirs is None:
            self._connected = True
            return {"type": "websocket.connect"}
        receive, _ = await self._bridge()
        return await receive()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._taken is None or message["type"] != "websocket.accept":
            _, send = await self._bridge()
            await send(message)
            return
        if not self._done:
            self._accept(self._taken, message)

    def _take(self, hub: Hub, user: User | None) -> Socket:
        self._taken = RawSocket(hub, user)
        return self._taken

    # --- ours ---

    def _accept(self, taken: RawSocket, message: MutableMapping[str, Any]) -> None:
        """Answer the client, and be gone in the same turn."""
        answer = self._answer(message)
        self._done = True
        connections = cast("set[Any]", self._server.connections)
        connections.discard(self)
        transport, scope, self._scope = self._transport, self._scope, {}  # which holds this
        if transport.is_closing():
            taken.lost()
            return
        # Of its path alone: the query may hold a token.
        _log.info('%s - "WebSocket %s" [accepted]', get_client_addr(cast("Any", scope)), quote(scope["path"]))
        transport.write(answer)
        transport.set_protocol(taken)
        taken.begin(transport, connections)
        early = self._head.partition(b"\r\n\r\n")[2]
        if early:
            transport.resume_reading()
            taken.data_received(early)

    def _answer(self, message: MutableMapping[str, Any]) -> bytes:
        lines = [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b" % accept_key(self._key).encode()
        ]
        if message.get("subprotocol"):
            lines.append(b"Sec-WebSocket-Protocol: %b" % message["subprotocol"].encode("latin-1"))
        for name, value in (*self._server.default_headers, *message.get("headers", ())):
            lines.append(b"%b: %b" % (name, value))
        if any(b"\n" in line or b"\r" in line for line in lines[1:]):
            raise ValueError("websocket.accept: a header holds a line break")
        return b"\r\n".join([*lines, b"", b""])

    def _fail(self) -> None:
        if not self._done:
            self._done = True
            self._server.connections.discard(cast("Any", self))
            if not self._transport.is_closing():
                self._transport.write(_FAILED)
                self._transport.close()

    # --- uvicorn's ---

    async def _bridge(self) -> tuple[Any, Any]:
        """The `receive` and `send` of uvicorn's protocol, which serves this connection from now on."""
        if self._theirs is None:
            self._theirs = asyncio.get_running_loop().create_future()
            if self._done or self._transport.is_closing():
                self._theirs.set_result((_disconnected, _refused))
            else:
                self._to_stock()
        return await asyncio.shield(self._theirs)

    def _to_stock(self) -> None:
        transport = self._transport
        self._done = True
        self._server.connections.discard(cast("Any", self))
        if transport.is_closing():
            return
        stock = WebSocketsSansIOProtocol(self._config, self._server, self._state)
        if self._theirs is not None:
            stock.app = cast("Any", self._going_on)
        stock.connection_made(transport)
        transport.set_protocol(stock)
        transport.resume_reading()  # before it may say that it wants no more
        try:
            stock.data_received(self._head)
        except Exception:  # noqa: BLE001, S110 - no frames are what came too early; it is closed below
            pass
        if not (stock.handshake_initiated or transport.is_closing()):
            transport.write(
                _UNREADABLE
            )  # too long for its parser, or with a body: it says nothing, and waits
            transport.close()
        if transport.is_closing() and self._theirs is not None:  # it has refused what looked well here
            self._theirs.set_result((_disconnected, _refused))

    async def _going_on(self, scope: Any, receive: Any, send: Any) -> None:
        """What uvicorn's protocol runs as its application: the one that runs already."""
        assert self._theirs is not None
        assert self._task is not None
        self._stock = True
        if self._connected:
            await receive()
        if not self._theirs.done():  # the client has not said already that it goes
            self._theirs.set_result((receive, send))
        await self._task

    # --- the request ---

    def _read(self, head: bytes) -> bool:
        """Make the scope; false where it is not what clients send, which uvicorn's protocol then refuses in words."""
        request, *lines = head.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        method, _, rest = request.partition(b" ")
        target = rest.rpartition(b" ")[0]
        headers, keys, versions, offered = [], [], [], []
        for line in lines:
            name, _, value = line.partition(b": ")
            headers.append((name, value))
            if name == b"sec-websocket-key":
                keys.append(value)
            elif name == b"sec-websocket-version":
                versions.append(value)
            elif name == b"sec-websocket-protocol":
                offered.append(value.decode("latin-1"))
        if method != b"GET" or versions != [b"13"] or len(keys) != 1 or not _is_key(keys[0]):
            return False
        self._key = keys[0].decode("ascii")
        path, _, query = target.partition(b"?")
        if not path.isascii() or not query.isascii():
            return False
        root, config = self._config.root_path, self._config
        self._scope = {
            "type": "websocket",
            "asgi": {"version": config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root,
            "path": root + unquote(path.decode("ascii")),
            "raw_path": root.encode("ascii") + path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [each.strip() for value in offered for each in value.split(",")],
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"take": self._take}},
        }
        return True


async def _disconnected() -> Any:
    return {"type": "websocket.disconnect", "code": 1006}


async def _refused(message: Any) -> None:
    raise OSError("the client has gone")


def _is_key(text: bytes) -> bool:
    """Sixteen bytes in base64 (RFC 6455, 4.1)."""
    try:
        return len(text) == 24 and len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False
