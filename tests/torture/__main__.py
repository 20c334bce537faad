"""`python -m tests.torture [A B … mutants]`: run all blocks whole, or those that are named; the results also go into build/torture.json.

Ends with 0 only if every block is there, ran to its end, counted what the plan says and found no violation.
"""

import importlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from shop import logs
from tests.torture.tally import Kills, Tally, progress, sentences

BLOCKS = ("A", "B", "C", "D", "E", "F", "G")
MUTANTS = "mutants"
RESULTS = Path(__file__).resolve().parents[2] / "build" / "torture.json"


def load(name: str) -> ModuleType:
    """The module of a block; ModuleNotFoundError if nobody has written it."""
    return importlib.import_module(
        "tests.torture.mutants" if name == MUTANTS else f"tests.torture.block_{name.lower()}"
    )


def judged(name: str) -> tuple[dict[str, int], list[str], list[str]]:
    """Run one block whole: what goes into the file, why it fails (nothing: it passes), and what there is to tell beside."""
    try:
        module = load(name)
        result: Tally | Kills = module.run(whole=True)
    except Exception as failure:
        traceback.print_exc()
        empty = {"killed": 0, "of": 0} if name == MUTANTS else {"points": 0, "states": 0, "violations": 1}
        return empty, [f"did not run to its end: {type(failure).__name__}: {failure}"], []
    finally:
        progress.done()
    if isinstance(result, Kills):
        told = [f"killed: {mutant}" for mutant in result.killed]
        return {"killed": len(result.killed), "of": result.of}, result.missing(module.MINIMUM), told
    counted = {"points": result.points, "states": result.states, "violations": len(result.violations)}
    return counted, result.violations + result.missing(module.MINIMUM), result.notes


def line(name: str, counted: Mapping[str, int], seconds: float) -> str:
    values = ", ".join(f"{value:,} {what}" for what, value in counted.items())
    return f"{name}: {values} ({seconds:.0f} s)"


def main(names: list[str], results: Path = RESULTS) -> int:
    """Run and report; the exit code."""
    known = (*BLOCKS, MUTANTS)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"No such block: {', '.join(unknown)}. There are: {', '.join(known)}.")
        return 2
    found: dict[str, Any] = {}
    is_good = True
    for name in names or known:
        began = time.monotonic()
        found[name], failures, told = judged(name)
        print(line(name, found[name], time.monotonic() - began), flush=True)
        for text in told + [f"FAILED {failure}" for failure in sentences(failures)]:
            print(f"  {text}", flush=True)
        is_good = is_good and not failures
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{'All passed' if is_good else 'FAILED'}: {results}")
    return 0 if is_good else 1


if __name__ == "__main__":
    logs.configure(level=logging.CRITICAL)  # what the program says of its misfortunes is not news here
    sys.exit(main(sys.argv[1:]))
