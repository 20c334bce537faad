"""The lane of block B."""

from tests.torture import block_b


def test_no_damage_is_served_and_what_is_cut_is_told_or_held_by_the_replica():
    tally = block_b.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= 1_500
    assert tally.states >= 1_500
