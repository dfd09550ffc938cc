"""A WebSocket that a test holds in its hand, in place of the page's own: what it sent, and what it shall hear."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

WIRE = """
window.wires = [];
window.WebSocket = class {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor(url) { this.url = url; wires.push(this); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  open() { this.readyState = 1; this.onopen?.(); }
  hear(...frame) { this.onmessage?.({ data: JSON.stringify(frame) }); }
  end() { this.readyState = 3; this.onclose?.(); }
};
window.wire = () => wires.at(-1);
"""
# A promise's continuation runs before the next frame is heard, as between two frames of a real socket.
ACCEPT = """
async ([ref, topic, position, more]) => {
  wire().hear(ref, ref, topic, "phx_reply", { status: "ok", response: { position, recovered: false, ...more } });
  await null;
  await null;
}
"""


def accept(page: Page, ref: str, position: str, *, topic: str = "room:1", **more: Any) -> None:
    """The server lets it in."""
    page.evaluate(ACCEPT, [ref, topic, position, more])


def hear(page: Page, *frame: Any) -> None:
    """The server sends a frame."""
    page.evaluate("frame => wire().hear(...frame)", list(frame))


def said(position: str) -> dict[str, Any]:
    """A kept message's payload."""
    return {"message": "x", "_holdfast": {"id": position, "position": position}}
