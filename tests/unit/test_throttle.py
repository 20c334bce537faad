"""The quota of a bench row: what a worker did not use, it does not get later."""

from bench.throttle import SAVED_SECONDS_MAX, Allowance


def granted(allowance: Allowance, *, start: float, seconds: float, used: float) -> float:
    """What a worker that runs whenever it may has had after *seconds*."""
    had = 0.0
    for turn in range(int(seconds / 0.005)):
        if allowance.may_run(now=start + turn * 0.005, used=used + had):
            had += 0.005
    return had


def test_who_always_wants_to_run_gets_the_share():
    allowance = Allowance(0.25, now=100.0, used=7.0)

    assert abs(granted(allowance, start=100.0, seconds=10, used=7.0) - 2.5) <= 0.01


def test_who_was_idle_gets_no_more_than_the_share_afterwards():
    allowance = Allowance(0.25, now=100.0, used=7.0)
    for turn in range(200):
        allowance.may_run(now=100.0 + turn * 0.005, used=7.0)

    had = granted(allowance, start=101.0, seconds=1.5, used=7.0)

    assert 0.375 - 0.01 <= had <= 0.375 + SAVED_SECONDS_MAX + 0.01
