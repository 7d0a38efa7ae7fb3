"""Metrics of a server, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from moos_integrations.errors import MissingExtraError

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="serve") from error

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts requests, seconds, tokens and batches; each server has its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Make the metrics."""
        self._registry = CollectorRegistry()
        self._requests = Counter("moos_requests", "Requests by status.", ["status"], registry=self._registry)
        self._seconds = Histogram(
            "moos_request_seconds",
            "Seconds of requests with status 200, from their last byte to their answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens_in = Counter("moos_tokens_in", "Tokens that came.", registry=self._registry)
        self._tokens_out = Counter("moos_tokens_out", "Tokens that were kept.", registry=self._registry)
        self._batch = Histogram("moos_batch_requests", "Requests per batch.", buckets=_SIZES, registry=self._registry)
        self._batch_seconds = Histogram(
            "moos_batch_seconds", "Seconds per batch.", buckets=_SECONDS, registry=self._registry
        )

    def watch(self, waiting: Callable[[], float], inside: Callable[[], float]) -> None:
        """Also show, whenever the metrics are read, how many requests wait for a batch, and how many are there."""
        Gauge("moos_waiting", "Requests that wait for a batch.", registry=self._registry).set_function(waiting)
        Gauge("moos_inside", "Requests in the server.", registry=self._registry).set_function(inside)

    def request(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).inc()
        if status == 200:
            self._seconds.observe(seconds)

    def tokens(self, before: int, after: int) -> None:
        """A request was compressed."""
        self._tokens_in.inc(before)
        self._tokens_out.inc(after)

    def batch(self, requests: int, seconds: float) -> None:
        """A batch has ended."""
        self._batch.observe(requests)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)
