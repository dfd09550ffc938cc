"""`/metrics` in Prometheus' text format, and `/health`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast.channels import Channels
from holdfast.errors import StoreError
from holdfast.persist import Persist
from holdfast.store import Health
from holdfast.web.access import Access, Bearer
from holdfast.web.mentions import Mentions
from holdfast.web.tally import Histogram, Tally

__all__ = ["routes"]

_OF = " Of this worker process since it started."
_SOURCE = ("store", "capability")
_KIND = (*_SOURCE, "operation")
_Kept: TypeAlias = tuple[Mapping[Any, int], Mapping[Any, int]]


def routes(
    persist: Persist, channels: Channels | None, mentions: Mentions | None, tally: Tally, access: Access
) -> list[Route]:
    """`GET /health` for anyone, `GET /metrics` for the token."""

    async def health(request: Request) -> Response:
        found = await persist.health()
        body = {"status": "up" if found.ok else "down", "store": "up" if found.ok else "down"}
        headers = {} if found.ok else {"Retry-After": "1"}
        return Response(
            msgspec.json.encode(body), 200 if found.ok else 503, headers, media_type="application/json"
        )

    async def metrics(request: Request) -> Response:
        kept = None if mentions is None else await _kept(mentions)
        text = _exposition(tally, channels, kept, await persist.health())
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/health", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"], middleware=[Middleware(Bearer, access=access)]),
    ]


async def _kept(mentions: Mentions) -> _Kept | None:
    """How many mentions there are; None: the store does not answer, which another figure says."""
    try:
        return await mentions.webmention.outgoing_counts(), await mentions.webmention.states()
    except StoreError:
        return None


def _exposition(tally: Tally, channels: Channels | None, kept: _Kept | None, health: Health) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Figures(tally, health))
    if channels is not None:
        registry.register(_Rooms(tally, channels))
    if kept is not None:
        registry.register(_Mentioned(tally, kept))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return generate_latest(registry)


class _Figures(Collector):
    """Turns a `Tally` into metric families."""

    def __init__(self, tally: Tally, health: Health) -> None:
        self._tally = tally
        self._health = health

    def collect(self) -> Iterator[Metric]:
        tally, health = self._tally, self._health
        up = GaugeMetricFamily("holdfast_store_up", "1 where the store answers now.", labels=["store"])
        up.add_metric([health.store], float(health.ok))
        yield up
        trip = GaugeMetricFamily(
            "holdfast_store_health_seconds", "The round trip of that question.", labels=["store"]
        )
        trip.add_metric([health.store], health.seconds)
        yield trip
        operations = CounterMetricFamily("holdfast_operations", "Operations, by kind." + _OF, labels=_KIND)
        for key, count in sorted(tally.operations.items()):
            operations.add_metric(key, count)
        yield operations
        errors = CounterMetricFamily(
            "holdfast_errors", "Round trips that failed as a whole." + _OF, labels=[*_SOURCE, "error"]
        )
        for key, count in sorted(tally.errors.items()):
            errors.add_metric(key, count)
        yield errors
        yield _counter("holdfast_connects", "Connections made, the first included." + _OF, tally.connects)
        yield _counter("holdfast_disconnects", "Connections lost." + _OF, tally.disconnects)
        yield _counter("holdfast_swept", "Expired values deleted." + _OF, tally.swept)
        sizes = HistogramMetricFamily(
            "holdfast_batch_operations", "Operations in one round trip." + _OF, labels=_SOURCE
        )
        times = HistogramMetricFamily(
            "holdfast_batch_seconds", "Duration of one round trip." + _OF, labels=_SOURCE
        )
        for source, histogram in sorted(tally.batch_operations.items()):
            _add(sizes, source, histogram)
            _add(times, source, tally.batch_seconds[source])
        yield sizes
        yield times


class _Rooms(Collector):
    """What `Channels` counts, and how long its messages take to be stored."""

    def __init__(self, tally: Tally, channels: Channels) -> None:
        self._tally = tally
        self._channels = channels

    def collect(self) -> Iterator[Metric]:
        counts = self._channels.counts()
        for name, text, now in (
            ("connections", "Clients connected to this worker process now.", counts.connections),
            ("rooms", "Topics with members in this worker process now.", counts.rooms),
            ("unread_bytes", "Bytes that wait for clients of this worker process now.", counts.unread),
        ):
            yield GaugeMetricFamily(f"holdfast_channels_{name}", text, value=now)
        for name, text, count in (
            ("joins", "Joins that were answered with ok.", counts.joins),
            ("received", "Messages from clients, heartbeats included.", counts.received),
            ("sent", "Messages to clients, one for each member.", counts.sent),
            ("kept", "Messages that were kept.", counts.kept),
            ("dropped", "Clients that read too slowly and were disconnected, to resume.", counts.dropped),
            ("crashed", "Callbacks and handlers of channels that raised.", counts.crashed),
        ):
            yield CounterMetricFamily(f"holdfast_channels_{name}", text + _OF, value=count)
        refused = CounterMetricFamily(
            "holdfast_channels_refused",
            "What clients asked for and the store did not do." + _OF,
            labels=["where", "error"],
        )
        for key, number in sorted(self._tally.refused.items()):
            refused.add_metric(key, number)
        yield refused
        commits = HistogramMetricFamily(
            "holdfast_channels_commit_seconds",
            "Duration of round trips that store messages: nobody sees a kept message before." + _OF,
            labels=["store"],
        )
        for store, histogram in sorted(self._tally.commit_seconds.items()):
            _add(commits, (store,), histogram)
        yield commits


class _Mentioned(Collector):
    """What was told, what came in, and what the store keeps of both."""

    def __init__(self, tally: Tally, kept: _Kept) -> None:
        self._tally = tally
        self._kept = kept

    def collect(self) -> Iterator[Metric]:
        outgoing, incoming = self._kept
        for name, text, label, counts in (
            ("outgoing", "Mentions that go out, in the store now.", "status", outgoing),
            ("incoming", "Mentions that came in, in the store now.", "state", incoming),
        ):
            gauge = GaugeMetricFamily(f"holdfast_webmention_{name}", text, labels=[label])
            for key, count in counts.items():
                gauge.add_metric([key], count)
            yield gauge
        for name, text, labels, tallied in (
            ("attempts", "Attempts to tell a target, by what became of them.", ["status"], self._tally.mentions_sent),
            ("received", "Mentions verified or changed.", ["state", "type"], self._tally.mentions_received),
            ("work_failed", "Background work that failed for now.", ["where", "error"], self._tally.work_failed),
        ):  # fmt: skip
            counter = CounterMetricFamily(f"holdfast_webmention_{name}", text + _OF, labels=labels)
            for values, count in sorted(tallied.items()):
                counter.add_metric(values, count)
            yield counter


def _counter(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["store"])
    for store, count in sorted(counts.items()):
        family.add_metric([store], count)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    buckets, cumulative = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(cumulative)))
    family.add_metric(labels, buckets, histogram.total)
