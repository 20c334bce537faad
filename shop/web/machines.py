"""Pages for machines: `/healthz`, `/readyz` and `/metrics`. No session, no token, no person's data."""

import time
from collections.abc import Iterator
from typing import cast

import structlog
from flask import Blueprint, Flask, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from shop.logs import STARTED
from shop.replication.contract import Alerts, State, Status
from shop.web.runtime import Runtime, runtime
from shop.web.services import services

bp = Blueprint("machines", __name__)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a line beside each counter that nobody asks for

_log = structlog.get_logger("web")
_KEY = "antipode.metrics"
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@bp.get("/healthz")
def healthz() -> Response:
    """200 while the process answers at all: whoever restarts it on failure should ask here and nowhere else."""
    return _text("ok\n")


@bp.get("/readyz")
def readyz() -> Response:
    """200 while writes can be served, else 503 and why: whoever sends visitors here should ask."""
    reason = why_not_ready()
    return _text(f"not ready: {reason}\n", 503) if reason else _text("ready\n")


@bp.get("/metrics")
def metrics() -> Response:
    """What there is to measure, in Prometheus' text format.

    Where several workers share the door, one of them answers: what it counts for itself carries its number, so that its counters
    only grow; what is true of the shop does not.
    """
    server, requests = runtime(), _requests()
    own = _Numbered(requests.registry, server.worker) if server is not None and server.worker else requests.registry
    text = generate_latest(own) + generate_latest(requests.shop)
    return Response(text, content_type=CONTENT_TYPE_LATEST, headers=_FRESH)


def why_not_ready() -> str:
    """Why a write would be refused now, "" when it would not."""
    server = runtime()
    if server is not None and server.is_stopping():
        return "the server is stopping"
    repository = services().repository
    return "" if repository.is_writable() else repository.why_read_only() or "the store is read-only"


_FRESH = {"Cache-Control": "no-store"}


def _text(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="text/plain; charset=utf-8", headers=_FRESH)


class _Numbered(Collector):
    """Everything in *registry*, said by one worker."""

    def __init__(self, registry: CollectorRegistry, worker: int) -> None:
        self._registry = registry
        self._worker = str(worker)

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "worker": self._worker}) for sample in metric.samples
            ]
            yield metric


class _Requests:
    """Counts the requests of one application, and collects the rest when it is asked."""

    def __init__(self, app: Flask) -> None:
        self.registry = CollectorRegistry()  # of this process
        self.shop = CollectorRegistry()
        labels = ("endpoint", "status")
        self._total = Counter("shop_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "shop_request_seconds", "Time to answer.", ("endpoint",), buckets=_BUCKETS, registry=self.registry
        )
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}  # looking up labels costs more than counting
        ProcessCollector(registry=self.registry)
        self.registry.register(_Process(app))
        self.shop.register(_State(app))

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        key = (endpoint, f"{status // 100}xx")
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (self._total.labels(*key), self._seconds.labels(endpoint))
        known[0].inc()
        known[1].observe(seconds)


class _State(Collector):
    """Reads positions, lag and sizes at the moment of the scrape."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        with self._app.app_context():
            parts = services()
            status = parts.replication.status()
            yield _gauge("shop_read_only", "1 while writes are refused.", float(not parts.repository.is_writable()))
            yield from _positions(status)
            yield from _replication(status)
            yield from _at_risk(status)
            if parts.alerts is not None:
                yield _alerts(parts.alerts)

    def describe(self) -> list[Metric]:
        return []  # the registry would collect, before there is anything to collect from


class _Process(Collector):
    """Asks the server of this process."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        with self._app.app_context():
            server = runtime()
            if server is not None:
                yield from _server(server)

    def describe(self) -> list[Metric]:
        return []


def _positions(status: Status) -> Iterator[Metric]:
    names = {
        "lsn": "Commits since the store was created.",
        "timeline": "Grows with each promotion.",
        "file_bytes": "Size of the file.",
        "journal_bytes": "Size of its journal.",
    }
    found = {name: GaugeMetricFamily(f"shop_{name}", text, labels=("role", "file")) for name, text in names.items()}
    records = GaugeMetricFamily("shop_records", "Records held.", labels=("role", "collection"))
    for side in (status.primary, status.replica):
        where = (side.role, side.file)
        found["lsn"].add_metric(where, side.position.lsn)
        found["timeline"].add_metric(where, side.position.timeline)
        found["file_bytes"].add_metric(where, side.file_bytes)
        found["journal_bytes"].add_metric(where, side.journal_bytes)
        for collection, count in side.counts.items():
            records.add_metric((side.role, collection), count)
    yield from found.values()
    yield records


