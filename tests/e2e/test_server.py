"""The real server: slow clients, hostile requests, the end, and every way a start can fail."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.e2e import raw
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until

LARGE_BYTES = 5 * 1024 * 1024
SECONDS_MAX = 10
SLUG = "enamel-mug-two-peaks"


class SmallServer(NamedTuple):
    folder: Path
    process: subprocess.Popen[bytes]
    url: str

    def wait(self) -> int:
        return self.process.wait(timeout=15)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallServer]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.small_app", str(tmp_path)], cwd=ROOT, stdout=log, stderr=log
        )
    address = tmp_path / "address"
    wait_until(address.exists, seconds=SECONDS_MAX, what="the small server starts")
    yield SmallServer(tmp_path, process, address.read_text())
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopProcess]:
    """A shop for the tests that leave it as it is."""
    shop = ShopProcess(tmp_path_factory.mktemp("open_shop")).start()
    yield shop
    shop.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Opens connections, see `raw.connect`; all of them end with the test."""
    opened: list[socket.socket] = []

    def open_one(url: str, **options: int) -> socket.socket:
        opened.append(raw.connect(url, **options))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def run_shop(instance: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start the shop where it is expected to end by itself."""
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "SHOP_INSTANCE": str(instance), **settings}
    return subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def assert_refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    for word in words:
        assert word in lines[0], lines[0]


# ---- slow and idle clients


def test_sixty_half_sent_requests_do_not_stop_another_visitor(open_shop, connect):
    halves = [connect(open_shop.url) for _ in range(60)]
    for number, half in enumerate(halves):
        if number % 2:
            half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
        else:
            half.sendall(b"POST /cart/lines HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nquantity=")

    began = time.monotonic()
    reply = raw.exchange(open_shop.url, get("/"))
    took = time.monotonic() - began

    assert raw.status_of(reply) == 200
    assert took < 1


def test_three_hundred_idle_connections_do_not_stop_another_visitor(open_shop, connect):
    idle = [connect(open_shop.url) for _ in range(300)]
    for connection in idle:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for connection in idle:
        assert raw.status_of(raw.read_reply(connection)) == 200

    began = time.monotonic()
    reply = raw.exchange(open_shop.url, get("/"))
    took = time.monotonic() - began

    assert raw.status_of(reply) == 200
    assert took < 1


def test_more_idle_connections_than_the_server_takes_keep_nobody_out(small, connect):
    """Half of them say nothing, half of them half a request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    for number in range(1200):
        connection = connect(small.url)
        if number % 2:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ")

    began = time.monotonic()
    reply = raw.exchange(small.url, get("/"))
    took = time.monotonic() - began

    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raw.body_of(reply) == b"small"
    assert took < 3


def test_readers_that_do_not_read_do_not_stop_another_visitor(small, connect):
    """More of them than threads, each with a reply that no kernel buffer holds."""
    stuck = [connect(small.url, receive_buffer=4096) for _ in range(20)]
    for connection in stuck:
        connection.sendall(get("/large"))
        assert connection.recv(1) == b"H"

    assert raw.body_of(raw.exchange(small.url, get("/"))) == b"small"


# ---- the end


def test_sigterm_lets_a_slow_reader_have_all_of_a_large_reply(small, connect):
    reader = connect(small.url, receive_buffer=4096)
    reader.sendall(get("/large"))
    reply = reader.recv(1000)
    idle = connect(small.url)
    idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    raw.read_reply(idle)

    small.process.send_signal(signal.SIGTERM)
    assert idle.recv(1) == b"", "idle for a while, it is closed; the reader was as idle, but has not got everything"
    assert raw.is_refused(small.url)
    assert small.process.poll() is None
    reply += raw.read_all(reader)

    assert len(raw.body_of(reply)) == LARGE_BYTES
    assert small.wait() == 0


def test_sigterm_waits_for_the_answer_to_what_was_asked(small, connect):
    asking = connect(small.url)
    asking.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until((small.folder / "waiting").exists, seconds=SECONDS_MAX, what="the request is at work")

    small.process.send_signal(signal.SIGTERM)
    wait_until(lambda: raw.is_refused(small.url), seconds=SECONDS_MAX, what="nobody is let in any more")
    (small.folder / "go").touch()
    reply = raw.read_all(asking)

    assert raw.status_of(reply) == 200
    assert raw.body_of(reply) == b"small"
    assert b"connection: close" in reply.lower(), "the last word on this connection"
    assert small.wait() == 0


def test_sigterm_answers_more_requests_than_there_are_threads(small, connect):
    asking = [connect(small.url) for _ in range(24)]
    for connection in asking:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until((small.folder / "waiting").exists, seconds=SECONDS_MAX, what="the requests are at work")

    small.process.send_signal(signal.SIGTERM)
    wait_until(lambda: raw.is_refused(small.url), seconds=SECONDS_MAX, what="nobody is let in any more")
    (small.folder / "go").touch()

    assert [raw.body_of(raw.read_all(connection)) for connection in asking] == [b"small"] * 24
    assert small.wait() == 0


def test_a_second_signal_does_not_wait_for_who_never_reads(small, connect):
    stuck = connect(small.url, receive_buffer=4096)
    stuck.sendall(get("/large"))
    stuck.recv(1)

    small.process.send_signal(signal.SIGTERM)
    wait_until(lambda: raw.is_refused(small.url), seconds=SECONDS_MAX, what="nobody is let in any more")
    began = time.monotonic()
    small.process.send_signal(signal.SIGINT)

    assert small.wait() == 0
    assert time.monotonic() - began < 5


def test_idle_connections_do_not_hold_up_the_end(start_shop, connect):
    shop = start_shop()
    idle = connect(shop.url)
    idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    raw.read_reply(idle)
    began = time.monotonic()

    assert shop.terminate() == 0

    assert time.monotonic() - began < 5
    assert idle.recv(1) == b""


# ---- starts that cannot be


def test_a_second_start_names_the_first_one(start_shop):
    shop = start_shop()
    note = json.loads((shop.instance / "shop.lock").read_text())

    second = run_shop(shop.instance)

    assert_refused(second, "already running", shop.url, f"pid {note['pid']}", "SHOP_INSTANCE=")


def test_a_taken_port_is_one_line_and_touches_no_store(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run_shop(tmp_path / "shop", PORT=str(port))

    assert_refused(ended, f"Port {port}", "PORT=")
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == ["shop.lock"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"PORT": "http"}, "PORT"),
        ({"SHOP_REPLICATION_DELAY": "soon"}, "SHOP_REPLICATION_DELAY"),
        ({"SHOP_ADMIN_PASSWORD": "short"}, "SHOP_ADMIN_PASSWORD"),
        ({"SHOP_SECRET": "x" * 40}, "SHOP_SECRET"),
        ({"HOST": "192.0.2.1"}, "HOST"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(tmp_path, settings, word):
    assert_refused(run_shop(tmp_path / "shop", **settings), word)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")

    assert_refused(run_shop(tmp_path / "file"), str(tmp_path / "file"))
    assert_refused(run_shop(Path("/proc/shop")), "/proc/shop")


def test_a_damaged_store_is_one_line_that_names_file_and_remedy(start_shop):
    shop = start_shop()
    assert shop.terminate() == 0
    primary = shop.instance / "db.json"
    data = bytearray(primary.read_bytes())
    data[len(data) // 2] ^= 0x01
    primary.write_bytes(data)

    assert_refused(run_shop(shop.instance), str(primary), "resync --from db_async.json")
    assert primary.read_bytes() == data, "nothing was touched"


def test_the_lock_of_a_killed_server_is_no_obstacle(start_shop):
    shop = start_shop()
    shop.kill()
    assert (shop.instance / "shop.lock").read_text()

    shop.start()

    assert shop.is_running()


# ---- the banner and the password


def test_the_password_is_made_up_once_and_shown_once(start_shop):
    shop = start_shop(SHOP_ADMIN_PASSWORD="")
    first = shop.log()
    shown = re.search(r"user admin, password (\S+) +\(shown only now\)", first)
    assert shown
    assert f"{shop.url}/admin/replication" in first
    assert str(shop.instance) in first
    shop.terminate()
    for path in shop.instance.iterdir():
        assert shown[1].encode() not in path.read_bytes(), f"{path.name} holds the password"
    shop.log_path.write_text("")

    shop.start()

    assert "reset-admin-password" in shop.log()
    assert "shown only now" not in shop.log()
    assert shown[1] not in shop.log()


# ---- pages for machines


def test_health_readiness_and_metrics_of_a_shop_that_is_well(start_shop, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="60")
    shopper = new_shopper(shop.url)
    shopper.buy(SLUG)

    health, ready, metrics = (shopper.get(path) for path in ("/healthz", "/readyz", "/metrics"))

    assert (health.status, ready.status, metrics.status) == (200, 200, 200)
    found = metric_values(metrics.text)
    assert found["shop_read_only"] == 0
    assert found['shop_lsn{file="db.json",role="primary"}'] > found['shop_lsn{file="db_async.json",role="replica"}']
    assert found["shop_lag_commits"] == found["shop_at_risk_commits"] > 0
    assert found["shop_at_risk_orders"] == 1
    assert found['shop_replication_state{state="behind"}'] == 1
    assert found['shop_replication_state{state="in-sync"}'] == 0
    assert found["shop_store_commits_total"] > 0
    assert found["shop_store_journal_fsync_seconds_total"] > 0
    assert found["shop_server_connections"] >= 1
    assert found['shop_file_bytes{file="db.json",role="primary"}'] == (shop.instance / "db.json").stat().st_size
    assert found['shop_requests_total{endpoint="machines.healthz",status="2xx"}'] == 1
    assert any(re.match(r'shop_requests_total\{endpoint="checkout\.\w+",status="3xx"\}', name) for name in found)
    assert "Test Customer" not in metrics.text
    assert "Set-Cookie" not in metrics.headers


def test_a_shop_that_cannot_be_written_is_up_but_not_ready(start_shop, new_shopper):
    """A primary that comes back shorter than its replica serves pages and takes no writes."""
    shop = start_shop(SHOP_REPLICATION_DELAY="0")
    names = ("db.json", "db.journal")
    shop.terminate()
    before = {name: (shop.instance / name).read_bytes() for name in names}
    shop.start()
    new_shopper(shop.url).buy(SLUG)
    wait_until(lambda: lag_of(shop) == 0, seconds=SECONDS_MAX, what="the replica has it")
    shop.terminate()
    for name, data in before.items():
        (shop.instance / name).write_bytes(data)

    shop.start(is_writable=False)
    shopper = new_shopper(shop.url)
    health, ready, page = (shopper.get(path) for path in ("/healthz", "/readyz", "/"))

    assert health.status == 200
    assert ready.status == 503
    assert ready.text.startswith("not ready: ")
    assert page.status == 200
    assert metric_values(shopper.get("/metrics").text)["shop_read_only"] == 1


def metric_values(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def lag_of(shop: ShopProcess) -> float:
    with urllib.request.urlopen(f"{shop.url}/metrics", timeout=5) as reply:
        return metric_values(reply.read().decode())["shop_lag_commits"]


# ---- requests that nobody should send


def test_a_body_of_two_megabytes_gets_a_page_and_not_a_reset(open_shop):
    size = 2 * 1024 * 1024
    head = b"POST /cart/lines HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"

    plain = raw.exchange(open_shop.url, head + form + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    chunk = b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
    chunked = raw.exchange(open_shop.url, head + form + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)

    for reply in (plain, chunked):
        assert raw.status_of(reply) == 413
        assert b"<html" in reply
        assert b"/static/css/" in reply, "the page is styled"


def test_of_a_body_that_is_too_large_no_more_is_kept_than_may_be_used(small):
    size = 5 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size

    kept = raw.body_of(raw.exchange(small.url, head + b"x" * size))

    assert 0 < len(kept) <= 1024 * 1024


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /?q=" + b"x" * 2100 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 500 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.com\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["url", "header", "headers", "no host", "two hosts", "two lengths", "negative length", "nonsense"],
)
def test_a_request_beyond_the_bounds_is_refused(open_shop, request_bytes, status):

    reply = raw.exchange(open_shop.url, request_bytes)

    assert raw.status_of(reply) == status
    assert b"waitress" not in reply.lower(), "no server names itself"
    assert raw.status_of(raw.exchange(open_shop.url, get("/healthz"))) == 200


# ---- the log


def test_the_log_tells_each_request_by_its_id_and_no_secret(start_shop, new_shopper):
    shop = start_shop()
    shopper = new_shopper(shop.url)
    shopper.buy(SLUG)
    reply = shopper.get("/?q=never-to-be-logged")
    shop.terminate()

    lines = [json.loads(line) for line in shop.log().splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines]
    request = next(line for line in lines if line.get("request_id") == reply.headers["X-Request-ID"])

    assert events[0] == "started"
    assert events[-2:] == ["stopping", "stopped"]
    assert {key: request[key] for key in ("event", "method", "path", "status", "level")} == {
        "event": "request",
        "method": "GET",
        "path": "/",
        "status": 200,
        "level": "info",
    }
    assert request["ms"] > 0
    for secret in ("never-to-be-logged", "token=", "correct horse", "Test Customer"):
        assert secret not in shop.log()


def test_a_reply_says_whose_line_in_the_log_it_is(small):
    parts = urlsplit(small.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    ids = set()
    for _ in range(3):
        connection.request("GET", "/")
        reply = connection.getresponse()
        reply.read()
        ids.add(reply.headers["X-Request-ID"])
    connection.close()

    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)
