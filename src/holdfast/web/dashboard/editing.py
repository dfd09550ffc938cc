"""One value: looked into, created, changed, removed. Every write names the version that was looked at."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import DuplicateKey, InvalidConversion, StoreUnavailable, VersionConflict
from holdfast.persist import Entry, Keep, Persist
from holdfast.web.dashboard.forms import Draft, Refused, escaped, unescaped
from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.pages import Pages
from holdfast.web.dashboard.sessions import Session
from holdfast.web.jsontext import NotJSON, compact, kind, pretty
from holdfast.web.requests import checked_key

__all__ = ["Editing"]

_GONE = "It has expired, or somebody removed it."


class Shown(msgspec.Struct, frozen=True):
    """A stored value as a page shows it."""

    key: str
    text: str
    kind: str
    size: int
    ttl: float | None
    version: str


class Editing:
    """`/value`, `/new`, `/edit` and `/remove`."""

    def __init__(self, persist: Persist, pages: Pages, *, max_bytes: int) -> None:
        self._persist = persist
        self._pages = pages
        self._max_bytes = max_bytes

    # --- looking ---

    async def show(self, visit: Visit) -> Response:
        key = _asked(visit)
        shown = await self._shown(key)
        if shown is None:
            return self._absent(visit, key)
        return self._pages.render(visit.request, "value.html", session=visit.session, value=shown)

    async def new(self, visit: Visit) -> Response:
        draft = Draft(key=visit.request.query_params.get("key", ""), text="", lifetime="never")
        return self.editor(visit.request, visit.session, draft)

    async def edit(self, visit: Visit) -> Response:
        key = _asked(visit)
        shown = await self._shown(key)
        if shown is None:
            return self._absent(visit, key)
        draft = Draft(key=key, text=shown.text, version=shown.version)
        return self.editor(visit.request, visit.session, draft, stored=shown)

    def editor(
        self,
        request: Request,
        session: Session,
        draft: Draft,
        *,
        stored: Shown | None = None,
        status: int = 200,
        trouble: str = "",
        field: str = "",
        conflict: str = "",
    ) -> Response:
        """The form with the draft in it: to begin with, and again after everything that went wrong."""
        return self._pages.render(
            request,
            "edit.html",
            session=session,
            status=status,
            draft=draft,
            stored=stored,
            trouble=trouble,
            field=field,
            conflict=conflict,
            max_bytes=self._max_bytes,
        )

    # --- saving ---

    async def save(self, visit: Visit) -> Response:
        draft = Draft.of(visit.form)
        try:
            return await self._save(visit, draft)
        except Refused as exc:
            return self.editor(
                visit.request, visit.session, draft, status=400, trouble=str(exc), field=exc.field
            )
        except (VersionConflict, DuplicateKey) as exc:
            return await self._conflict(visit, draft, created=isinstance(exc, DuplicateKey))
        except StoreUnavailable as exc:
            trouble = "The store does not answer. Nothing was saved; your text is below."
            if exc.maybe_applied:
                trouble = (
                    "The store stopped answering while it was being saved, so nobody can say whether it was. "
                    "Saving again does no harm: if it was saved, you will be shown so."
                )
            return self.editor(visit.request, visit.session, draft, status=503, trouble=trouble)

    async def _save(self, visit: Visit, draft: Draft) -> Response:
        key, expires = draft.checked_key(), draft.expires()
        try:
            text = compact(draft.text.encode("utf-8", "surrogatepass"))
        except NotJSON as exc:
            raise Refused("text", f"This is not JSON: {exc}.") from None
        if len(text) > self._max_bytes:
            raise Refused("text", f"This is {len(text):,} bytes; a value may have {self._max_bytes:,}.")
        if draft.version:
            await self._persist.replace(key, msgspec.Raw(text), version=draft.version, expires=expires)
            done = "saved"
        else:
            lifetime = None if isinstance(expires, Keep) else expires
            await self._persist.create(key, msgspec.Raw(text), expires=lifetime)
            done = "created"
        return self._pages.redirect(visit.request, f"/value?key={escaped(key)}&done={done}")

    async def _conflict(self, visit: Visit, draft: Draft, *, created: bool) -> Response:
        """Show both values; saving again from there is a decision, and again refers to what was looked at."""
        stored = await self._shown(draft.key)
        if stored is not None and draft.lifetime == "keep" and stored.text == _pretty_or(draft.text):
            return self._pages.redirect(visit.request, f"/value?key={escaped(draft.key)}&done=saved")
        conflict = "exists" if created else "changed"
        if stored is None:
            conflict, lifetime = "gone", "never" if draft.lifetime == "keep" else draft.lifetime
            draft = msgspec.structs.replace(draft, version="", lifetime=lifetime)
        else:
            draft = msgspec.structs.replace(draft, version=stored.version)
        return self.editor(visit.request, visit.session, draft, stored=stored, status=409, conflict=conflict)

    # --- removing ---

    async def confirm(self, visit: Visit) -> Response:
        key = _asked(visit)
        shown = await self._shown(key)
        if shown is None:
            return self._absent(visit, key)
        return self._pages.render(
            visit.request, "remove.html", session=visit.session, value=shown, changed=False
        )

    async def remove(self, visit: Visit) -> Response:
        key = checked_key(unescaped(visit.form.get("at", "")))
        if await self._persist.remove(key, version=visit.form.get("version") or None):
            return self._pages.redirect(visit.request, "/keys?done=removed")
        shown = await self._shown(key)
        if shown is None:
            return self._pages.redirect(visit.request, "/keys?done=gone")
        return self._pages.render(
            visit.request, "remove.html", session=visit.session, status=409, value=shown, changed=True
        )

    # --- what is there ---

    async def _shown(self, key: str) -> Shown | None:
        try:
            entry: Entry[msgspec.Raw] | None = await self._persist.entry(key, msgspec.Raw)
            if entry is None:
                return None
            text = bytes(entry.value)
            return Shown(key, pretty(text), kind(text), len(text), entry.ttl, entry.version)
        except msgspec.DecodeError as exc:
            raise InvalidConversion(f"look into {key!r}: what is stored is not JSON") from exc

    def _absent(self, visit: Visit, key: str) -> Response:
        return self._pages.render(
            visit.request, "absent.html", session=visit.session, status=404, key=key, why=_GONE
        )


def _asked(visit: Visit) -> str:
    return checked_key(visit.request.query_params.get("key", ""))


def _pretty_or(text: str) -> str:
    try:
        return pretty(compact(text.encode("utf-8", "surrogatepass")))
    except NotJSON:
        return text
