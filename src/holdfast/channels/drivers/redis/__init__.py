"""Channels on Redis and Valkey: one server, or its Sentinels."""

from holdfast.channels.drivers.redis.driver import RedisDriver

__all__ = ["RedisDriver"]
