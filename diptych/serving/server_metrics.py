"""Numbers about a server for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServerMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.accepted = self._counter("accepted", "requests for an image that were taken into the queue")
        self.answered = Counter(
            "diptych_answers", "answers to requests for an image", ("model", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "diptych_seconds", "time from a request to its answer", ("model",), buckets=SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "diptych_batch_size", "images in a batch", buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.queue = Gauge("diptych_queue_length", "requests that wait or are computed", registry=self.registry)
        self.workers = self._counter("worker_starts", "starts of the worker process")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"diptych_{name}", text, registry=self.registry)

    def text(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
