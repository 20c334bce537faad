"""What `make torture` passes and what it does not: an emptied, a broken and a missing block fail as one with a violation does."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.torture import __main__ as torture
from tests.torture.tally import Counts, Kills, Tally

ENOUGH = Counts(10, 100)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, dict]]:
    """Run blocks that are given in place of the real ones; returns the exit code and what was written."""

    def run(**blocks: object) -> tuple[int, dict]:
        monkeypatch.setattr(torture, "load", lambda name: blocks[name])
        results = tmp_path / "build" / "torture.json"
        code = torture.main(list(blocks), results)
        return code, json.loads(results.read_text(encoding="utf-8"))

    return run


def block(tally: Tally) -> SimpleNamespace:
    return SimpleNamespace(MINIMUM=ENOUGH, run=lambda *, whole: tally)


def mutants(kills: Kills) -> SimpleNamespace:
    return SimpleNamespace(MINIMUM=2, run=lambda *, whole: kills)


def test_blocks_that_count_what_the_plan_says_pass(run, capsys):
    code, written = run(A=block(Tally(10, 100)), mutants=mutants(Kills(["no fsync", "no CRC"])))
    assert code == 0
    assert written == {"A": {"points": 10, "states": 100, "violations": 0}, "mutants": {"killed": 2, "of": 2}}
    said = capsys.readouterr().out
    assert "A: 10 points, 100 states, 0 violations" in said
    assert "killed: no fsync" in said


@pytest.mark.parametrize(
    ("tally", "why"),
    [
        (Tally(), "0 points, the plan says 10"),
        (Tally(9, 100), "9 points, the plan says 10"),
        (Tally(10, 99), "99 states, the plan says 100"),
        (Tally(10, 100, ["an order is gone"]), "an order is gone"),
    ],
    ids=["emptied", "few points", "few states", "a violation"],
)
def test_an_emptied_sweep_fails_as_a_violation_does(run, capsys, tally, why):
    code, written = run(A=block(Tally(10, 100)), B=block(tally))
    assert code == 1
    assert written["B"] == {"points": tally.points, "states": tally.states, "violations": len(tally.violations)}
    assert f"FAILED {why}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kills", "why"),
    [
        (Kills(["no fsync"], ["no CRC"]), "survived: no CRC"),
        (Kills(["no fsync"]), "1 mutants, the plan says 2"),
    ],
)
def test_a_mutant_that_lives_or_is_left_out_fails(run, capsys, kills, why):
    code, written = run(mutants=mutants(kills))
    assert code == 1
    assert written["mutants"] == {"killed": 1, "of": kills.of}
    assert f"FAILED {why}" in capsys.readouterr().out


def test_a_block_that_breaks_off_fails_and_the_others_still_run(run, capsys):
    def breaks(*, whole: bool) -> Tally:
        raise RuntimeError("half-way")

    code, written = run(A=SimpleNamespace(MINIMUM=ENOUGH, run=breaks), B=block(Tally(10, 100)))
    assert code == 1
    assert written["A"]["violations"] == 1
    assert written["B"]["points"] == 10
    assert "did not run to its end: RuntimeError: half-way" in capsys.readouterr().out


def test_a_block_that_is_not_there_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torture, "BLOCKS", ("Z",))
    assert torture.main(["Z"], tmp_path / "torture.json") == 1
    assert "did not run to its end: ModuleNotFoundError" in capsys.readouterr().out


def test_an_unknown_name_is_told_and_nothing_runs(tmp_path, capsys):
    assert torture.main(["X"], tmp_path / "torture.json") == 2
    assert not (tmp_path / "torture.json").exists()
    assert "No such block: X" in capsys.readouterr().out
