"""Pages, orders and purchases over a bare Flask 'hello' on the same server and settings; and the search."""

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from bench.harness import Result, Row, percentile
from bench.serve import WORDS, open_shop, product
from shop.repository.embedded import EmbeddedRepository
from shop.units import CatalogQuery

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8
SECONDS = 2.0
ROUNDS = 5
ORDERS = 150  # of each client in a round
SEARCHED = 100_000  # products
SEARCHES = 2000


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
def shop(products: int, what: str = "shop") -> Iterator[str]:
    with a_folder() as folder, serving(what, str(folder), str(products)) as address:
        yield address


@contextmanager
def a_folder() -> Iterator[Path]:
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=ROOT / "build"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(address: str, kind: str, *, path: str = "/", clients: int = CLIENTS, cart: bool = False) -> float:
    """Requests (or purchases) a second."""
    plan = {
        "address": address,
        "kind": kind,
        "path": path,
        "clients": clients,
        "seconds": SECONDS,
        "cart": cart,
        "orders": ORDERS,
    }
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


class Turn(NamedTuple):
    """Measured one after the other, each a second."""

    ours: float
    hello: float
    unshown: float
    bare_commits: float


def turns(kind: str) -> list[Turn]:
    """A new shop each round: db.json stays small, so that each order waits for it as the design promises."""
    found = []
    with serving("hello") as hello:
        for _ in range(ROUNDS + 1):
            with shop(100) as ours, shop(100, "unshown") as unshown, shop(100, "commits") as bare:
                found.append(Turn(load(ours, kind), load(hello, "get"), load(unshown, kind), load(bare, "get")))
    return found[1:]


def limit_without_the_file(found: list[Turn]) -> float:
    """What the same shop reaches when no answer waits for db.json."""
    return statistics.median(turn.unshown / turn.hello for turn in found)


def order_vs_hello() -> Result:
    found = turns("order")
    details = {
        "orders_per_s": statistics.median(turn.ours for turn in found),
        "hello_per_s": statistics.median(turn.hello for turn in found),
        "bare_commits_per_s": statistics.median(turn.bare_commits for turn in found),
        "limit_by_commits": statistics.median(turn.bare_commits / turn.hello for turn in found),
        "limit_without_the_file": limit_without_the_file(found),
    }
    ratio = statistics.median(turn.ours / turn.hello for turn in found)
    return Result("order_vs_hello", ratio, "durable orders", at_least=0.25, details=details)


def purchase_vs_hello() -> Result:
    """The limit is that of a purchase without a shop: of its seven requests five say 'hello' and two keep a cart."""
    found = turns("purchase")
    limits = [1 / (5 + 2 * turn.hello / turn.bare_commits) for turn in found]
    details = {
        "purchases_per_s": statistics.median(turn.ours for turn in found),
        "hello_per_s": statistics.median(turn.hello for turn in found),
        "limit_by_commits": statistics.median(limits),
        "limit_without_the_file": limit_without_the_file(found),
    }
    ratio = statistics.median(turn.ours / turn.hello for turn in found)
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


def search_p99() -> Result:
    """The repository's search, which is the part of a page of results that grows: 1 to 3 beginnings of words, none asked twice.

    Before each fiftieth one a product is renamed, so that the lists and the index have to follow.
    """
    with a_folder() as folder:
        pair, repository = open_shop(folder, SEARCHED)
        repository.warm()
        took = search_seconds(repository, random.Random(5))
        pair.close()
    details = {"p50_ms": percentile(took, 50) * 1000, "max_ms": max(took) * 1000, "searches": len(took)}
    return Result(
        "search_p99_ms_100k",
        percentile(took, 99) * 1000,
        "search over 100,000 products, 1 to 3 words, ms",
        at_most=20,
        details=details,
    )


def search_seconds(repository: EmbeddedRepository, rng: random.Random) -> list[float]:
    took = []
    for number, words in enumerate(searches(rng)):
        if number % 50 == 0:
            with repository.update() as unit:
                unit.put_product(replace(product(number), name=f"Renamed {number}"))
        query = CatalogQuery(words=words, sort=rng.choice(["name", "price", "-price", "newest"]))
        started = time.perf_counter()
        with repository.view() as unit:
            unit.catalog(query)
        took.append(time.perf_counter() - started)
    return took


def searches(rng: random.Random) -> set[str]:
    """Different ones, as people type them: some words in full, some begun, some numbers of items."""
    found: set[str] = set()
    while len(found) < SEARCHES:
        words = rng.choices([*WORDS, "renamed", "category", "for", str(rng.randrange(SEARCHED))], k=rng.randint(1, 3))
        found.add(" ".join(word[: rng.randint(1, len(word))] for word in words))
    return found


ROWS = [
    Row("page_vs_hello", page_vs_hello),
    Row("page_growth", page_growth),
    Row("order_vs_hello", order_vs_hello),
    Row("purchase_vs_hello", purchase_vs_hello),
    Row("search_p99_ms_100k", search_p99),
]
