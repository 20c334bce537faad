"""`python -m bench [row …]`: measure all rows, or those that are named."""

import importlib
import sys
from pathlib import Path

from bench.harness import Result, Row, report

MODULES = ("store_rows", "web_rows", "replication_rows", "start_rows", "workers")
FOLDER = Path(__file__).resolve().parents[1] / "build"


def rows() -> list[Row]:
    found: list[Row] = []
    for name in MODULES:
        if (Path(__file__).parent / f"{name}.py").exists():
            found.extend(importlib.import_module(f"bench.{name}").ROWS)
    return found


def main(names: list[str]) -> int:
    """0 when every row that was measured is within its goal."""
    all_rows = rows()
    unknown = set(names) - {row.key for row in all_rows}
    if unknown:
        print(f"No such row: {', '.join(sorted(unknown))}. There are: {', '.join(row.key for row in all_rows)}.")
        return 2
    results: list[Result] = []
    for row in all_rows:
        if names and row.key not in names:
            continue
        print(f"{row.key} …", end=" ", flush=True)
        try:
            result = row.measure()
        except LookupError as reason:
            print(f"not measured: {reason}")
            continue
        print(f"{result.value:.3f} ({result.goal})", flush=True)
        results.append(result)
    report(results, FOLDER)
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
