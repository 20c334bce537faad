"""Arithmetic of load, and several regions with one primary: what distance and load do to staleness and to read-your-writes.

`python -m bench.regions` prints the tables; `--write` puts them into docs/scale.md, between its markers. The same seed gives the
same tables, on every machine: nothing here looks at a clock.

The model, in the order of a commit's life:

- commits arrive at the primary by chance (Poisson); a region's visitors send theirs over half a round trip first;
- WAL leaves for every standby when the commit is durable, in order, over one stream: what follows a lost segment waits for it
  (TCP delivers in order), 200 ms (the least retransmission timeout of Linux) for every LOSS-th commit's segment;
- a standby replays in one process, commit after commit, APPLY_SECONDS each;
- a visitor who wrote reads again: half of them at once (the redirect after a form), the others after a pause (exponential, 3 s).
  Under read-your-writes the region's standby answers if it has replayed the commit, or will within the bound; else the primary does,
  a round trip away.

What it leaves out: the queue at the primary's own disk, a standby that is slow because of its readers, clocks that differ.
"""

import bisect
import math
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEED = 20261123
PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"

KM_A_SECOND = 200_000  # light in glass
DETOUR = 1.5  # cables do not follow the great circle
FLUSH_SECONDS = 0.001
APPLY_SECONDS = 0.00005
RETRANSMIT_SECONDS = 0.2
LOSS = 2_000  # one segment in so many is lost
ANSWER_SECONDS = 0.005  # of a page, wherever it is drawn
SECONDS_MAX = 120.0
COMMITS_MAX = 200_000  # of one run: a higher rate is watched for a shorter time
PAUSE_SECONDS = 3.0
BOUND_SECONDS = 1.0  # of the wait under read-your-writes, as in shop/replication/reads.py
EARTH_KM = 6_371.0

# Measured on the machine of bench/README.md over the pair of `make cluster`, beside other work: the times are the processor's own.
WORKER_PAGE_MS = 0.6  # of a worker, for a catalog page
DATABASE_PAGE_MS = 0.1  # of the primary, for the same page
WORKER_WRITE_MS = 1.0  # of a worker, for an order or a change of a cart
DATABASE_WRITE_MS = 0.8  # primary and standby together
WAL_KB = 1.7  # of a commit
PAGE_KB = 13.0  # sent for a page, pictures not counted: browsers keep them
ORDER_KB = 1.0  # on the disk, with its lines and indexes
WRITES = 0.1  # of all requests: one in ten changes a cart or places an order
ORDERS = 0.01
BUSY = 0.6  # of a core that still answers in time
YEAR_SECONDS = 365 * 86_400
PEAK = 4  # a day's busiest second, over its mean


@dataclass(frozen=True)
class Region:
    """Where visitors are, and a server."""

    name: str
    latitude: float
    longitude: float


REGIONS = (
    Region("Frankfurt", 50.1, 8.7),
    Region("Virginia", 39.0, -77.5),
    Region("Singapore", 1.35, 103.8),
    Region("São Paulo", -23.5, -46.6),
    Region("Sydney", -33.9, 151.2),
)


@dataclass(frozen=True)
class Seen:
    """What one region's visitors met. Times in seconds, shares from 0 to 1."""

    region: str
    round_trip: float  # to the primary
    stale_p50: float  # age of the oldest commit that a page from the standby lacks, 0 = none
    stale_p99: float
    stale_share: float  # pages that lack something
    waits: float  # share of reads after an own write that waited for the standby
    falls_back: float  # share of them that went to the primary after all
    read_p50: float  # of a read after an own write
    read_p99: float


def round_trip(one: Region, other: Region) -> float:
    """Seconds there and back at the speed of light in a cable, with its detours."""
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    turn = math.radians(one.longitude - other.longitude)
    angle = math.acos(min(1.0, math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(turn)))
    return 2 * EARTH_KM * angle * DETOUR / KM_A_SECOND


def simulate(
    regions: Sequence[Region], commits_a_second: float, *, bound: float = BOUND_SECONDS, apply: float = APPLY_SECONDS
) -> list[Seen]:
    """Each region but the first, which has the primary. Every region writes alike."""
    chance = random.Random(f"{SEED} {len(regions)} {commits_a_second}")  # the same traffic whatever the policy
    seconds = min(SECONDS_MAX, COMMITS_MAX / commits_a_second)
    commits, moment = [], chance.expovariate(commits_a_second)
    while moment < seconds:
        commits.append((moment, chance.randrange(len(regions))))
        moment += chance.expovariate(commits_a_second)
    return [_of(regions, number, commits, bound, apply) for number in range(1, len(regions))]


def _of(
    regions: Sequence[Region], number: int, commits: Sequence[tuple[float, int]], bound: float, apply: float
) -> Seen:
    chance = random.Random(f"{SEED} {number} {len(commits)}")
    there = round_trip(regions[0], regions[number])
    made = [moment for moment, _ in commits]
    applied = _applied(made, there / 2, apply, chance)
    ages = [_age(made, applied, chance.uniform(0, made[-1])) for _ in range(20_000)]
    waits, falls, reads = 0, 0, []
    for (moment, origin), ready in zip(commits, applied, strict=True):
        if origin != number:
            continue
        pause = 0.0 if chance.random() < 0.5 else chance.expovariate(1 / PAUSE_SECONDS)
        asked = moment + FLUSH_SECONDS + there / 2 + pause  # the answer to the write has to come home first
        wait = max(0.0, ready - asked)
        waits += wait > 0
        if wait > bound:
            falls += 1
            reads.append(bound + there + ANSWER_SECONDS)
        else:
            reads.append(wait + ANSWER_SECONDS)
    return Seen(
        region=regions[number].name,
        round_trip=there,
        stale_p50=statistics.median(ages),
        stale_p99=_p99(ages),
        stale_share=sum(age > 0 for age in ages) / len(ages),
        waits=waits / len(reads),
        falls_back=falls / len(reads),
        read_p50=statistics.median(reads),
        read_p99=_p99(reads),
    )


