"""The counters as Prometheus metrics. docs/reference/metrics.md explains each of them.

No label has a value that a peer can choose: each comes from a list in this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder

from geventecho._version import __version__
from geventecho.service.shared_counters import SharedCounters, WorkerState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Exposition"]

FORMATS: Final = {accept: choose_encoder(accept) for accept in ("text/plain", "application/openmetrics-text")}
"""Encoder and content type of each format. The scraper's header is not used here: it may name any version."""

COUNTERS: Final = {
    "connections_accepted": ("accepted", "Connections accepted, including refused ones"),
    "bytes_received": ("bytes_received", "Bytes received from clients"),
    "bytes_discarded": ("bytes_discarded", "Bytes received after the server's FIN and discarded"),
    "bytes_lost": ("bytes_lost", "Bytes received and not returned, or returned and not delivered"),
    "bytes_undelivered": ("bytes_destroyed", "Bytes sent that the kernel did not deliver; they are also in bytes_lost"),
    "accept_errors": ("accept_errors", "Errors of accept(2) that no peer caused"),
    "accept_queue_drops": ("queue_drops", "Connects that the kernel dropped because the accept queue was full"),
    "tcp_retransmitted_segments": ("retransmits", "Segments that the kernel sent again, on closed connections"),
}
"""For each metric its counter and its help."""
COUNTERS_BY_REASON: Final = {
    "connections_refused": ("refused_", "Connections accepted and closed at once, or after their PROXY header"),
    "connections_ended": ("ended_", "Connections that ended"),
    "proxy_header_failures": ("proxy_header_", "Connections of a proxy without a PROXY header"),
    "tls_handshake_failures": ("handshake_", "TLS handshakes that failed"),
}
"""For each metric the prefix of its counters, and its help. The rest of a counter's name is the reason."""
GAUGES: Final = {
    "connections_open": ("open", "Connections open now"),
    "connections_opening": ("opening", "Open connections whose PROXY header or TLS handshake is under way"),
    "connections_ending": ("ending", "Open connections that the server or the peer is ending"),
    "connections_limit": ("max_connections", "Connections that may be open at once"),
}
"""For each metric its gauge, summed over the workers, and its help."""

WORKING: Final = (WorkerState.STARTING, WorkerState.LISTENING, WorkerState.DRAINING)


class Exposition:
    """Renders the counters.

    Args:
        shared: the counters of all workers.
    """

    def __init__(self, shared: SharedCounters) -> None:
        self._shared = shared
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the current text. Workers with cached texts would contradict each other.

        Args:
            accept: the Accept header of the scraper.
        """
        kind = "application/openmetrics-text"
        if kind not in accept:
            kind = "text/plain"
        encode, content_type = FORMATS[kind]
        return content_type, encode(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, for `prometheus_client`."""
        totals, shared = self._shared.totals(), self._shared
        yield InfoMetricFamily("geventecho", "The program", {"version": __version__})
        yield GaugeMetricFamily(
            "geventecho_start_time_seconds", "When the service started, in Unix time", shared["started_s"]
        )
        # The server subtracts undelivered bytes from bytes_sent. A counter must not become smaller.
        sent = totals["bytes_sent"] + totals["bytes_destroyed"]
        yield CounterMetricFamily("geventecho_bytes_sent", "Bytes handed to the kernel for clients", sent)
        for name, (counter, text) in COUNTERS.items():
            yield CounterMetricFamily(f"geventecho_{name}", text, totals[counter])
        for name, (prefix, text) in COUNTERS_BY_REASON.items():
            family = CounterMetricFamily(f"geventecho_{name}", f"{text}, by reason", labels=["reason"])
            for counter, count in totals.items():
                if counter.startswith(prefix):
                    family.add_metric([counter.removeprefix(prefix)], count)
            yield family
        yield SummaryMetricFamily(
            "geventecho_tcp_rtt_seconds", "Smoothed round-trip time of the kernel at the close of each TCP connection",
            count_value=totals["rtt_count"], sum_value=totals["rtt_us"] / 1e6,
        )  # fmt: skip
        lines = CounterMetricFamily(
            "geventecho_log_lines_dropped", "Lines dropped because nobody read in time, by stream", labels=["stream"]
        )
        lines.add_metric(["stderr"], totals["log_dropped"])
        lines.add_metric(["stdout"], totals["output_dropped"])
        yield lines
        for name, (gauge, text) in GAUGES.items():
            yield GaugeMetricFamily(f"geventecho_{name}", text, shared.gauge(gauge))
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """Yield the metrics of the processes that serve."""
        slots = list(self._shared.live())
        lag = max((slot["loop_lag_us"] for slot in slots), default=0) / 1e6
        yield GaugeMetricFamily(
            "geventecho_loop_lag_seconds",
            "Largest delay of a timer of the event loop within the last second, in the worst worker",
            lag,
        )
        workers = GaugeMetricFamily("geventecho_workers", "Processes that serve, by state", labels=["state"])
        for state in WORKING:
            workers.add_metric([state.name.lower()], sum(slot["state"] == state for slot in slots))
        yield workers
        yield CounterMetricFamily(
            "geventecho_worker_restarts", "Workers that died and were replaced", self._shared["restarts"]
        )
