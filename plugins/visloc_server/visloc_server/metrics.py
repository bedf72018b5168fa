"""The server's counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOUND = "FOUND"
SECONDS = (
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
)  # a search takes 0.1 s, with a large map's load 30


class Metrics:
    """Counts of one server; ``waiting`` and ``streams`` give its present state."""

    def __init__(self, waiting: Callable[[], int], streams: Callable[[], int], resident: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.searches = Counter(
            "visloc_searches", "Images searched: FOUND, or why not", ["outcome"], registry=self._registry
        )
        self.search_seconds = Histogram(
            "visloc_search_seconds", "Time of a search, with its wait", buckets=SECONDS, registry=self._registry
        )
        self.streamed = Counter(
            "visloc_streamed_images", "Images of streams by state", ["state"], registry=self._registry
        )
        self.responses = Counter("visloc_responses", "Answers by HTTP status", ["status"], registry=self._registry)
        for name, words, value in (
            ("visloc_waiting", "Searches that are not answered yet", waiting),
            ("visloc_streams", "Streams that run", streams),
            ("visloc_resident_maps", "Maps in memory", resident),
        ):
            Gauge(name, words, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All counts in Prometheus's text format."""
        return generate_latest(self._registry)


class CountedResponses:
    """ASGI middleware: counts answers, including refusals of other middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note the status of its answer."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responses.labels(str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)
