"""Metrics of the front."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

refused: Final = Counter(
    "mlplatform_http_refused_total",
    "Requests that ended before they reached the application, by reason.",
    ["reason"],
)
"""Reasons: head-slow, head-large, malformed, body-slow, body-crowded, body-memory, uploads, threads, reader-slow, crowded."""
connections: Final = Gauge("mlplatform_http_connections", "Open HTTP connections.", multiprocess_mode="livesum")
half_sent: Final = Gauge(
    "mlplatform_http_half_sent_bodies", "Bodies that are not here as a whole.", multiprocess_mode="livesum"
)
held: Final = Gauge(
    "mlplatform_http_body_bytes", "Bytes of bodies that processes hold in memory.", multiprocess_mode="livesum"
)
waiting: Final = Gauge(
    "mlplatform_http_waiting_requests", "Whole requests that wait for a thread.", multiprocess_mode="livesum"
)
loop_lag: Final = Histogram(
    "mlplatform_http_loop_lag_seconds",
    "How late the event loop came to a timer, looked at ten times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)


def count(reason: str) -> None:
    """One more request that ended here."""
    refused.labels(reason).inc()
