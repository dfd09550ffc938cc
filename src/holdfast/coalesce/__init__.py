"""Concurrent operations become one round trip."""

from holdfast.coalesce.batcher import Batcher

__all__ = ["Batcher"]
