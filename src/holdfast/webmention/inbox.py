"""What came in, as documents of a driver: what is kept of a mention, its tags, its limits.

One document a (source, target), of the kind ``<namespace>:m:i``, named by
their digest. `Held` is what it says: the mention as everybody sees it, and
what the worker knows of it. Tags make every list and every limit one look-up:

=========================== ======================================================
``q``                       it waits to be verified because a sender told of it
``q:h:<host>``, ``q:c:<…>`` the same, of one source host, of one client address
``u:h:<host>``              it is of this source host and waits for a moderator
``k:<voice>``               it was accepted once: who spoke is known
``s:<state>``               its state; with ``:<type>`` of one type as well
``s:<state>:t:<target>``    the same of one target (whatever its fragment), and
                            with ``:<type>``
``s:<state>:d:<host>``      the same of all targets of a host
=========================== ======================================================
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import InvalidConversion, StoreUnavailable, UnknownMention
from holdfast.webmention import urls
from holdfast.webmention.driver import Document, Driver, Put
from holdfast.webmention.mentions import MentionType, ReceivedMention, State

__all__ = ["Held", "Inbox", "InboxLimits", "client_group", "held_of", "netloc", "tag_of", "tags_of", "voice"]

PAGE = 200
TRIES = 8


class InboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait: beyond it a sender is told 429.

    Behind a proxy that does not say whom it speaks for, all senders have one
    address: raise `per_client` there, or let the server believe the proxy.
    """

    queued: int = 10_000  # to be verified, in all
    per_host: int = 100  # of one source host
    per_client: int = 100  # of one client address (IPv6: of one /64)
    undecided: int = 10_000  # verified and waiting for a moderator, in all
    undecided_per_host: int = 200
    left_over: int = (
        10_000  # invalid, gone, blocked: kept so that senders may read why; beyond it forgotten at once
    )
    photos: int = 5_000  # kept; beyond it the oldest goes


class Held(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a document says."""

    mention: ReceivedMention
    waiting: bool = False  # a sender told of it and nobody has looked since
    asks: int = 0  # how often one did
    checks: int = 0  # how often it was looked at again since
    trusted: bool = False  # it was accepted: its voice is known
    next_at: float | None = None  # when there is something to do; None: never


def netloc(url: str) -> str:
    """Host and port: on one machine two ports are two sites."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def client_group(client: str) -> str:
    """Whom an address belongs to, for limits: whoever has one of IPv6 has its /64."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def voice(mention: ReceivedMention) -> str:
    """Who spoke, as far as it can be believed: the source's host.

    A page may name any author, so a name alone makes nobody known. Where the
    author is of another host than the page (a bridge from a silo, a magazine),
    it is both together: one accepted author there does not speak for the rest.
    """
    source = netloc(mention.source_url)
    author = mention.mention.author.url if mention.mention is not None else None
    return urls.digest(source, "" if author is None or netloc(author) == source else author)


def tag_of(
    state: State, *, target: str | None = None, domain: str | None = None, type: MentionType | None = None
) -> str:
    """The tag of the smallest list that has all of these; a domain comes without a type."""
    parts = [f"s:{state}"]
    if target is not None:
        parts.append(f"t:{urls.digest(urls.without_fragment(target))}")
    elif domain is not None:
        parts.append(f"d:{urls.digest(domain.lower())}")
    if type is not None and (domain is None or target is not None):
        parts.append(type)
    return ":".join(parts)


def tags_of(held: Held) -> tuple[str, ...]:
    """Every tag of its document."""
    mention = held.mention
    host = urls.digest(netloc(mention.source_url))
    found = []
    if held.waiting:
        found += ["q", f"q:h:{host}"]
        if mention.client:
            found.append(f"q:c:{urls.digest(client_group(mention.client))}")
    if mention.state == "pending":
        found.append(f"u:h:{host}")
    if held.trusted:
        found.append(f"k:{voice(mention)}")
    if not mention.private:
        state, target = mention.state, mention.target_url
        found += [tag_of(state), tag_of(state, target=target), tag_of(state, domain=urls.host_of(target))]
        if mention.mention is not None:
            type_ = mention.mention.type
            found += [tag_of(state, type=type_), tag_of(state, target=target, type=type_)]
    return tuple(found)


def held_of(document: Document) -> Held:
    """What it says; its number is the document's."""
    try:
        held = msgspec.json.decode(document.data, type=Held)
    except msgspec.DecodeError as exc:
        raise InvalidConversion(f"mention {document.id}: what is stored is no mention") from exc
    mention = msgspec.structs.replace(held.mention, id=document.id, number=document.number)
    return msgspec.structs.replace(held, mention=mention)


class Inbox:
    """Reads and writes them; nothing is decided here."""

    def __init__(self, driver: Driver, namespace: str, *, now: Callable[[], float]) -> None:
        self.driver, self.kind, self.now = driver, f"{namespace}:m:i", now

    async def get(self, id: str) -> tuple[Held, Document] | None:
        """It, and the document it is of."""
        if not id.isascii() or not 1 <= len(id) <= 200:
            return None
        document = (await self.driver.get(self.kind, [id]))[0]
        return None if document is None else (held_of(document), document)

    async def put(self, held: Held, *, expect: str | None) -> bool:
        """Keep it, due at its `next_at`; False where the document is not of the version expected any more."""
        wait = None if held.next_at is None else max(0, round((held.next_at - self.now()) * 1000))
        data = msgspec.json.encode(held)
        return await self.driver.write([Put(self.kind, held.mention.id, data, tags_of(held), wait, expect)])

    async def change(self, id: str, change: Callable[[Held], Held]) -> tuple[Held, Held]:
        """Before and after. `change` may be called several times, once for each who was faster.

        Raises:
            UnknownMention: there is none with this id.
        """
        for _ in range(TRIES):
            found = await self.get(id)
            if found is None:
                raise UnknownMention(f"mention {id!r}: there is none")
            before, document = found
            after = change(before)
            if after == before or await self.put(after, expect=document.version):
                return before, after
        raise StoreUnavailable(f"mention {id!r}: it was changed by others {TRIES} times in a row")

    async def count(self, *tags: str) -> list[int]:
        """How many have each tag."""
        return await self.driver.count(self.kind, tags)

    async def each(
        self, tag: str = "", *, newest: bool = True, after: int | None = None, limit: int = PAGE
    ) -> AsyncIterator[Held]:
        """All with the tag, read a page at a time; what changes meanwhile may be seen or not."""
        while True:
            page = await self.driver.page(self.kind, tag, after=after, limit=limit, newest=newest)
            for document in page:
                yield held_of(document)
            if len(page) < limit:
                return
            after = page[-1].number
