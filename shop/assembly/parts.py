"""What stands behind the pages, open: the same shape whatever the shop keeps its records in."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from shop.units import Position
from shop.web.services import Services


def _no_counters() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """One open shop. Whoever opened it closes it."""

    services: Services
    running: Callable[[], AbstractContextManager[None]]  # inside, what a server needs runs: schedule, alerts, modes
    backup: Callable[
        [Path], Position
    ]  # writes a consistent copy of the primary; raises OSError, Conflict where there is none
    counters: Callable[[], Mapping[str, float]] = _no_counters  # by metric name; they only grow
    alone: Callable[[], AbstractContextManager[object]] = nullcontext  # inside, no other process makes its first start
    announcements: Sequence[str] = ()  # what opening found and did, for the log
    banner: Sequence[tuple[str, str]] = ()  # where the data is, and what to know of the replica: label and words
