"""Seeded bugs are noticed; a lane of them."""

from contextlib import nullcontext

import pytest

from tests.torture import mutants


@pytest.mark.parametrize("mutant", mutants.mutants()[::3], ids=lambda mutant: mutant.name)
def test_a_seeded_protocol_bug_is_noticed_by_the_block_that_ought_to(mutant: mutants.Mutant) -> None:
    assert mutants.violations_under(mutant)


def test_there_are_as_many_as_planned_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in mutants.mutants()}) == len(mutants.mutants()) >= mutants.MINIMUM


def test_a_bug_that_is_none_survives() -> None:
    harmless = mutants.Mutant("nothing at all", nullcontext, mutants.crashes("commits"))
    assert mutants.violations_under(harmless) == []
