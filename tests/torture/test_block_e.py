"""The lane of block E: its races are those of `tests/contract/test_repository_threads.py`, here is the model."""

from tests.contract.backends import BACKENDS
from tests.torture import block_e


def test_the_shop_does_what_a_dictionary_would_have_done():
    tally = block_e.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= 15 * len(BACKENDS)
    assert tally.states >= 15 * block_e.STEPS * len(BACKENDS)
