"""Pages and purchases over a bare Flask 'hello' on the same server and settings."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Result, Row

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8
SECONDS = 2.0
ROUNDS = 5


@contextmanager
def serving(*what: str) -> Iterator[str]:
    """The address of a server process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.serve", *what],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


@contextmanager
def shop(products: int) -> Iterator[str]:
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=ROOT / "build"))
    try:
        with serving("shop", str(folder), str(products)) as address:
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(address: str, kind: str, *, path: str = "/", clients: int = CLIENTS, cart: bool = False) -> float:
    """Requests (or purchases) a second."""
    plan = {"address": address, "kind": kind, "path": path, "clients": clients, "seconds": SECONDS, "cart": cart}
    output = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(plan),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(output.stdout)
    return float(found["count"] / found["seconds"])


def over_hello(kind: str, *, cart: bool = False, products: int = 100) -> tuple[float, float, float]:
    with serving("hello") as hello, shop(products) as ours:
        pairs = [(load(ours, kind, cart=cart), load(hello, "get")) for _ in range(ROUNDS + 1)][1:]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return ratio, statistics.median(mine for mine, _ in pairs), statistics.median(theirs for _, theirs in pairs)


def page_vs_hello() -> Result:
    ratio, ours, hello = over_hello("get", cart=True)
    details = {"pages_per_s": ours, "hello_per_s": hello}
    return Result("page_vs_hello", ratio, "catalog page of 24 products with a cart", at_least=0.5, details=details)


def purchase_vs_hello() -> Result:
    ratio, ours, hello = over_hello("purchase")
    details = {"purchases_per_s": ours, "hello_per_s": hello}
    return Result("purchase_vs_hello", ratio, "whole purchases", at_least=0.05, details=details)


def page_growth() -> Result:
    with shop(100) as small, shop(100_000) as big:
        pairs = [(load(big, "get", cart=True), load(small, "get", cart=True)) for _ in range(ROUNDS + 1)][1:]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    details = {
        "pages_per_s_100k": statistics.median(mine for mine, _ in pairs),
        "pages_per_s_100": statistics.median(theirs for _, theirs in pairs),
    }
    curve = [(100, details["pages_per_s_100"]), (100_000, details["pages_per_s_100k"])]
    return Result(
        "page_growth", ratio, "pages/s at 100,000 products over 100", at_least=0.8, details=details, curve=curve
    )


ROWS = [
    Row("page_vs_hello", page_vs_hello),
    Row("page_growth", page_growth),
    Row("purchase_vs_hello", purchase_vs_hello),
]
