"""`python -m tests.soak [seconds]`: buyers, an editor, outages and changes of roles on a real server, and what is left of it all.

Ends with 0 only if memory grew by less than 10 %, descriptors and threads are as many as before, no confirmed order is missing or there
twice, the money and the stock add up, and both sides are equal. The figures also go into build/soak.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import GROWTH_MAX, Report, soak

SECONDS = 600
RESULTS = Path(__file__).resolve().parents[2] / "build" / "soak.json"


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), seconds=seconds, say=lambda text: print(text, flush=True))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report.figures(), indent=1) + "\n", encoding="utf-8")
    print(_words(report))
    for violation in report.violations:
        print(f"FAILED {violation}")
    print("Passed" if not report.violations else "FAILED")
    return 1 if report.violations else 0


def _words(report: Report) -> str:
    return (
        f"{report.seconds:.0f} s: {report.pages:,} pages, {report.orders:,} orders of {report.cents / 100:,.2f}, "
        f"{report.edits:,} edits, {report.outages} outages, {report.promotions} promotions, {report.switchovers} switchovers, "
        f"{report.lost} commits lost and decided on\n"
        f"memory {report.before.memory_mb:.1f} -> {report.after.memory_mb:.1f} MB ({report.growth:+.1%}, at most {GROWTH_MAX:+.0%}), "
        f"descriptors {report.before.descriptors} -> {report.after.descriptors}, "
        f"threads {report.before.threads} -> {report.after.threads}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
