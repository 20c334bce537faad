"""The lane of block C."""

from tests.torture import block_c


def test_whatever_fails_the_client_is_told_the_truth_and_writes_resume_but_after_a_failed_fsync():
    tally = block_c.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= 500
    assert tally.states >= 2_000
