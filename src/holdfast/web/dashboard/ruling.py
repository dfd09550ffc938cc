"""Whose mentions are taken without asking, and whose not at all: rules, and blocking from a mention."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from holdfast.web.dashboard.gate import Visit
from holdfast.web.dashboard.moderation import Moderation
from holdfast.web.dashboard.pages import Pages
from holdfast.web.mentions import Mentions
from holdfast.web.problems import Problem

__all__ = ["Ruling"]


class Ruling:
    """`/mentions/block` and `/mentions/rules`."""

    def __init__(self, mentions: Mentions, moderation: Moderation, pages: Pages) -> None:
        self._webmention = mentions.webmention
        self._moderation = moderation
        self._pages = pages

    async def confirm(self, visit: Visit) -> Response:
        """What blocking means for this mention's source, before it is done."""
        mention = await self._moderation.find(visit.request.query_params.get("id", ""))
        pattern = urlsplit(mention.source_url).netloc
        return self._pages.render(
            visit.request, "block.html", session=visit.session, mention=mention, pattern=pattern
        )

    async def show(self, visit: Visit) -> Response:
        return await self._rules(visit)

    async def add(self, visit: Visit) -> Response:
        """A rule, which decides what waits already, too."""
        kind, pattern = visit.form.get("kind", ""), visit.form.get("pattern", "").strip()
        rulers = {"block": self._webmention.block, "accept": self._webmention.allow}
        if kind not in rulers:
            raise Problem("bad-parameter", "A rule blocks or accepts.")
        try:
            await rulers[kind](pattern)
        except ValueError as exc:
            return await self._rules(visit, kind=kind, pattern=pattern, trouble=str(exc))
        return self._pages.redirect(visit.request, f"/mentions/rules?done=rule-{kind}")

    async def remove(self, visit: Visit) -> Response:
        there = await self._webmention.unblock(visit.form.get("pattern", ""))
        return self._pages.redirect(
            visit.request, f"/mentions/rules?done={'rule-removed' if there else 'rule-gone'}"
        )

    async def _rules(
        self, visit: Visit, *, kind: str = "block", pattern: str = "", trouble: str = ""
    ) -> Response:
        rules = sorted(await self._webmention.rules(), key=lambda rule: (-rule.created_at, rule.pattern))
        return self._pages.render(
            visit.request,
            "rules.html",
            session=visit.session,
            status=400 if trouble else 200,
            rules=rules,
            kind=kind,
            pattern=pattern,
            trouble=trouble,
        )
