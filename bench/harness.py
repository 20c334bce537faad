"""Rows, ratios and the report. A ratio is taken from measurements made in turn within one run, so that a machine's mood cancels out."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Measure = Callable[[], float]


@dataclass
class Result:
    """One row. `at_least` and `at_most` are the goal; exactly one of them is set."""

    key: str
    value: float
    what: str
    at_least: float | None = None
    at_most: float | None = None
    details: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[float, float]] = field(default_factory=list)  # size, value: drawn as a growth curve

    @property
    def is_met(self) -> bool:
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    @property
    def goal(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True)
class Row:
    """A row that can be measured."""

    key: str
    measure: Callable[[], Result]


def in_turn(ours: Measure, theirs: Measure, *, rounds: int = 5) -> tuple[float, float, float]:
    """Median of ours / theirs over *rounds* pairs, and the medians of both. A first pair warms up and does not count."""
    pairs = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(mine / their for mine, their in pairs)
    return ratio, statistics.median(mine for mine, _ in pairs), statistics.median(their for _, their in pairs)


def per_second(count: int, work: Callable[[], None]) -> float:
    """How many of *count* things a second, when *work* does them all."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def seconds_of_each(work: Callable[[], None], count: int) -> list[float]:
    """How long each of *count* calls takes."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def report(results: Sequence[Result], folder: Path) -> None:
    """Print the table; write bench.json and a plot for each growth curve to *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for result in results:
        known[result.key] = {
            "value": round(result.value, 4),
            **{name: round(value, 4) for name, value in result.details.items()},
        }
        if result.curve:
            (folder / f"{result.key}.svg").write_text(plot(result))
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    width = max(len(result.key) for result in results)
    print(f"\n{'row'.ljust(width)}  {'value':>10}  {'goal':>9}  met  measured")
    for result in results:
        details = ", ".join(f"{name} {value:,.4g}" for name, value in result.details.items())
        met = "yes" if result.is_met else "NO"
        print(f"{result.key.ljust(width)}  {result.value:>10.3f}  {result.goal:>9}  {met:<3}  {details}")


def plot(result: Result) -> str:
    """A growth curve as SVG: size on a logarithmic axis, value from zero."""
    import math

    points = sorted(result.curve)
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])
    top = max(value for _, value in points) * 1.2 or 1.0

    def place(size: float, value: float) -> tuple[float, float]:
        across = (math.log10(size) - low) / ((high - low) or 1)
        return 60 + 500 * across, 250 - 220 * value / top

    dots = [place(size, value) for size, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2a7f8f"/>'
        f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{value:.4g}</text>'
        f'<text x="{x:.1f}" y="270" text-anchor="middle">{size:,.0f}</text>'
        for (x, y), (size, value) in zip(dots, points, strict=True)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 300" font-family="sans-serif" font-size="12">'
        f'<rect width="600" height="300" fill="#fff"/><text x="20" y="20">{result.key}: {result.what}</text>'
        '<path d="M60 30V250H570" fill="none" stroke="#888"/>'
        f'<polyline points="{line}" fill="none" stroke="#2a7f8f" stroke-width="2"/>{marks}</svg>\n'
    )
