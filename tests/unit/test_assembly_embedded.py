"""The parts of the shop on its own two files, joined."""

import time
from pathlib import Path

import pytest

from shop.assembly import embedded
from shop.clock import SystemClock
from shop.config import Config
from shop.replication import schedule as schedule_module
from shop.replication.schedule import Schedule

PATIENCE = 10.0


def test_a_scheduler_that_had_to_be_set_going_again_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Schedule] = []

    class Remembered(Schedule):
        def start(self) -> None:
            made.append(self)
            super().start()

    monkeypatch.setattr(embedded, "Schedule", Remembered)
    monkeypatch.setattr(schedule_module, "STALL_SECONDS", 1.5)
    monkeypatch.setattr(schedule_module, "WATCH_SECONDS", 0.05)
    with embedded.open_parts(Config(instance=tmp_path), SystemClock()) as parts, parts.running():
        assert parts.counters()["scheduler_stalls"] == 0

        scheduler = made[0]._scheduler
        assert scheduler is not None
        scheduler.shutdown(wait=False)

        deadline = time.monotonic() + PATIENCE
        while not parts.counters()["scheduler_stalls"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
