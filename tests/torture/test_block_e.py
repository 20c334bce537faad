"""The lane of block E: its races are those of `tests/contract/test_repository_threads.py`, here is the model."""

from tests.contract.backends import BACKENDS
from tests.torture import block_e


def test_the_shop_does_what_a_dictionary_would_have_done(postgres_shop: None) -> None:
    tally = block_e.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= block_e.LANE_RUNS * len(BACKENDS)
    assert tally.states >= block_e.LANE_RUNS * block_e.STEPS * len(BACKENDS)
