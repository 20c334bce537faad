"""Who is logged in and who asks too often: kept in the memory of one process, or shared by several; nobody can tell which."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import parse
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter

from shop.access import AGE_SECONDS_MAX, IDLE_SECONDS_MAX, SESSIONS_MAX, Counters, Logins
from shop.clock import ManualClock, SystemClock
from shop.repository.postgres.local import shared
from shop.repository.postgres.repository import PostgresRepository
from shop.web.rates import SHARED, SharedStorage
from shop.web.sessions import AdminSessions


@pytest.fixture(params=["memory", "postgres"])
def logins(request: pytest.FixtureRequest, clock: ManualClock) -> Logins:
    if request.param == "memory":
        return AdminSessions(clock.monotonic)
    return shared(request.getfixturevalue("postgres_repository").servers, clock).logins


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


def test_what_is_kept_of_a_login_opens_nothing(postgres_repository: PostgresRepository, clock: ManualClock) -> None:
    sid = shared(postgres_repository.servers, clock).logins.begin("admin", "hash")

    with postgres_repository.view() as unit:
        rows = unit._rows("SELECT encode(sid_hash, 'escape'), admin_id FROM admin_sessions")  # type: ignore[attr-defined]

    assert len(rows) == 1
    assert sid not in str(rows)


def test_what_is_shared_is_no_commit_and_never_replicated(
    postgres_repository: PostgresRepository, clock: ManualClock
) -> None:
    kept = shared(postgres_repository.servers, clock)
    kept.logins.begin("admin", "hash")
    kept.counters.add("key", 1, 60)

    with postgres_repository.view() as unit:
        tables = "('admin_sessions', 'login_tries', 'rate_counters')"
        query = f"SELECT DISTINCT relpersistence::text FROM pg_class WHERE relname IN {tables}"
        assert unit._rows(query) == [("u",)]  # type: ignore[attr-defined]
        assert unit._rows("SELECT count(*) FROM commits") == [(0,)]  # type: ignore[attr-defined]


# ---- counters


@pytest.fixture
def counters(postgres_repository: PostgresRepository, clock: ManualClock) -> Counters:
    return shared(postgres_repository.servers, clock).counters


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


def test_counters_that_ended_are_taken_away(
    counters: Counters, postgres_repository: PostgresRepository, clock: ManualClock
) -> None:
    for number in range(30):
        counters.add(f"key {number}", 1, 10)
    clock.advance(10)

    counters.add("new", 1, 10)

    with postgres_repository.view() as unit:
        assert unit._rows("SELECT key FROM rate_counters") == [("new",)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["memory", "postgres"])
def test_of_many_at_once_as_many_come_in_as_the_limit_says(request: pytest.FixtureRequest, kind: str) -> None:
    storage: Storage = MemoryStorage()
    if kind == "postgres":
        servers = request.getfixturevalue("postgres_repository").servers
        storage = SharedStorage(SHARED, counters=shared(servers, SystemClock()).counters)
    limiter, limit = FixedWindowRateLimiter(storage), parse("20 per hour")

    with ThreadPoolExecutor(8) as threads:
        let_in = list(threads.map(lambda _: limiter.hit(limit, "somebody"), range(60)))

    assert sum(let_in) == 20
    assert limiter.test(limit, "somebody else")
    storage.reset()
    assert limiter.hit(limit, "somebody")
