"""`/metrics` in Prometheus' text format, and `/health`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast.persist import Persist
from holdfast.store import Health
from holdfast.web.access import Access, Bearer
from holdfast.web.tally import Histogram, Tally

__all__ = ["routes"]

_OF = " Of this worker process since it started."


def routes(persist: Persist, tally: Tally, access: Access) -> list[Route]:
    """`GET /health` for anyone, `GET /metrics` for the token."""

    async def health(request: Request) -> Response:
        found = await persist.health()
        body = {"status": "up" if found.ok else "down", "store": "up" if found.ok else "down"}
        headers = {} if found.ok else {"Retry-After": "1"}
        return Response(
            msgspec.json.encode(body), 200 if found.ok else 503, headers, media_type="application/json"
        )

    async def metrics(request: Request) -> Response:
        text = _exposition(tally, await persist.health())
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/health", health, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"], middleware=[Middleware(Bearer, access=access)]),
    ]


def _exposition(tally: Tally, health: Health) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Figures(tally, health))
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
        operations = CounterMetricFamily(
            "holdfast_operations", "Operations, by kind." + _OF, labels=["store", "operation"]
        )
        for (store, operation), count in sorted(tally.operations.items()):
            operations.add_metric([store, operation], count)
        yield operations
        errors = CounterMetricFamily(
            "holdfast_errors", "Round trips that failed as a whole." + _OF, labels=["store", "error"]
        )
        for (store, error), count in sorted(tally.errors.items()):
            errors.add_metric([store, error], count)
        yield errors
        yield _counter("holdfast_connects", "Connections made, the first included." + _OF, tally.connects)
        yield _counter("holdfast_disconnects", "Connections lost." + _OF, tally.disconnects)
        yield _counter("holdfast_swept", "Expired values deleted." + _OF, tally.swept)
        yield _histogram(
            "holdfast_batch_operations", "Operations in one round trip." + _OF, tally.batch_operations
        )
        yield _histogram("holdfast_batch_seconds", "Duration of one round trip." + _OF, tally.batch_seconds)


def _counter(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["store"])
    for store, count in sorted(counts.items()):
        family.add_metric([store], count)
    return family


def _histogram(name: str, text: str, histograms: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["store"])
    for store, histogram in sorted(histograms.items()):
        buckets, cumulative = [], 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            cumulative += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(cumulative)))
        family.add_metric([store], buckets, histogram.total)
    return family
