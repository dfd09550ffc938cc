"""One message: said, changed, removed. A change names what was looked at; saying it twice says it once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.channels import Channels, Message, MessageTooLarge, TopicRefused
from holdfast.errors import StoreUnavailable
from holdfast.web.dashboard.forms import Refused, escaped, unescaped
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.room import Shown, asked_topic, form_topic, shown
from holdfast.web.dashboard.sessions import Session
from holdfast.web.jsontext import NotJSON, compact, kind
from holdfast.web.problems import Problem
from holdfast.web.requests import checked_topic

__all__ = ["Saying", "Words"]


class Words(msgspec.Struct, frozen=True):
    """What somebody is about to say, or to change."""

    topic: str
    event: str
    text: str
    id: str = ""  # of the message that is changed; empty: a new one
    seen: str = ""  # stands for the payload that was looked at
    nonce: str = ""  # becomes the id of a new one, so that sending the form again changes nothing

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Words:
        """The draft in a form's fields. Topic and id are escaped, or the topic was typed."""
        return cls(
            topic=unescaped(form["room"]) if form.get("room") else form.get("topic", ""),
            event=form.get("event", "").strip(),
            text=form.get("text", ""),
            id=unescaped(form.get("id", "")),
            seen=form.get("seen", ""),
            nonce=form.get("nonce", ""),
        )

    def checked_topic(self) -> str:
        try:
            return checked_topic(self.topic)
        except Problem as exc:
            raise Refused("topic", exc.detail) from None

    def payload(self) -> msgspec.Raw:
        """The text as it will be kept."""
        try:
            text = compact(self.text.encode("utf-8", "surrogatepass"))
        except NotJSON as exc:
            raise Refused("text", f"This is not JSON: {exc}.") from None
        if kind(text) != "object":
            raise Refused("text", 'A message is a JSON object, such as {"message": "hello"}.')
        return msgspec.Raw(text)


class Saying:
    """`/room/new`, `/room/edit`, `/room/remove`."""

    def __init__(self, channels: Channels, pages: Pages) -> None:
        self._channels = channels
        self._pages = pages

    # --- the form ---

    async def new(self, visit: Visit) -> Response:
        topic = visit.request.query_params.get("topic", "")
        event = ""
        if topic:
            latest = await self._channels.history(checked_topic(topic), limit=1)
            event = latest[0].event if latest else ""
        return self.editor(visit.request, visit.session, Words(topic, event, ""))

    async def edit(self, visit: Visit) -> Response:
        topic = asked_topic(visit)
        message = await self._asked(visit, topic)
        if message is None:
            return self._room(visit.request, topic, "message-gone")
        there = shown(message)
        words = Words(topic, message.event, there.text, message.id, _seen(message))
        return self.editor(visit.request, visit.session, words)

    def editor(
        self,
        request: Request,
        session: Session,
        words: Words,
        *,
        stored: Shown | None = None,
        status: int = 200,
        trouble: str = "",
        field: str = "",
        gone: bool = False,
    ) -> Response:
        """The form with the draft in it: to begin with, and again after everything that went wrong."""
        if not words.id and not words.nonce:
            words = msgspec.structs.replace(words, nonce=f"dashboard:{secrets.token_urlsafe(12)}")
        return self._pages.render(
            request,
            "saying.html",
            session=session,
            status=status,
            words=words,
            stored=stored,
            trouble=trouble,
            field=field,
            gone=gone,
            max_bytes=self._channels.hub.limits.message,
        )

    # --- saving ---

    async def save(self, visit: Visit) -> Response:
        words = Words.of(visit.form)
        try:
            return await (self._change(visit, words) if words.id else self._say(visit, words))
        except Refused as exc:
            return self.editor(
                visit.request, visit.session, words, status=400, trouble=str(exc), field=exc.field
            )
        except StoreUnavailable as exc:
            trouble = "The store does not answer. Nothing was changed; your text is below."
            if exc.maybe_applied:
                trouble = (
                    "The store stopped answering meanwhile, so nobody can say whether it was done. "
                    "Sending it again does no harm."
                )
            return self.editor(visit.request, visit.session, words, status=503, trouble=trouble)

    async def _say(self, visit: Visit, words: Words) -> Response:
        topic, payload = words.checked_topic(), words.payload()
        try:
            await self._channels.publish(topic, words.event, payload, id=words.nonce or None)
        except MessageTooLarge as exc:
            raise Refused("text", _sentence(exc)) from None
        except TopicRefused as exc:
            raise Refused("topic", _sentence(exc)) from None
        except (
            ValueError
        ) as exc:  # of the event its name, of the payload a field that is not the application's
            raise Refused("event" if str(exc).startswith("event") else "text", _sentence(exc)) from None
        return self._room(visit.request, topic, "published")

    async def _change(self, visit: Visit, words: Words) -> Response:
        topic, payload = words.checked_topic(), words.payload()
        there = await self._message(topic, words.id)
        if there is not None and _seen(there) != words.seen:
            return self._conflict(visit, words, there, payload)
        try:
            if there is not None and await self._channels.edit(topic, words.id, payload) is not None:
                return self._room(visit.request, topic, "edited")
        except (MessageTooLarge, ValueError) as exc:
            raise Refused("text", _sentence(exc)) from None
        words = msgspec.structs.replace(words, id="", seen="", nonce="")
        return self.editor(visit.request, visit.session, words, status=409, gone=True)

    def _conflict(self, visit: Visit, words: Words, there: Message, payload: msgspec.Raw) -> Response:
        """Somebody changed it meanwhile: show both; saving again from there is a decision."""
        if msgspec.json.decode(payload) == there.payload:
            return self._room(visit.request, words.topic, "edited")
        words = msgspec.structs.replace(words, seen=_seen(there))
        return self.editor(visit.request, visit.session, words, stored=shown(there), status=409)

    # --- removing ---

    async def confirm(self, visit: Visit) -> Response:
        topic = asked_topic(visit)
        message = await self._asked(visit, topic)
        if message is None:
            return self._room(visit.request, topic, "message-gone")
        return self._pages.render(
            visit.request, "saying_remove.html", session=visit.session, topic=topic, message=shown(message)
        )

    async def remove(self, visit: Visit) -> Response:
        topic, id = form_topic(visit), unescaped(visit.form.get("id", ""))
        try:
            removed = await self._channels.remove(topic, id)
        except ValueError:
            removed = False
        return self._room(visit.request, topic, "message-removed" if removed else "message-gone")

    # --- what is there ---

    async def _asked(self, visit: Visit, topic: str) -> Message | None:
        return await self._message(topic, visit.request.query_params.get("id", ""))

    async def _message(self, topic: str, id: str) -> Message | None:
        try:
            return await self._channels.message(topic, id)
        except ValueError:  # no id at all
            return None

    def _room(self, request: Request, topic: str, done: str) -> Response:
        return self._pages.redirect(request, f"/room?topic={escaped(topic)}&done={done}")


def _seen(message: Message) -> str:
    return hashlib.sha256(msgspec.json.encode(message.payload)).hexdigest()[:32]


def _sentence(exc: Exception) -> str:
    text = str(exc)
    return f"{text[:1].upper()}{text[1:]}."
