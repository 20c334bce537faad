"""The lane of block D."""

from tests.torture import block_d


def test_no_process_that_is_killed_stopped_or_started_twice_breaks_a_promise():
    tally = block_d.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= 15 + 3 + 1 + 1 + 1 + 1 + 1
    assert tally.states >= 3 * 15 + 20