def _replication(status: Status) -> Iterator[Metric]:
    state = GaugeMetricFamily("shop_replication_state", "1 for the state it is in.", labels=("state",))
    for one in State:
        state.add_metric((one.value,), float(status.state is one))
    yield state
    yield _gauge("shop_lag_commits", "Commits the replica is behind.", status.lag.commits)
    yield _gauge("shop_lag_oldest_seconds", "Age of the oldest commit not applied.", status.lag.oldest_seconds)
    yield _gauge("shop_lag_stalled_seconds", "Time without progress while some is due.", status.lag.stalled_seconds)
    yield from _stages(status)
    if status.headroom is not None:
        yield _gauge("shop_log_kept_bytes", "Log kept for the replica.", status.headroom.kept_bytes)
        if status.headroom.left_bytes is not None:
            yield _gauge(
                "shop_log_left_bytes", "Until it is cut although the replica needs it.", status.headroom.left_bytes
            )
    yield _gauge("shop_link_delay_seconds", "The link's delay.", status.link.delay_seconds)
    yield _gauge("shop_link_paused", "1 while an operator holds the link.", float(status.link.is_paused))
    yield _gauge("shop_replication_retry_attempts", "Failures in a row; 0 when well.", status.retry.attempts)


def _stages(status: Status) -> Iterator[Metric]:
    """The lags apart, where the status tells them apart."""
    behind = GaugeMetricFamily("shop_stage_behind_bytes", "How far a stage is behind the primary.", labels=("stage",))
    seconds = GaugeMetricFamily("shop_stage_seconds", "Age of the oldest commit it has not reached.", labels=("stage",))
    for stage in status.stages:
        if stage.behind_bytes is not None:
            behind.add_metric((stage.name,), stage.behind_bytes)
        if stage.seconds is not None:
            seconds.add_metric((stage.name,), stage.seconds)
    if status.stages:
        yield from (behind, seconds)


def _alerts(alerts: Alerts) -> Metric:
    gauge = GaugeMetricFamily("shop_alert", "1 while the alert is raised.", labels=("alert",))
    raised = {alert.name for alert in alerts.raised()}
    for name in alerts.names:
        gauge.add_metric((name,), float(name in raised))
    return gauge


def _at_risk(status: Status) -> Iterator[Metric]:
    risk = status.at_risk
    yield _gauge("shop_at_risk_commits", "Commits in flight: they die with the primary.", risk.commits)
    yield _gauge("shop_at_risk_orders", "Orders in flight.", risk.orders)
    yield _gauge("shop_at_risk_order_cents", "What those orders are worth, in cents.", risk.order_cents)
    yield _gauge("shop_at_risk_carts", "Carts in flight.", risk.carts)
    yield _gauge("shop_at_risk_edits", "Edits of products and categories in flight.", risk.edits)


def _server(server: Runtime) -> Iterator[Metric]:
    yield _gauge("shop_server_queue_depth", "Requests that wait for a thread.", server.queue_depth())
    yield _gauge("shop_server_connections", "Open connections.", server.connections())
    for name, value in server.counters().items():
        yield CounterMetricFamily(f"shop_{name}", name.replace("_", " ").capitalize() + ".", value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


@bp.record_once
def _install(state: BlueprintSetupState) -> None:
    app = cast(Flask, state.app)
    requests = app.extensions[_KEY] = _Requests(app)

    @app.before_request
    def _start_watch() -> None:
        request.environ.setdefault(STARTED, time.perf_counter())

    @app.after_request
    def _count(response: Response) -> Response:
        now = time.perf_counter()
        requests.answered(request.endpoint or "none", response.status_code, now - request.environ.get(STARTED, now))
        if response.status_code == 503 and request.method == "POST":
            _log.warning("write refused", reason=services().replication.status().primary.problem or "for a moment")
        return response


def _requests() -> _Requests:
    return cast(_Requests, current_app.extensions[_KEY])
