"""Persist on Redis and Valkey: one server (or its Sentinels), or a cluster."""

from holdfast.persist.drivers.redis.cluster import RedisClusterDriver
from holdfast.persist.drivers.redis.driver import RedisDriver

__all__ = ["RedisClusterDriver", "RedisDriver"]
