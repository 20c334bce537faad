"""The workers' lives: small programs stand where the shop would."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.cluster import workers
from shop.cluster.supervisor import Turn
from shop.cluster.workers import RESTART_SECONDS_MAX, RESTART_SECONDS_MIN, Workers, count_for_this_machine
from shop.errors import SettingError

SITS = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from shop.cluster.seat import Seat
seat = Seat(int(sys.argv[2]))
with open({log!r}, "a") as log:
    log.write(f"{{seat.order.number}} {{seat.order.banner}} {{os.environ['GREETING']}}\\n")
{then}
"""
SERVES = "seat.ready(); signal.pause()"
ROOT = str(Path(__file__).resolve().parents[2])


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def make(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], Workers]]:
    """Workers that do what is said once they have taken their seats."""
    made: list[Workers] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def make(count: int, then: str) -> Workers:
            app = tmp_path / "app.py"
            app.write_text(SITS.format(root=ROOT, log=str(log), then=then))
            monkeypatch.setattr(workers, "APP", app)
            environment = {**os.environ, "GREETING": "hello"}
            made.append(
                Workers(count, listener=listener, token="t", environment=environment, banner=[("Workers", "some")])
            )
            return made[-1]

        yield make
        for one in made:
            one.stop(is_hurried=lambda: True)


def test_the_first_tells_people_and_the_others_follow_when_it_serves(make, log):
    make(3, SERVES).start()

    wait_until(lambda: len(log.read_text().splitlines()) == 3)
    first, *others = log.read_text().splitlines()
    assert first == "1 [('Workers', 'some')] hello"
    assert sorted(others) == ["2 None hello", "3 None hello"]


def test_a_first_one_that_does_not_serve_ends_the_start(make, log):
    with pytest.raises(SettingError, match="did not start"):
        make(2, "sys.exit(1)").start()

    assert len(log.read_text().splitlines()) == 1


def test_one_that_keeps_dying_is_started_again_later_and_later(make, capsys):
    crew = make(1, "seat.ready(); sys.exit(3)")
    crew.start()
    worker = crew._workers[0]
    delays = []
    for _ in range(12):
        wait_until(lambda: not worker.is_running)
        now = time.monotonic()
        worker.tend(now)
        delays.append(round(worker._start_again_at - now, 3))
        worker.tend(worker._start_again_at - 0.001)
        assert worker._start_again_at is not None, "not yet"
        worker._started, worker._start_again_at = now, None  # as if it had been started and had died at once

    assert delays == [min(RESTART_SECONDS_MAX, RESTART_SECONDS_MIN * 2**times) for times in range(12)]
    assert "worker died" in capsys.readouterr().out


def test_one_that_is_started_again_tells_nobody_anything(make, log):
    crew = make(1, SERVES)
    crew.start()
    (pid,) = crew.pids()

    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        crew.tend()
        return len(log.read_text().splitlines()) == 2

    wait_until(is_back)
    assert log.read_text().splitlines()[1] == "1 None hello"


def test_the_end_waits_for_those_who_finish_what_they_were_asked(make, tmp_path):
    sitting, finished = tmp_path / "sitting", tmp_path / "finished"
    then = f"""
def finish(*_):
    time.sleep(0.3)
    open({str(finished)!r}, "a").write("x")
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
open({str(sitting)!r}, "a").write("x")
seat.ready()
while True:
    signal.pause()
"""
    crew = make(2, then)
    crew.start()
    wait_until(lambda: sitting.read_text() == "xx")

    crew.stop(is_hurried=lambda: False)

    assert finished.read_text() == "xx"
    assert crew.pids() == []


def test_there_are_two_at_the_least():
    assert count_for_this_machine() >= 2


def test_a_process_that_cannot_be_started_now_is_started_later_and_ends_nothing(
    make: Callable[[int, str], Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = make(1, SERVES)
    running.start()
    turn = Turn(running.tend)
    [first] = running.pids()
    tried = []

    def refuse(*_: object, **__: object) -> None:
        tried.append(1)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as full:
        full.setattr(subprocess, "Popen", refuse)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: turn.take() or tried)

    wait_until(lambda: turn.take() or running.pids())
    assert running.pids() != [first]
