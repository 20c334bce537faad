"""Who is logged in and who asks too often: kept in the memory of one process, or shared by several; nobody can tell which."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from limits import parse
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter

from shop.access import AGE_SECONDS_MAX, IDLE_SECONDS_MAX, SESSIONS_MAX, Counters, Logins
from shop.clock import ManualClock, SystemClock
from shop.repository.local import NAME, shared
from shop.web.rates import SHARED, SharedStorage
from shop.web.sessions import AdminSessions


@pytest.fixture(params=["memory", "file"])
def logins(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> Logins:
    if request.param == "memory":
        return AdminSessions(clock.monotonic)
    return shared(tmp_path, clock).logins


def test_a_login_is_found_by_its_id_alone(logins: Logins) -> None:
    sid = logins.begin("admin", "hash")
    other = logins.begin("admin", "hash")

    found = logins.find(sid)

    assert found is not None
    assert (found.admin_id, found.password_hash) == ("admin", "hash")
    assert sid != other
    for unknown in ("", "unknown", sid[:-1], sid.upper(), "\x00", "\ud800"):
        assert logins.find(unknown) is None


def test_a_login_that_was_ended_is_found_no_more(logins: Logins) -> None:
    sid, other = logins.begin("admin", "hash"), logins.begin("admin", "hash")

    logins.end(sid)
    logins.end("unknown")

    assert logins.find(sid) is None
    assert logins.find(other) is not None


def test_a_login_ends_when_nobody_used_it_for_a_while(logins: Logins, clock: ManualClock) -> None:
    sid = logins.begin("admin", "hash")
    for _ in range(3):
        clock.advance(IDLE_SECONDS_MAX - 10)
        assert logins.find(sid) is not None

    clock.advance(IDLE_SECONDS_MAX)

    assert logins.find(sid) is None


def test_a_login_ends_after_half_a_day_however_busy(logins: Logins, clock: ManualClock) -> None:
    sid = logins.begin("admin", "hash")
    for _ in range(AGE_SECONDS_MAX // 1000):
        clock.advance(1000)
        assert logins.find(sid) is not None

    clock.advance(1000)

    assert logins.find(sid) is None


def test_another_password_ends_the_logins_of_the_old_one(logins: Logins) -> None:
    old, new, somebody = logins.begin("admin", "old"), logins.begin("admin", "new"), logins.begin("other", "old")

    logins.end_others_than("admin", "new")
    assert [logins.find(sid) is not None for sid in (old, new, somebody)] == [False, True, True]

    logins.end_others_than("admin", None)
    assert [logins.find(sid) is not None for sid in (old, new, somebody)] == [False, False, True]


def test_the_number_of_logins_is_bounded_and_the_idlest_ends(logins: Logins, clock: ManualClock) -> None:
    first, busy = logins.begin("admin", "hash"), logins.begin("admin", "hash")
    for _ in range(SESSIONS_MAX):
        clock.advance(10)
        logins.find(busy)
        logins.begin("admin", "hash")

    assert logins.find(first) is None
    assert logins.find(busy) is not None


# ---- what only what is shared must do


def test_what_is_kept_of_a_login_opens_nothing_and_is_for_the_owner_alone(tmp_path: Path, clock: ManualClock) -> None:
    sid = shared(tmp_path, clock).logins.begin("admin", "hash")

    files = list(tmp_path.glob(f"{NAME}*"))
    assert files
    assert not any(sid.encode() in path.read_bytes() for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_what_one_worker_keeps_another_finds(tmp_path: Path, clock: ManualClock) -> None:
    one, other = shared(tmp_path, clock), shared(tmp_path, clock)

    sid = one.logins.begin("admin", "hash")
    assert other.logins.find(sid) is not None
    other.logins.end(sid)
    assert one.logins.find(sid) is None

    assert [one.counters.add("key", 1, 60), other.counters.add("key", 1, 60)] == [1, 2]


@pytest.mark.parametrize("torn", [b"", b"not a database at all, but long enough to be taken for one" * 100])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path: Path, clock: ManualClock, torn: bytes) -> None:
    (tmp_path / NAME).write_bytes(torn)

    logins = shared(tmp_path, clock).logins

    assert logins.find(logins.begin("admin", "hash")) is not None


# ---- counters


@pytest.fixture
def counters(tmp_path: Path, clock: ManualClock) -> Counters:
    return shared(tmp_path, clock).counters


def test_a_counter_counts_until_it_ends(counters: Counters, clock: ManualClock) -> None:
    ends_at = clock.now().timestamp() + 60

    assert [counters.add("key", 1, 60) for _ in range(3)] == [1, 2, 3]
    clock.advance(59)
    assert counters.add("key", 2, 60) == 5
    assert counters.get("key") == (5, ends_at)
    assert counters.get("other")[0] == 0

    clock.advance(1)
    assert counters.get("key")[0] == 0
    assert counters.add("key", 1, 60) == 1


def test_counters_are_forgotten_one_or_all(counters: Counters) -> None:
    for key in ("one", "two", "three"):
        counters.add(key, 1, 60)

    counters.clear("one")
    assert [counters.get(key)[0] for key in ("one", "two", "three")] == [0, 1, 1]

    counters.clear()
    assert [counters.get(key)[0] for key in ("one", "two", "three")] == [0, 0, 0]


def test_counters_that_ended_are_taken_away(counters: Counters, tmp_path: Path, clock: ManualClock) -> None:
    for number in range(30):
        counters.add(f"key {number}", 1, 10)
    clock.advance(10)

    counters.add("new", 1, 10)

    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        assert connection.execute("SELECT key FROM counters").fetchall() == [("new",)]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_of_many_at_once_as_many_come_in_as_the_limit_says(tmp_path: Path, kind: str) -> None:
    storage: Storage = MemoryStorage()
    if kind == "file":
        storage = SharedStorage(SHARED, counters=shared(tmp_path, SystemClock()).counters)
    limiter, limit = FixedWindowRateLimiter(storage), parse("20 per hour")

    with ThreadPoolExecutor(8) as threads:
        let_in = list(threads.map(lambda _: limiter.hit(limit, "somebody"), range(60)))

    assert sum(let_in) == 20
    assert limiter.test(limit, "somebody else")
    storage.reset()
    assert limiter.hit(limit, "somebody")
