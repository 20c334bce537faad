"""How long the shop takes from the start of its process to its first page."""

import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from bench.harness import Result, Row, in_turn
from bench.store_rows import ROOT, folder

SECONDS_MAX = 60
TRY_AGAIN_SECONDS = 0.002


def first_page(instance: Path) -> float:
    """Seconds from the start of `python app.py` on *instance* to the last byte of its catalog page; the server is ended in order."""
    port = _free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {"PORT": str(port), "SHOP_INSTANCE": str(instance)}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**kept, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _get_catalog(process, port, started + SECONDS_MAX)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(SECONDS_MAX)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get_catalog(process: "subprocess.Popen[bytes]", port: int, until: float) -> None:
    while time.perf_counter() < until and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
        except ConnectionError:
            time.sleep(TRY_AGAIN_SECONDS)
            continue
        finally:
            connection.close()
        if response.status != 200 or b"</html>" not in body:
            raise RuntimeError(f"the first page is {response.status}, {len(body)} bytes")
        return
    raise RuntimeError("the shop did not start")


def flask_alone() -> float:
    """Seconds that a process takes which imports Flask and ends."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import flask"], cwd=ROOT, check=True)
    return time.perf_counter() - started


def start_vs_import() -> Result:
    with folder() as where:
        seeding = first_page(where / "instance")  # the first start of all makes the demo data
        ratio, ours, theirs = in_turn(lambda: first_page(where / "instance"), flask_alone, rounds=7)
    details = {"start_s": ours, "import_s": theirs, "first_start_s": seeding}
    return Result("start_vs_import", ratio, "to the first page over importing Flask", at_most=2.5, details=details)


ROWS = [Row("start_vs_import", start_vs_import)]
