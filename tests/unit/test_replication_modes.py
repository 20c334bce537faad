"""What writers wait for: async, semi-sync with its fall-back, and the sync mirror, on a clock that the test moves."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shop.clock import ManualClock
from shop.errors import Invalid, WritesUnavailable
from shop.models import Cart
from shop.replication.contract import Mode
from shop.replication.embedded import EmbeddedReplication
from shop.replication.modes import NOTICE
from shop.replication.pair import open_pair
from shop.repository.embedded import EmbeddedRepository
from tests.builders import CURRENCY, NOW

DELAY = 5.0


class Shop:
    """Writers in threads of their own, and the power over time and the link."""

    def __init__(self, folder: Path, *, places: int = 2) -> None:
        self.clock = ManualClock(NOW)
        self.pair = open_pair(folder, self.clock)
        self.replication = EmbeddedReplication(
            self.pair, clock=self.clock, delay_seconds=DELAY, currency=CURRENCY, wait_places=places
        )
        self.repository = EmbeddedRepository(self.pair.primary)
        self.repository.gate = self.replication.gate

    @property
    def modes(self) -> Any:
        return self.replication.status().modes

    def write(self, cart_id: str = "c1") -> None:
        with self.repository.update() as unit:
            unit.put_cart(Cart(id=cart_id, checkout_key=f"key-{cart_id}", updated_at="2026-01-01T12:00:00Z"))

    def is_somebody_waiting(self) -> bool:
        """And its commit is there: the place is taken before that."""
        return self.modes.waiting == 1 and self.pair.primary.shown_lsn == self.written

    def start_writing(self, cart_id: str = "c1") -> "Writer":
        self.written = self.pair.primary.position.lsn + 1
        return Writer(self, cart_id)

    def pass_time(self, seconds: float) -> None:
        """In small steps, as the schedule would."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.advance(min(0.5, end - self.clock.monotonic()) + 1e-5)
            self.replication.sync_once(self.clock.monotonic())
        self.replication.gate.wake()


class Writer(threading.Thread):
    def __init__(self, shop: Shop, cart_id: str) -> None:
        super().__init__(daemon=True)
        self.shop, self.cart_id = shop, cart_id
        self.notice: str | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.shop.write(self.cart_id)
        except WritesUnavailable as error:
            self.error = error
        self.notice = self.shop.replication.laboratory.take_notice()

    @property
    def is_done(self) -> bool:
        return not self.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.replication.gate.set_mode("async")
    shop.pair.close()


def test_async_waits_for_nobody(shop: Shop) -> None:
    shop.write()

    assert shop.pair.replica.position.lsn == 0
    assert shop.replication.laboratory.take_notice() == ""


@pytest.mark.parametrize("mode", ["semi-sync", "sync"])
def test_a_writer_waits_until_the_far_side_has_its_commit(shop: Shop, mode: str) -> None:
    shop.replication.laboratory.set_mode(mode)
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)

    shop.pass_time(DELAY - 0.5)
    assert not writer.is_done

    shop.pass_time(0.6)
    until(lambda: writer.is_done)
    assert shop.pair.replica.position.lsn == 1
    assert (writer.error, writer.notice, shop.modes.waiting) == (None, "", 0)


@pytest.mark.parametrize("mode", ["semi-sync", "sync"])
def test_the_commit_is_durable_and_visible_here_while_its_writer_waits(shop: Shop, mode: str) -> None:
    shop.replication.laboratory.set_mode(mode)
    shop.start_writing()
    until(shop.is_somebody_waiting)

    with shop.repository.view() as unit:
        assert unit.cart("c1") is not None


def test_semi_sync_falls_back_after_its_timeout_and_says_nothing_bad_to_the_writer(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("semi-sync")
    shop.replication.laboratory.set_timeout(2)
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)

    shop.pass_time(2.1)

    until(lambda: writer.is_done)
    assert (writer.error, writer.notice) == (None, "")
    assert shop.modes.is_fallen_back
    assert shop.modes.fall_backs == 1
    shop.write("c2")  # nobody waits any more
    assert shop.pair.replica.position.lsn == 0


def test_semi_sync_returns_by_itself_when_the_far_side_has_caught_up(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("semi-sync")
    shop.replication.laboratory.set_timeout(2)
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)
    shop.pass_time(2.1)
    until(lambda: writer.is_done)

    shop.pass_time(3)

    assert not shop.modes.is_fallen_back
    again = shop.start_writing("c2")
    until(shop.is_somebody_waiting)
    assert not again.is_done


def test_semi_sync_returns_with_the_step_that_ends_a_failure_of_the_far_side(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.replication.laboratory.set_mode("semi-sync")
    shop.replication.laboratory.set_timeout(1)
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)
    with monkeypatch.context() as patch:
        patch.setattr(shop.pair.replica, "apply", lambda lines: (_ for _ in ()).throw(OSError("no answer")))
        shop.pass_time(DELAY + 1)
    until(lambda: writer.is_done)
    assert shop.modes.is_fallen_back
    shop.clock.advance(60)

    assert shop.replication.sync_once(shop.clock.monotonic()).applied == 1

    assert not shop.modes.is_fallen_back


