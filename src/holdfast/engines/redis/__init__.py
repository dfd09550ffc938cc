"""Redis and Valkey: one connection for commands, made by redis-py, spoken by a small protocol of ours.

redis-py does what is hard about a connection (TLS, AUTH, SELECT, RESP3, unix
sockets, Sentinel); from then on every command costs its bytes and nothing else:
a batch is one write, its replies one future.

=============  =======================================================================
`wire`         one connection: bytes out, replies in, a watchdog
`engine`       the connection that comes back: reconnects, what waits meanwhile, scripts
`subscribed`   one connection that subscribes
`listening`    the subscribing connection that comes back, shared by all who listen
`cluster`      an engine for each primary of a cluster
`greeting`     what a server says of itself, and whether it can serve
`address`      URLs, Sentinel, what redis-py is told
`refusals`     error replies as words, and as exceptions
`doctor`       what a server promises as it is configured
=============  =======================================================================
"""

from holdfast.engines.redis.address import Address
from holdfast.engines.redis.cluster import RedisClusterEngine
from holdfast.engines.redis.engine import RedisEngine, Script, pack
from holdfast.engines.redis.greeting import Server
from holdfast.engines.redis.listening import Ear
from holdfast.engines.redis.refusals import Refusal, as_error, refusal_word

__all__ = [
    "Address",
    "Ear",
    "RedisClusterEngine",
    "RedisEngine",
    "Refusal",
    "Script",
    "Server",
    "as_error",
    "pack",
    "refusal_word",
]
