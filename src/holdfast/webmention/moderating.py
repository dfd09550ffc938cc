"""What a person decides: this mention, and from now on that site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from holdfast.errors import MentionRefused
from holdfast.webmention import lifecycle
from holdfast.webmention.inbox import Held, Inbox, tag_of
from holdfast.webmention.mentions import ReceivedMention, Rule, State
from holdfast.webmention.rules import Rulebook, Rules

__all__ = ["Moderator"]

Tell: TypeAlias = Callable[[Held, Held], Awaitable[None]]


class Moderator:
    """Accepts and declines, by hand and by rule; `tell` hears of each that is another than it was."""

    def __init__(self, inbox: Inbox, rulebook: Rulebook, *, tell: Tell) -> None:
        self._inbox, self._rulebook, self._tell = inbox, rulebook, tell

    async def accept(self, id: str) -> ReceivedMention:
        """See `Inbound.accept`."""

        def change(held: Held) -> Held:
            if held.mention.state not in ("pending", "accepted", "declined") or held.mention.mention is None:
                raise MentionRefused(f"accept {id!r}: it is {held.mention.state}", status=409)
            return lifecycle.decided(held, "accepted", "accepted by a moderator", now=self._inbox.now())

        return await self._decide(id, change)

    async def decline(self, id: str) -> ReceivedMention:
        """See `Inbound.decline`."""

        def change(held: Held) -> Held:
            return lifecycle.decided(held, "declined", "declined by a moderator", now=self._inbox.now())

        return await self._decide(id, change)

    async def block(self, pattern: str) -> Rule:
        """See `Inbound.block`."""
        rule = await self._rulebook.add("block", pattern)
        await self._apply(rule, "declined", ("queued", "pending", "accepted"))
        return rule

    async def allow(self, pattern: str) -> Rule:
        """See `Inbound.allow`."""
        rule = await self._rulebook.add("accept", pattern)
        await self._apply(rule, "accepted", ("pending",))
        return rule

    async def _decide(self, id: str, change: Callable[[Held], Held]) -> ReceivedMention:
        before, after = await self._inbox.change(id, change)
        await self._tell(before, after)
        return after.mention

    async def _apply(
        self, rule: Rule, state: Literal["accepted", "declined"], states: tuple[State, ...]
    ) -> None:
        one = Rules([rule])
        asked = one.blocked if rule.kind == "block" else one.accepted
        blocked = (await self._rulebook.rules()).blocked
        says = f"{'blocked' if state == 'declined' else 'accepted'} by a rule: {rule.pattern}"

        def change(held: Held) -> Held:
            fits = held.mention.state in states and asked(*_speakers(held, rule)) is not None
            if not fits or (state == "accepted" and blocked(*_speakers(held, rule)) is not None):
                return held
            return lifecycle.decided(held, state, says, now=self._inbox.now())

        for each in states:
            found = [held async for held in self._inbox.each(tag_of(each)) if change(held) != held]
            for held in found:
                await self._decide(held.mention.id, change)


def _speakers(held: Held, rule: Rule) -> tuple[str | None, ...]:
    """The URLs that a rule is held against: an author's, which anybody may write, blocks but accepts nobody."""
    mention = held.mention
    author = mention.mention.author.url if mention.mention is not None and rule.kind == "block" else None
    return mention.source_url, author
