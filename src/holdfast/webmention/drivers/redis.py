"""Documents in Redis or Valkey: one server, or its Sentinels.

Guarantees: a call that writes is one script, atomic for everybody; what is
acknowledged is as durable as Redis' persistence setting makes it (`describe`
says). Redis' clock decides what is due. `redis_scripts` has the layout.

A reply that says that this server cannot serve (READONLY, LOADING, MASTERDOWN) is
`StoreUnavailable` with nothing applied, and the connection is left for another.

Where memory is full and keys may be evicted, documents vanish, and with the
counter the promise that no number comes twice. `describe` warns.

Cost: a call is one round trip; `get` and `count` are a command for each id or
tag, sent together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from holdfast.engines import Lease, lease
from holdfast.engines.redis import Address, RedisEngine, Refusal, Script, as_error, doctor, pack, refusal_word
from holdfast.errors import Closed, HoldfastError, StoreError
from holdfast.store import Finding, Health, Migration, StoreURL
from holdfast.webmention.driver import Change, Document, Put, Traits
from holdfast.webmention.drivers.redis_scripts import CLAIM, NEXT, PAGE, SCRIPTS, WRITE

__all__ = ["RedisDriver", "eviction"]

_COUNTER: Final = "holdfast:m"
"""Of kinds that have no namespace in front."""

_json = msgspec.json.Encoder().encode
_tags = msgspec.json.Decoder(tuple[str, ...]).decode


class RedisDriver:
    """Hashes and sorted sets of one Redis.

    Args:
        client: a `redis.asyncio.Redis` of your own (also from
            `Sentinel.master_for`). Connections are made as it makes them; it is
            never closed, and its own retries do not apply. Without it, use `from_url`.
    """

    traits = Traits(name="redis", durable="server", shared="network", clock="server")

    OPTIONS = ("timeout",)

    def __init__(self, client: Any = None, *, url: StoreURL | None = None) -> None:
        if (client is None) == (url is None):
            raise TypeError("RedisDriver: pass a client, or make it with from_url")
        self._client = client
        self._url = url
        self._lease: Lease[RedisEngine] | None = None
        self._opened: RedisEngine | None = None

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        RedisEngine.from_url(url)  # an unknown option is told here, before any I/O
        return cls(url=url)

    # --- life ---

    async def open(self) -> None:
        if self._opened is not None:
            return
        if self._url is not None:
            self._lease = await lease(RedisEngine, self._url)
            engine = self._lease.engine
        else:
            engine = RedisEngine(Address.of_client(self._client))
            await engine.open()
        self._opened = engine
        try:
            await engine.load(*SCRIPTS)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        engine, self._opened = self._opened, None
        held, self._lease = self._lease, None
        if held is not None:
            await held.release()
        elif engine is not None:
            await engine.close()

    @property
    def _engine(self) -> RedisEngine:
        if self._opened is None:
            raise Closed("redis: not open")
        return self._opened

    async def pending(self) -> Sequence[Migration]:
        return ()

    async def migrate(self) -> Sequence[Migration]:
        return ()

    async def health(self) -> Health:
        if self._opened is None:
            return Health(False, "redis", 0.0, "not open")
        try:
            seconds = await self._opened.ping()
        except HoldfastError as exc:
            return Health(False, "redis", 0.0, str(exc))
        server = self._opened.server
        return Health(True, "redis", seconds, f"{server.name} {server.version} {server.role}".strip())

    async def describe(self) -> Sequence[Finding]:
        return await doctor.findings(self._engine, _judge, "what is due")

    # --- documents ---

    async def get(self, kind: str, ids: Sequence[str]) -> list[Document | None]:
        commands = [pack(("HMGET", f"{kind}:d:{id}", "n", "r", "w", "t", "b")) for id in ids]
        replies = await self._ask(f"get of {kind!r}", commands)
        return [
            None if entry[0] is None else _document(kind, id, entry)
            for id, entry in zip(ids, replies, strict=True)
        ]

    async def write(self, changes: Sequence[Change]) -> bool:
        if not changes:
            return True
        arguments: list[str | bytes | int] = []
        for change in changes:
            arguments += (change.kind, change.id, "*" if change.expect is None else f"={change.expect}")
            if isinstance(change, Put):
                wait = "" if change.wait is None else change.wait
                arguments += (_json(sorted(set(change.tags))), wait, change.data)
            else:
                arguments += ("", "", "")
        return bool(await self._run(f"write to {changes[0].kind!r}", WRITE, _COUNTER, *arguments))

    async def page(
        self, kind: str, tag: str = "", *, after: int | None = None, limit: int = 100, newest: bool = False
    ) -> list[Document]:
        key = f"{kind}:t:{tag}" if tag else f"{kind}:a"
        start = "" if after is None else after
        found = await self._run(f"page of {kind!r}", PAGE, key, kind, start, limit, int(newest))
        return [_document(kind, id.decode(), entry) for id, *entry in found]

    async def count(self, kind: str, tags: Sequence[str]) -> list[int]:
        commands = [pack(("ZCARD", f"{kind}:t:{tag}" if tag else f"{kind}:a")) for tag in tags]
        return await self._ask(f"count of {kind!r}", commands)

    async def claim(self, kind: str, *, lease: int, limit: int = 1, tag: str = "") -> list[Document]:
        found = await self._run(f"claim of {kind!r}", CLAIM, f"{kind}:w", kind, lease, limit, tag)
        return [_document(kind, id.decode(), entry) for id, *entry in found]

    async def next_due(self, kind: str) -> int | None:
        left: int | None = await self._run(f"next due of {kind!r}", NEXT, f"{kind}:w")
        return left

    # --- round trips ---

    async def _run(self, what: str, script: Script, key: str, *arguments: str | bytes | int) -> Any:
        """The answer of a script; one that the server does not know did nothing, so it is sent along once more."""
        (reply,) = await self._engine.send(pack(("EVALSHA", script.sha, 1, key, *arguments)), 1)
        if type(reply) is Refusal and refusal_word(reply) == "NOSCRIPT":
            (reply,) = await self._engine.send(pack(("EVAL", script.text, 1, key, *arguments)), 1)
        return self._answered(what, reply)

    async def _ask(self, what: str, commands: Sequence[bytes]) -> list[Any]:
        if not commands:
            return []
        replies = await self._engine.send(b"".join(commands), len(commands))
        return [self._answered(what, reply) for reply in replies]

    def _answered(self, what: str, reply: Any) -> Any:
        if type(reply) is not Refusal:
            return reply
        if self._opened is not None:
            self._opened.refused(reply)
        if refusal_word(reply) == "WRONGTYPE":
            raise StoreError(f"{what}: redis: a key of ours holds another type")
        raise as_error(what, reply)


def _document(kind: str, id: str, entry: Sequence[Any]) -> Document:
    number, revision, due, tags, data = entry
    return Document(
        kind,
        id,
        int(number),
        f"{number.decode()}.{revision.decode()}",
        data,
        _tags(tags),
        None if due is None else int(due),
    )


# --- what the doctor says ---


def _judge(config: Mapping[str, str] | None) -> list[Finding]:
    if config is None:
        text = f"{doctor.FORBIDDEN}: make sure that maxmemory-policy is noeviction"
        return [Finding("note", "eviction", text)]
    return [eviction(config)]


def eviction(config: Mapping[str, str]) -> Finding:
    """What happens when memory is full."""
    policy = config.get("maxmemory-policy", "noeviction")
    limit = config.get("maxmemory", "0")
    if policy == "noeviction" or policy.startswith("volatile"):  # mentions have no expiry
        full = "when memory is full, mentions are refused" if limit != "0" else "no maxmemory is set"
        return Finding("ok", "eviction", f"{policy}: {full}; no mention vanishes")
    unless = " (no maxmemory is set, so not yet)" if limit == "0" else ""
    text = (
        f"{policy}: when memory is full, mentions vanish, and those still to be sent are never sent{unless}"
    )
    return Finding("warning", "eviction", f"{text}; noeviction keeps them")
