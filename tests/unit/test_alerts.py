"""Alerts: each raised once and cleared once, whatever the measure does around its bounds, and told to nobody's harm."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest
from structlog.testing import capture_logs

from shop.clock import ManualClock
from shop.errors import SettingError
from shop.replication.alerts import CALM_SECONDS, LAG_COMMITS, RETRIES, RULES, STALLED_SECONDS, Alerts, Rounds
from shop.replication.contract import Alert, Headroom, Lag, Link, Retry, State, Status
from shop.replication.notify import Notifier
from tests.web.replication_fakes import a_side, a_status

AN_ALERT = Alert("lag-count", "The replica lags by 10,000 writes.", "2026-01-01T12:00:00.000000Z")


class Bench:
    """Alerts over a status that a test sets, and what was told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.status: Status = a_status()
        self.told: list[tuple[str, bool]] = []
        self.alerts = Alerts(lambda: self.status, self.clock, tell=lambda alert, up: self.told.append((alert.name, up)))

    def sees(self, status: Status, seconds: float = 1.0) -> None:
        """Look once a second for so long."""
        self.status = status
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            self.alerts.look()

    @property
    def names(self) -> list[str]:
        return [alert.name for alert in self.alerts.raised()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def lagging(commits: int) -> Status:
    return a_status(State.BEHIND, lag=Lag(commits=commits, oldest_seconds=0, stalled_seconds=0))


ILL = {
    "lag-time": a_status(State.BEHIND, lag=Lag(commits=1, oldest_seconds=66, stalled_seconds=0)),
    "lag-count": lagging(LAG_COMMITS),
    "no-progress": a_status(State.BEHIND, lag=Lag(commits=1, oldest_seconds=40, stalled_seconds=STALLED_SECONDS)),
    "retries": a_status(State.FAILING, retry=Retry(attempts=RETRIES, error="disk", next_in_seconds=3)),
    "diverged": a_status(diverged_records=2),
    "journal-headroom": a_status(
        State.BEHIND, lag=Lag(commits=1, oldest_seconds=1, stalled_seconds=0), journal_limit_bytes=9_877
    ),
    "replica-away": a_status(State.FAILING, is_wal=True),
    "snapshot-needed": a_status(State.SNAPSHOT_NEEDED),
    "refused": a_status(State.REFUSED),
    "read-only": a_status(primary=a_side("primary", 1042, is_writable=False, problem="The disk is full.")),
}


def test_every_rule_has_its_case() -> None:
    assert list(ILL) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", ILL)
def test_an_alert_is_raised_once_and_cleared_once(bench: Bench, name: str) -> None:
    with capture_logs() as lines:
        bench.sees(a_status(), 3)
        bench.sees(ILL[name], 10)
        assert bench.names == [name]
        bench.sees(a_status(), 10)

    assert bench.names == []
    assert bench.told == [(name, True), (name, False)]
    assert [(line["event"], line["alert"]) for line in lines] == [("alert raised", name), ("alert cleared", name)]


def test_what_hovers_between_the_bounds_does_not_flap(bench: Bench) -> None:
    bench.sees(lagging(LAG_COMMITS))
    for _ in range(20):
        bench.sees(lagging(LAG_COMMITS - 1), CALM_SECONDS + 3)
        bench.sees(lagging(LAG_COMMITS + 1))

    assert bench.told == [("lag-count", True)]


def test_what_is_well_for_a_moment_only_is_not_cleared(bench: Bench) -> None:
    bench.sees(ILL["retries"])
    for _ in range(5):
        bench.sees(a_status(), CALM_SECONDS - 1)
        bench.sees(ILL["retries"])

    assert bench.told == [("retries", True)]


def test_a_long_delay_is_no_lag(bench: Bench) -> None:
    slow = Link(delay_seconds=600.0, is_paused=False)
    bench.sees(a_status(State.BEHIND, link=slow, lag=Lag(commits=1, oldest_seconds=601, stalled_seconds=0)), 5)

    assert bench.told == []


def test_the_moment_of_a_switchover_is_no_alert(bench: Bench) -> None:
    bench.sees(ILL["read-only"])
    bench.sees(a_status(), 5)

    assert bench.told == []


def test_a_full_journal_that_nobody_needs_is_no_alert(bench: Bench) -> None:
    bench.sees(a_status(journal_limit_bytes=100), 5)

    assert bench.told == []


def test_a_wall_clock_that_is_set_back_changes_nothing(bench: Bench) -> None:
    bench.sees(ILL["refused"])
    bench.clock.shift_wall(-3600)
    bench.sees(a_status(), 10)

    assert bench.told == [("refused", True), ("refused", False)]


def test_a_listener_that_raises_and_a_status_that_raises_disturb_nobody(bench: Bench) -> None:
    def refuse(alert: Alert, is_raised: bool) -> None:
        raise OSError("no network")

    bench.alerts.tell = refuse
    with capture_logs() as lines:
        bench.sees(ILL["refused"])
        bench.status = None  # type: ignore[assignment]
        bench.alerts.look()

    assert bench.names == ["refused"]
    assert [line["event"] for line in lines][1:] == [
        "an alert could not be passed on",
        "the alerts could not be weighed",
    ]


def test_rounds_are_made_when_they_are_due_and_survive_what_fails() -> None:
    clock, done = ManualClock(), []

    def work() -> None:
        done.append(clock.monotonic())
        raise OSError("no")

    rounds = Rounds(work, clock, every_seconds=600)
    start = clock.monotonic()
    for _ in range(1300):
        clock.advance(1)
        rounds.look()

    assert done == [start + 600, start + 1200]


# ---- notifications, over a real connection


class Receiver:
    """A web server on this machine that keeps what is posted to it, and answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.got: list[dict[str, object]] = []
        self.seen = threading.Semaphore(0)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.seen.release()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:hunter2@127.0.0.1:{self._server.server_port}/alerts"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_an_alert_is_sent_when_it_is_raised_and_when_it_is_cleared(receiver: Receiver) -> None:
    notifier = Notifier([receiver.url])

    notifier.tell(AN_ALERT, True)
    notifier.tell(AN_ALERT, False)

    assert receiver.seen.acquire(timeout=15) and receiver.seen.acquire(timeout=15)
    notifier.stop(15)
    assert [message["title"] for message in receiver.got] == [
        "Antipode: lag-count raised",
        "Antipode: lag-count cleared",
    ]
    assert [message["message"] for message in receiver.got] == [AN_ALERT.sentence] * 2
    assert [message["type"] for message in receiver.got] == ["warning", "success"]


def test_an_address_that_fails_is_logged_without_it_and_the_others_are_still_told(receiver: Receiver) -> None:
    refusing = Receiver(status=500)
    with capture_logs() as lines:
        notifier = Notifier([refusing.url, receiver.url])
        notifier.tell(AN_ALERT, True)
        assert receiver.seen.acquire(timeout=15)
        notifier.stop(15)
    refusing.close()

    assert [(line["event"], line["address"]) for line in lines] == [("a notification failed", 1)]
    assert "hunter2" not in str(lines)


def test_who_tells_does_not_wait_for_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier(["json://127.0.0.1:9/"])
    hold, began = threading.Event(), threading.Event()

    class Silent:
        def notify(self, **_: object) -> bool:
            began.set()
            return hold.wait(15)

    notifier._services = [Silent()]
    with capture_logs() as lines:
        for _ in range(300):
            notifier.tell(AN_ALERT, True)
    assert began.wait(15)
    assert {line["event"] for line in lines} == {"a notification was given up, too many are waiting"}
    notifier._services = []
    hold.set()
    notifier.stop(15)


def test_an_address_that_nobody_understands_is_refused_without_its_secrets() -> None:
    with pytest.raises(SettingError) as caught:
        Notifier(["nosuchthing://user:hunter2@host"])

    assert "nosuchthing://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_apprise_is_not_loaded_before_there_is_an_address() -> None:
    code = "import sys, app; from shop.replication.notify import Notifier; Notifier([]); assert 'apprise' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_status_without_the_new_figures_is_well() -> None:
    plain = msgspec.structs.replace(a_status(), diverged_records=0, journal_limit_bytes=0)
    assert [rule.name for rule in RULES if rule.measure(plain) >= rule.raise_at] == []


def test_a_write_ahead_log_that_is_kept_beyond_its_bound_is_told_by_what_is_left() -> None:
    near_the_end = Headroom("standby_b", False, "unreserved", kept_bytes=900, left_bytes=100)
    [rule] = [rule for rule in RULES if rule.name == "journal-headroom"]

    assert rule.measure(a_status(is_wal=True, headroom=near_the_end)) == 0.9
    assert rule.measure(a_status(is_wal=True, headroom=msgspec.structs.replace(near_the_end, left_bytes=None))) == 0.0


def test_a_standby_that_does_not_follow_is_told_although_nothing_is_sold(bench: Bench) -> None:
    away = a_status(State.FAILING, is_wal=True)

    bench.sees(away, 8)
    assert bench.told == []
    bench.sees(away, 3)
    assert bench.told == [("replica-away", True)]
    bench.sees(a_status(is_wal=True), CALM_SECONDS + 1)
    assert bench.told[-1] == ("replica-away", False)
