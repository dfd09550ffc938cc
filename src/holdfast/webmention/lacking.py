"""What is said where a storage of one's own is a smaller one than something needs."""

from __future__ import annotations

from holdfast.errors import StorageTooSmall

__all__ = ["no_inbox", "too_small"]


def too_small(what: str) -> StorageTooSmall:
    """For what four methods cannot do."""
    return StorageTooSmall(
        f"{what}: a storage of four methods (Storage) cannot; it takes the protocol Outbox, "
        "which Webmention(url) and Webmention(outbox=...) have"
    )


def no_inbox(storage: str) -> StorageTooSmall:
    """For receiving, where there is no store to receive into."""
    return StorageTooSmall(
        f"receiving: {storage} keeps what goes out (Storage, Outbox); to receive takes a store too: "
        "Webmention(url), with storage=... or outbox=... beside it"
    )