def test_a_commit_that_nobody_waits_for_waits_for_no_lock_of_the_gate(shop: Shop) -> None:
    with shop.replication.gate._condition:
        thread = threading.Thread(target=shop.replication.gate.wake)
        thread.start()
        thread.join(5)

        assert not thread.is_alive()


def test_semi_sync_stays_fallen_back_while_the_link_is_paused(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("semi-sync")
    shop.replication.laboratory.set_timeout(1)
    shop.replication.pause()
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)
    shop.pass_time(20)
    until(lambda: writer.is_done)

    assert shop.modes.is_fallen_back
    shop.replication.resume()
    shop.pass_time(1)
    assert not shop.modes.is_fallen_back


@pytest.mark.parametrize("why", ["pause", "outage"])
def test_sync_turns_writers_away_before_anything_is_written_while_the_link_is_down(shop: Shop, why: str) -> None:
    shop.replication.laboratory.set_mode("sync")
    if why == "pause":
        shop.replication.pause()
    else:
        shop.replication.laboratory.cut(60)

    with pytest.raises(WritesUnavailable) as refused:
        shop.write()

    assert refused.value.retry_seconds
    assert "far side" in refused.value.message
    assert not shop.repository.is_writable()
    assert "far side" in shop.repository.why_read_only()
    assert shop.pair.primary.position.lsn == 0
    assert shop.modes.turned_away == 1


@pytest.mark.parametrize("why", ["pause", "outage"])
def test_sync_tells_a_writer_caught_midway_what_is_true_and_not_that_it_failed(shop: Shop, why: str) -> None:
    shop.replication.laboratory.set_mode("sync")
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)

    if why == "pause":
        shop.replication.pause()
    else:
        shop.replication.laboratory.cut(60)

    until(lambda: writer.is_done)
    assert (writer.error, writer.notice) == (None, NOTICE)
    assert shop.pair.primary.position.lsn == 1
    assert shop.replication.laboratory.take_notice() == "", "it is told to its own thread, and once"


def test_sync_does_not_wait_for_ever(shop: Shop) -> None:
    shop.replication.set_delay(3600)
    shop.replication.laboratory.set_mode("sync")
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)

    shop.pass_time(31)

    until(lambda: writer.is_done)
    assert (writer.error, writer.notice) == (None, NOTICE)


def test_only_so_many_wait_and_the_next_is_turned_away_before_anything_is_written(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("semi-sync")
    writers = [shop.start_writing(f"c{number}") for number in range(2)]
    until(lambda: shop.pair.primary.position.lsn == 2)

    with pytest.raises(WritesUnavailable) as refused:
        shop.write("c3")

    assert refused.value.retry_seconds
    assert shop.pair.primary.position.lsn == 2
    shop.pass_time(DELAY + 0.1)
    until(lambda: all(writer.is_done for writer in writers))
    assert shop.start_writing("c4").error is None


def test_turning_the_mode_to_async_lets_everybody_go_at_once(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("sync")
    writer = shop.start_writing()
    until(shop.is_somebody_waiting)

    shop.replication.laboratory.set_mode("async")

    until(lambda: writer.is_done)
    assert (writer.error, writer.notice, shop.modes.waiting) == (None, "", 0)


def test_an_update_that_fails_or_writes_nothing_gives_its_place_back_and_waits_for_nothing(shop: Shop) -> None:
    shop.replication.laboratory.set_mode("sync")
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), shop.repository.update():
            1 / 0  # noqa: B018
        with shop.repository.update():
            pass

    assert shop.modes.waiting == 0
    shop.pair.primary.refuse_writes("Not now.")
    for _ in range(5):
        with pytest.raises(WritesUnavailable):
            shop.write()
    assert shop.modes.waiting == 0


def test_latency_is_measured_for_each_mode_on_the_commits_made_under_it(shop: Shop) -> None:
    for number in range(3):
        shop.write(f"c{number}")
    shop.pass_time(DELAY + 0.1)
    shop.replication.laboratory.set_mode("sync")
    writer = shop.start_writing("c9")
    until(shop.is_somebody_waiting)
    shop.pass_time(DELAY + 0.1)
    until(lambda: writer.is_done)

    found = {latency.mode: latency for latency in shop.modes.latencies}

    assert (found[Mode.ASYNC].commits, found[Mode.SEMI_SYNC].commits, found[Mode.SYNC].commits) == (3, 0, 1)
    assert found[Mode.ASYNC].p99_seconds == 0
    assert found[Mode.SEMI_SYNC].p50_seconds is None
    assert found[Mode.SYNC].p50_seconds == pytest.approx(DELAY, abs=0.6)


@pytest.mark.parametrize("mode", ["", "SYNC", "semisync", "none"])
def test_a_mode_there_is_not_is_refused_and_changes_nothing(shop: Shop, mode: str) -> None:
    with pytest.raises(Invalid) as refused:
        shop.replication.laboratory.set_mode(mode)

    assert list(refused.value.fields) == ["mode"]
    assert shop.modes.mode is Mode.ASYNC


@pytest.mark.parametrize("seconds", [0, -1, 61, 1e9, math.nan, math.inf])
def test_a_timeout_that_is_none_is_refused(shop: Shop, seconds: float) -> None:
    with pytest.raises(Invalid) as refused:
        shop.replication.laboratory.set_timeout(seconds)

    assert list(refused.value.fields) == ["timeout"]
