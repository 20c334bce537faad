"""The lane of block G: all of its cases, and one kill."""

from tests.torture import block_g


def test_whatever_becomes_of_one_of_two_real_servers_no_promise_is_broken():
    tally = block_g.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points == len(block_g.CASES) + 1 == 13
    assert tally.states >= 125
