"""How fast passwords can be tried: slower with each failure, and never so slow that the shopkeeper stays outside."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.repository.local import shared
from shop.web.throttle import PER_ACCOUNT, PER_ADDRESS, Memory, Rule, Throttle

RULE = Rule(free_tries=3, delay_seconds_max=8, forgotten_after_seconds=60)


@pytest.fixture(params=["memory", "file"])
def throttle(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> Throttle:
    """That of one process, and that of several that share a file."""
    if request.param == "memory":
        return Throttle(clock.monotonic, Memory())
    together = shared(tmp_path, clock)
    return Throttle(together.now, together.ledger)


def test_each_failure_after_the_free_ones_doubles_the_wait_up_to_the_ceiling(throttle, clock):
    for _ in range(RULE.free_tries):
        assert throttle.admit({"key": RULE}) == 0

    waits = []
    for _ in range(6):
        waits.append(throttle.admit({"key": RULE}))
        clock.advance(waits[-1])
        assert throttle.admit({"key": RULE}) == 0

    assert waits == [1, 2, 4, 8, 8, 8]


def test_trying_while_waiting_does_not_make_the_wait_longer(throttle, clock):
    for _ in range(5):
        clock.advance(throttle.admit({"key": RULE}))
        throttle.admit({"key": RULE})

    wait = throttle.admit({"key": RULE})
    for _ in range(1000):
        throttle.admit({"key": RULE})
    assert throttle.admit({"key": RULE}) == wait

    clock.advance(wait)
    assert throttle.admit({"key": RULE}) == 0


class _Slow:
    """Lets other threads in between looking and keeping."""

    def __init__(self, ledger):
        self.ledger = ledger

    @contextmanager
    def change(self, keys, now):
        with self.ledger.change(keys, now) as tries:
            time.sleep(0.001)
            yield tries
            time.sleep(0.001)


def test_a_hundred_tries_at_once_are_as_many_as_are_free(throttle):
    throttle._ledger = _Slow(throttle._ledger)

    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: throttle.admit({"key": RULE}), range(100)))

    assert waits.count(0) == RULE.free_tries


def test_success_makes_the_slips_before_it_forgotten(throttle):
    for _ in range(RULE.free_tries):
        throttle.admit({"key": RULE})
    assert throttle.admit({"key": RULE}) > 0

    throttle.succeeded({"key": RULE})

    assert throttle.admit({"key": RULE}) == 0


def test_failures_are_forgotten_after_a_quiet_while(throttle, clock):
    for _ in range(RULE.free_tries):
        throttle.admit({"key": RULE})

    clock.advance(RULE.delay_seconds(RULE.free_tries) + RULE.forgotten_after_seconds)

    assert [throttle.admit({"key": RULE}) for _ in range(RULE.free_tries)] == [0] * RULE.free_tries


def test_a_try_that_one_key_refuses_counts_against_none(throttle, clock):
    for _ in range(RULE.free_tries):
        throttle.admit({"address": RULE})

    for _ in range(100):
        assert throttle.admit({"address": RULE, "account": RULE}) > 0

    assert throttle.admit({"account": RULE}) == 0
    assert throttle.admit({"account": RULE}) == 0


def test_one_address_that_never_stops_makes_an_account_wait_half_a_minute_at_most(throttle, clock):
    """What an attacker gets in a day from one address, and what the shopkeeper waits for then."""
    tries = waited_seconds = 0
    while waited_seconds < 24 * 3600:
        wait = throttle.admit({"address": PER_ADDRESS, "account": PER_ACCOUNT})
        tries += wait == 0
        clock.advance(wait)
        waited_seconds += wait

    assert tries < 200
    assert throttle.admit({"another address": PER_ADDRESS, "account": PER_ACCOUNT}) <= PER_ACCOUNT.delay_seconds_max


def test_the_number_of_keys_is_bounded_and_the_oldest_go(throttle, clock, monkeypatch):
    monkeypatch.setattr("shop.web.throttle.KEYS_MAX", 50)
    monkeypatch.setattr("shop.repository.local.KEYS_MAX", 50)
    keys = [f"key {number}" for number in range(200)]
    for key in keys:
        clock.advance(0.01)
        throttle.admit({key: RULE})

    with throttle._ledger.change(keys, throttle._now()) as tries:
        assert sorted(tries, key=keys.index) == keys[150:]


@pytest.mark.parametrize("failures", [0, 1, 100, 10**9])
def test_a_delay_is_a_number_of_seconds_however_many_failures(failures):
    assert 0 <= RULE.delay_seconds(failures) <= RULE.delay_seconds_max
