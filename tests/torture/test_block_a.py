"""The lane of block A, and that a sweep which finds nothing to check says so."""

from tests.torture import block_a
from tests.torture.tally import Tally


def test_no_power_cut_at_any_operation_loses_what_was_acknowledged_or_leaves_it_half_there():
    tally = block_a.run(whole=False)

    assert not tally.violations, tally.violations
    assert tally.points >= 1_000
    assert tally.states >= 4_000


def test_a_workload_that_checks_nothing_is_a_violation(monkeypatch):
    monkeypatch.setattr(block_a, "workloads", lambda whole: {"nothing": Tally})
    monkeypatch.setattr(block_a.cuts_of_roles, "workloads", lambda whole: {})

    assert block_a.run(whole=False).violations == ["nothing: nothing was checked"]
