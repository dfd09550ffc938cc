"""One command's work: the store opened, signals heard, errors put into words.

`with_store(work)` runs the coroutine `work(persist, out)` and answers what it
answers. Whatever goes wrong comes out as `Failed`. asyncio and `persist` are
imported when there is work for them: `get --help` takes half the time without.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from msgspec import structs

from holdfast import errors
from holdfast.cli import output
from holdfast.cli.options import made_for
from holdfast.cli.output import Failed, Output
from holdfast.settings import Settings
from holdfast.store import StoreURL, masked

if TYPE_CHECKING:
    import asyncio

    from holdfast.channels import Channels
    from holdfast.persist import Persist
    from holdfast.webmention import Webmention

__all__ = [
    "channels_beside",
    "chosen",
    "configured",
    "is_missing",
    "webmention_beside",
    "with_channels",
    "with_store",
    "with_webmention",
    "without_store",
    "worded",
]

MISSED: Final = 10_000
"""Messages that `channels tail --since` may bring, and that may wait while its output is blocked."""

T = TypeVar("T")


def configured(**given: Any) -> Settings:
    """The environment's settings with the command line's over them."""
    choices = made_for(click.get_current_context())
    with worded("settings"):
        return Settings.from_environment(store=choices.store, namespace=choices.namespace, **given)


def chosen() -> Output:
    """How this run prints."""
    return Output(as_json=made_for(click.get_current_context()).json)


def with_store(
    work: Callable[[Persist, Output], Awaitable[T]],
    *,
    subject: str,
    creates: bool = False,
    opens: bool = True,
    memory: bool = False,
    auto_migrate: bool | None = None,
    max_bytes: int | None = None,
) -> T:
    """Run `work` over the chosen store.

    `subject` is what an error message begins with: "get 'user:1'". Unless the
    command `creates`, a SQLite file that is not there is an error: opening it
    would leave an empty file where a name was misspelt. One that does not open
    the store itself (`opens`) has it closed: tables may be missing then. Only
    where `memory` says so may the store be one that ends with the command.
    """
    settings, out = configured(max_bytes=max_bytes), chosen()
    _check(settings.store, creates, memory)

    from holdfast.persist import Persist

    async def whole() -> T:
        persist = Persist(
            settings.store,
            namespace=settings.namespace,
            auto_migrate=_migrates(settings, auto_migrate),
            max_bytes=settings.max_bytes,
        )
        if not opens:
            return await work(persist, out)
        async with persist:
            return await work(persist, out)

    with worded(subject):
        return _run(whole)


def with_channels(
    work: Callable[[Channels, Output], Awaitable[T]],
    *,
    subject: str,
    creates: bool = False,
    auto_migrate: bool | None = None,
    history: int = 0,
) -> T:
    """Run `work` over the rooms of the chosen store, as `with_store` does; a `tail` begins with so much history."""
    settings, out = configured(), chosen()
    _check(settings.store, creates, False)

    async def whole() -> T:
        async with _channels(settings, auto_migrate, history) as channels:
            return await work(channels, out)

    with worded(subject):
        return _run(whole)


def channels_beside(*, auto_migrate: bool | None = None) -> Channels | None:
    """The rooms of the chosen store, not opened; None where it cannot have any. For `work` over its values."""
    try:
        return _channels(configured(), auto_migrate, 0)
    except errors.StoreMisconfigured:
        return None  # its values are here already, so the URL is no nonsense


def _channels(settings: Settings, auto_migrate: bool | None, history: int) -> Channels:
    from holdfast.channels import AnyTopic, Channels, Limits

    replaying = type("Replaying", (AnyTopic,), {"history": history})
    return Channels(
        settings.store,
        [replaying],
        namespace=settings.namespace,
        auto_migrate=_migrates(settings, auto_migrate),
        limits=Limits(missed=MISSED),
    )


def with_webmention(
    work: Callable[[Webmention, Output], Awaitable[T]],
    *,
    subject: str,
    creates: bool = False,
    auto_migrate: bool | None = None,
    site: str | None = None,
    allow: Sequence[str] = (),
    rehearses: bool = False,
) -> T:
    """Run `work` over the mentions of the chosen store, as `with_store` does; nothing goes on in the background.

    One that only `rehearses` has an empty store in memory where there is none yet.
    """
    settings, out = configured(site=site), chosen()
    if rehearses and (settings.store.startswith("memory:") or is_missing(settings.store)):
        settings = structs.replace(settings, store="memory://")
    else:
        _check(settings.store, creates, False)

    async def whole() -> T:
        async with _webmention(settings, auto_migrate, allow) as mentions:
            return await work(mentions, out)

    with worded(subject):
        return _run(whole)


def webmention_beside(*, auto_migrate: bool | None = None) -> Webmention | None:
    """The mentions of the chosen store, as `channels_beside` has its rooms; None where the extra is missing, too."""
    try:
        return _webmention(configured(), auto_migrate, ())
    except errors.StoreMisconfigured:
        return None


def _webmention(settings: Settings, auto_migrate: bool | None, allow: Sequence[str]) -> Webmention:
    from holdfast.webmention import NetworkPolicy, Webmention

    return Webmention(
        settings.store,
        site=settings.site,
        namespace=settings.namespace,
        policy=NetworkPolicy(allow=allow),
        accept=settings.webmention_accept,  # type: ignore[arg-type] # the settings have checked it
        auto_migrate=_migrates(settings, auto_migrate),
        background=False,
    )


def without_store(work: Callable[[Output], Awaitable[T]], *, subject: str) -> T:
    """Run `work`, which needs none."""
    out = chosen()
    with worded(subject):
        return _run(lambda: work(out))


def _migrates(settings: Settings, wanted: bool | None) -> bool | None:
    return settings.auto_migrate if wanted is None else wanted


def is_missing(store: str) -> bool:
    """Whether the store is a SQLite file that is not there."""
    if store.partition("://")[0] != "sqlite":
        return False
    with worded("store"):
        path = StoreURL.parse(store, foreign=True).path
    return path not in ("", ":memory:") and not Path(path).exists()


def _check(store: str, creates: bool, memory: bool) -> None:
    if not memory and store.startswith("memory:"):
        raise Failed(
            output.USAGE,
            "store: memory:// is gone when this command ends; name one with --store or HOLDFAST_STORE, "
            "as in sqlite:///app.db",
            kind="Usage",
        )
    if not creates and is_missing(store):
        raise Failed(
            output.UNAVAILABLE,
            f"store {masked(store)}: there is no such file; "
            "`holdfast migrate` makes it, and so does the first `holdfast set`",
            kind="StoreUnavailable",
        )


@contextmanager
def worded(subject: str) -> Iterator[None]:
    """Turn what Holdfast and wrong arguments raise into one line with a way out, and an exit code."""
    try:
        yield
    except errors.HoldfastError as exc:
        raise _failed(subject, exc) from exc
    except (ValueError, TypeError) as exc:
        raise Failed(output.USAGE, _about(subject, str(exc)), kind="Usage") from exc
    except OSError as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        where = f"{exc.filename!r}: " if exc.filename else ""
        words = _about(subject, where + (exc.strerror or type(exc).__name__))
        raise Failed(output.USAGE, words, kind="Usage") from exc


def _failed(subject: str, exc: errors.HoldfastError) -> Failed:
    kind, message = type(exc).__name__, _about(subject, str(exc)).rstrip(".")
    match exc:
        case errors.Overloaded():
            return Failed(output.UNAVAILABLE, f"{message}; try again in a moment", kind=kind)
        case errors.StoreUnavailable(maybe_applied=maybe):
            known = "; it may have been done: look before doing it again" if maybe else ""
            words = f"{message}{known}; is the store running and reachable from here?"
            return Failed(output.UNAVAILABLE, words, kind=kind, maybe_applied=maybe)
        case errors.NotMigrated():
            advice = "" if "holdfast migrate" in message else "; `holdfast migrate` makes the tables"
            return Failed(output.UNAVAILABLE, message + advice, kind=kind)
        case errors.StoreMisconfigured():
            return Failed(output.USAGE, message, kind=kind)
        case errors.DuplicateKey():
            return Failed(output.CONFLICT, f"{message}; `holdfast set` overwrites it", kind=kind)
        case errors.VersionConflict() | errors.LockBusy() | errors.LockLost():
            return Failed(output.CONFLICT, message, kind=kind)
        case errors.InvalidConversion():
            return Failed(
                output.CONFLICT, f"{message}; `holdfast get --raw` prints what is stored", kind=kind
            )
        case errors.HistoryLost():
            words = f"{message}; `holdfast channels history` prints what is kept"
            return Failed(output.NO, words, kind=kind)
        case errors.AddressRefused():
            way_out = "; for a site of one's own, --allow HOST:PORT names an exception"
            return Failed(output.USAGE, message + way_out * ("connect to" in message), kind=kind)
        case errors.UnknownMention() | errors.MentionRefused():
            return Failed(output.NO, message, kind=kind)
        case errors.MessageTooLarge() | errors.TopicRefused():
            return Failed(output.USAGE, message, kind=kind)
        case _:
            return Failed(output.UNAVAILABLE, message, kind=kind)


def _about(subject: str, message: str) -> str:
    """The message with the operation and its subject in front, unless it begins with the operation anyway."""
    operation = subject.partition(" ")[0]
    return (
        message
        if message.startswith((f"{operation} ", f"{operation}: ", "store URL "))
        else f"{subject}: {message}"
    )


class _Stop:
    """What a signal does: cancels the running task, or breaks into a call that waits for somebody else.

    The second signal breaks in wherever it is.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        first, self.signal = not self.signal, number
        if first and not output.blocked and self.loop is not None and self.task is not None:
            self.loop.call_soon_threadsafe(self.task.cancel)
            return
        raise KeyboardInterrupt


def _run(whole: Callable[[], Awaitable[T]]) -> T:
    import asyncio

    stop = _Stop()

    async def task() -> T:
        stop.loop, stop.task = asyncio.get_running_loop(), asyncio.current_task()
        return await whole()

    try:
        with _heard(stop):
            return asyncio.run(task())
    except (asyncio.CancelledError, KeyboardInterrupt):
        if stop.signal == signal.SIGTERM:
            raise Failed(output.TERMINATED, "ended by SIGTERM", kind="Interrupted") from None
        if stop.signal:
            raise Failed(output.INTERRUPTED, "interrupted", kind="Interrupted") from None
        raise


@contextmanager
def _heard(stop: _Stop) -> Iterator[None]:
    """SIGINT and SIGTERM go to `stop`; asyncio leaves a handler that is there alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
