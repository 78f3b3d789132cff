"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counts of one server.

    Attributes:
      registry: that has them.
      requests: that are being answered.
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        own = {"namespace": "crnn_jax", "registry": self.registry}
        ProcessCollector(registry=self.registry)
        self.requests = Gauge("requests_in_progress", "being answered", **own)
        self._answered = Counter("requests", "requests to /predict, by status", ["status"], **own)
        self._request_seconds = Histogram(
            "request_seconds",
            "seconds of /predict, from headers to answer",
            buckets=_SECONDS,
            **own,
        )
        self._images = Counter("images", "that the model has seen", **own)
        self._batch_images = Histogram(
            "batch_images", "that the model saw at a time", buckets=_IMAGES, **own
        )
        self._model_seconds = Histogram("model_seconds", "per batch", buckets=_SECONDS, **own)

    def request(self, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._answered.labels(str(status)).inc()
        self._request_seconds.observe(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Counts what the model was run on."""
        self._images.inc(images)
        self._batch_images.observe(images)
        self._model_seconds.observe(seconds)