def _applied(made: Sequence[float], way: float, apply: float, chance: random.Random) -> list[float]:
    """When the standby's readers see each commit: in order, one after the other."""
    found, arrived, done = [], 0.0, 0.0
    for moment in made:
        lost = chance.randrange(LOSS) == 0
        arrived = max(arrived, moment + FLUSH_SECONDS + way + (RETRANSMIT_SECONDS if lost else 0.0))
        done = max(done, arrived) + apply
        found.append(done)
    return found


def _age(made: Sequence[float], applied: Sequence[float], now: float) -> float:
    """Of the oldest commit that a reader of the standby lacks."""
    oldest = bisect.bisect_right(applied, now)
    return max(0.0, now - made[oldest]) if oldest < len(made) else 0.0


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


# ---- the tables


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_regions() -> str:
    """1 to 5 regions at 100 commits/s: the farthest of each, and what the modes would cost a writer."""
    rows = []
    for count in range(1, len(REGIONS) + 1):
        trips = sorted(round_trip(REGIONS[0], region) for region in REGIONS[1:count])
        if not trips:
            rows.append(["1", "—", "0 ms", "0 ms", "—", "—", "—"])
            continue
        worst = max(simulate(REGIONS[:count], 100), key=lambda seen: seen.round_trip)
        rows.append(
            [
                str(count),
                f"{worst.region}, {_ms(worst.round_trip)}",
                _ms(FLUSH_SECONDS + trips[0]),
                _ms(FLUSH_SECONDS + trips[-1]),
                f"{_ms(worst.stale_p50)}, {_ms(worst.stale_p99)}",
                _share(worst.waits),
                _share(worst.falls_back),
            ]
        )
    head = [
        "regions",
        "farthest, round trip",
        "a commit that waits for the nearest",
        "… for all",
        "staleness there, p50, p99",
        "own-write reads that wait",
        "… that fall back",
    ]
    return _table(head, rows)


def by_rate() -> str:
    """Five regions; the write rate goes up to what one replay process cannot do."""
    rows = []
    for rate in (10, 100, 1_000, 10_000, 18_000, 22_000):
        worst = max(simulate(REGIONS, rate), key=lambda seen: seen.round_trip)
        rows.append(
            [
                f"{rate:,}",
                _share(worst.stale_share),
                f"{_ms(worst.stale_p50)}, {_ms(worst.stale_p99)}",
                _share(worst.waits),
                _share(worst.falls_back),
                f"{_ms(worst.read_p50)}, {_ms(worst.read_p99)}",
            ]
        )
    head = [
        "commits/s",
        "pages that lack something",
        "staleness p50, p99",
        "own-write reads that wait",
        "… that fall back",
        "own-write read p50, p99",
    ]
    return _table(head, rows)


def by_bound() -> str:
    """Five regions at 1,000 commits/s: how long to wait before the primary is asked."""
    rows = []
    for bound in (0.0, 0.01, 0.1, 0.25, 1.0):
        worst = max(simulate(REGIONS, 1_000, bound=bound), key=lambda seen: seen.round_trip)
        rows.append([_ms(bound), _share(worst.falls_back), f"{_ms(worst.read_p50)}, {_ms(worst.read_p99)}"])
    return _table(["bound of the wait", "own-write reads that fall back", "own-write read p50, p99"], rows)


def by_load() -> str:
    """What a peak of so many requests a second needs."""
    rows = []
    for requests in (100, 1_000, 10_000, 100_000):
        writes = requests * WRITES
        reads = requests - writes
        rows.append(
            [
                f"{requests:,}",
                f"{writes:,.0f}",
                _cores(reads * WORKER_PAGE_MS + writes * WORKER_WRITE_MS),
                _cores(reads * DATABASE_PAGE_MS + writes * DATABASE_WRITE_MS),
                _cores(writes * DATABASE_WRITE_MS),
                f"{writes * WAL_KB * 8 / 1000:,.1f} Mbit/s",
                f"{requests * PAGE_KB * 8 / 1000:,.0f} Mbit/s",
                f"{requests * ORDERS / PEAK * YEAR_SECONDS * ORDER_KB / 1e6:,.0f} GB",
            ]
        )
    head = [
        "requests/s",
        "commits/s",
        "cores of workers",
        "cores of databases",
        "of these the primary must do itself",
        "WAL to each standby",
        "to visitors",
        "orders of a year",
    ]
    return _table(head, rows)


def _cores(milliseconds_a_second: float) -> str:
    """So many, each busy for no more than its share."""
    return f"{milliseconds_a_second / 1000 / BUSY:,.1f}"


TABLES = {"load": by_load, "regions": by_regions, "rate": by_rate, "bound": by_bound}


def filled(page: str) -> str:
    """*page* with each table between `<!-- table: name -->` and `<!-- end -->` made anew. Raises `ValueError` when a marker is missing."""
    for name, make in TABLES.items():
        before, start, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not start or not end:
            raise ValueError(f"no place for the table {name}")
        page = f"{before}{start}{make()}\n{end}{after}"
    return page


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--write"]:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
