"""A whole chat: saved before it is shown, replayed to whoever joins, nothing missing and nothing twice after a restart.

uvicorn examples.chat:app --ws holdfast.channels.transports.uvicorn:WebSocketProtocol
"""

import os

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from holdfast import Holdfast
from holdfast.channels import Channel, Connect, Refuse, User, event


class Said(BaseModel):
    message: str = Field(min_length=1, max_length=1000)


class ChatRoom(Channel):
    topic = "chat_room:*"
    history = 10

    @event("new_message")
    async def new_message(self, said: Said) -> None:
        assert self.user is not None  # `connect` lets nobody else in
        await self.broadcast("new_message", {"name": self.user.id, "message": said.message})


def connect(request: Connect) -> User:
    if not request.params.get("name"):
        raise Refuse({"reason": "unnamed"})
    return User(str(request.params["name"]))  # in an app of yours: by a cookie, or by `request.token`


hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///app.db"), channels=[ChatRoom], connect=connect)
app = FastAPI(lifespan=hold.lifespan)
app.mount("/socket", hold.channels)


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    return """<!doctype html><meta charset=utf-8><title>Chat</title><pre id=log></pre><input id=field autofocus><script>
let socket, ref, since, query = new URLSearchParams({vsn: "2.0.0", name: prompt("Your name?")})
const say = (topic, event, payload) => socket.send(JSON.stringify(["1", `${++ref}`, topic, event, payload]))
function connect() {
  socket = new WebSocket(`${location.origin.replace("http", "ws")}/socket/websocket?${query}`)
  socket.onopen = () => { ref = 0; say("chat_room:lobby", "phx_join", {since}) }  // undefined is left out
  socket.onclose = () => setTimeout(connect, 500)
  socket.onmessage = ({data}) => {
    const [, , , event, payload] = JSON.parse(data)
    since = payload._holdfast?.position ?? since  // of the latest message that was seen
    if (event === "new_message") log.append(`${payload.name}: ${payload.message}\\n`)  // text, never HTML
    if (payload.response?.reason === "history_lost") log.replaceChildren()  // the last ten follow
    if (event === "phx_error") socket.close()  // and join again
  } }
field.onkeydown = ({key}) => { if (key === "Enter" && socket.readyState === 1)
  say("chat_room:lobby", "new_message", {message: field.value}), field.value = "" }
setInterval(() => socket.readyState === 1 && say("phoenix", "heartbeat", {}), 30000); connect()</script>"""
