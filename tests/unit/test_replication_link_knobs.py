"""The link with more than a delay: jitter, bandwidth, loss and outages, each on commits of a real journal."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.errors import Invalid
from shop.replication.link import Knobs, Link, chance, lost_tries, under_way_seconds
from tests.builders import NOW
from tests.replicationkit import Sides

BAD = [-0.001, -1, 1e10, math.inf, -math.inf, math.nan]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    sides = Sides(tmp_path, ManualClock(NOW))
    yield sides
    sides.pair.close()


def arrivals(sides: Sides) -> list[float]:
    """How long after now each commit arrives that is on its way."""
    first, last = sides.replica.position.lsn + 1, sides.primary.position.lsn
    return [sides.replicator.way(lsn).arrives - sides.clock.monotonic() for lsn in range(first, last + 1)]


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("knob", ["delay", "jitter", "bandwidth", "loss"])
def test_a_number_that_is_none_for_a_knob_is_refused_on_its_field_and_changes_nothing(knob: str, number: float) -> None:
    link = Link(5)
    before = link.knobs

    with pytest.raises(Invalid) as refused:
        getattr(link, f"set_{knob}")(number)

    assert list(refused.value.fields) == [knob]
    assert link.knobs == before


@pytest.mark.parametrize("seconds", [*BAD, 0])
def test_an_outage_of_no_length_is_refused(seconds: float) -> None:
    link = Link(5)

    with pytest.raises(Invalid) as refused:
        link.cut(seconds, 1000)

    assert list(refused.value.fields) == ["outage"]
    assert not link.is_out(1000)


def test_with_a_bandwidth_a_commit_takes_its_size_and_queues_behind_the_one_before(sides: Sides) -> None:
    sides.commit(3)
    size = len(sides.primary.lines(2, max_bytes=1))
    sides.link.set_bandwidth(size)

    first, second, third = arrivals(sides)

    assert first == pytest.approx(6, abs=0.1)
    assert second - first == pytest.approx(1, abs=0.05)
    assert third - second == pytest.approx(1, abs=0.05)
    assert sides.settle(6.5) == 1
    assert sides.settle(1.0) == 1


def test_with_jitter_nobody_is_early_nobody_is_later_than_it_says_and_nobody_overtakes(sides: Sides) -> None:
    sides.commit(200)
    sides.link.set_jitter(2)

    found = arrivals(sides)

    assert found == sorted(found)
    assert found[0] >= 5 and found[-1] <= 7.001
    own = [under_way_seconds(sides.link.seed, lsn, sides.link.knobs) for lsn in range(1, 201)]
    assert min(own) < 5.2 and max(own) > 6.8
    assert sides.settle(7.01) == 200


def test_each_lost_try_costs_a_round_trip_and_those_behind_wait(sides: Sides) -> None:
    sides.commit(50)
    sides.link.set_loss(30)

    found = arrivals(sides)
    tries = [sides.replicator.way(lsn).tries for lsn in range(1, 51)]

    worst = 0.0
    for arrival, count in zip(found, tries, strict=True):
        worst = max(worst, 5 + 10 * (count - 1))
        assert arrival == pytest.approx(worst, abs=0.001)
    assert max(tries) > 1


def test_as_many_tries_are_lost_as_the_knob_says() -> None:
    knobs = Knobs(5, loss_percent=25)

    lost = [lost_tries(7, lsn, knobs) for lsn in range(40_000)]

    assert sum(1 for one in lost if one) / len(lost) == pytest.approx(0.25, abs=0.01)
    assert sum(lost) / len(lost) == pytest.approx(1 / 3, abs=0.02)


def test_chance_belongs_to_the_seed_and_the_commit() -> None:
    numbers = [chance(1, lsn) for lsn in range(10_000)]

    assert numbers == [chance(1, lsn) for lsn in range(10_000)]
    assert numbers != [chance(2, lsn) for lsn in range(10_000)]
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.02)
    assert all(0 <= number < 1 for number in numbers)


def test_the_moment_of_an_arrival_does_not_depend_on_how_often_somebody_asks(sides: Sides) -> None:
    sides.link.set_jitter(3)
    sides.commit(10)
    before = [sides.replicator.way(lsn).arrives for lsn in range(1, 11)]

    sides.commit(10)
    sides.settle(6)

    left = range(sides.replica.position.lsn + 1, 11)
    assert [sides.replicator.way(lsn).arrives for lsn in left] == before[len(before) - len(left) :]


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_an_outage_holds_everything_and_what_was_under_way_leaves_anew_after_it(sides: Sides, jitter: float) -> None:
    sides.link.set_jitter(jitter)
    sides.commit(3)
    sides.clock.advance(4)
    sides.link.cut(10, sides.clock.monotonic())

    assert sides.settle(10) == 0
    assert not sides.link.is_out(sides.clock.monotonic())
    assert sides.settle(4.9) == 0
    assert sides.settle(0.7) == 3


def test_mending_the_cable_ends_the_outage_now(sides: Sides) -> None:
    sides.commit()
    sides.link.cut(1000, sides.clock.monotonic())
    sides.clock.advance(60)

    mended = sides.clock.monotonic()
    sides.link.mend(mended)

    assert sides.replicator.way(1).left == mended
    assert sides.settle(4.9) == 0
    assert sides.settle(0.2) == 1
    journey = sides.replicator.history.journey(1, 1)
    assert journey is not None
    assert journey.way.left == mended
    assert abs(sides.replicator.recent[0].lateness_seconds) < 0.001


def test_mending_a_whole_cable_does_not_send_anything_anew(sides: Sides) -> None:
    sides.commit()
    sides.clock.advance(4)

    sides.link.mend(sides.clock.monotonic())

    assert sides.settle(1.1) == 1


def test_a_knob_holds_for_what_is_already_crossing(sides: Sides) -> None:
    sides.commit(5)
    sides.link.set_bandwidth(100)
    assert sides.settle(5.5) == 0

    sides.link.set_bandwidth(0)
    sides.link.set_jitter(0.001)

    assert sides.settle(0.1) == 5


def test_after_hurrying_everything_across_nothing_queues_behind_it(sides: Sides) -> None:
    sides.link.set_bandwidth(100)
    sides.commit(20)
    assert sides.replicator.sync_all(sides.clock.monotonic()) == 20

    sides.commit()

    assert arrivals(sides)[0] < 5 + 5


def test_a_resync_starts_the_timetable_anew(sides: Sides) -> None:
    sides.link.set_bandwidth(100)
    sides.commit(20)
    arrivals(sides)
    sides.replicator.resync(sides.clock.monotonic())

    sides.commit()

    assert arrivals(sides)[0] < 5 + 5


def test_lateness_is_counted_from_the_moment_the_link_lets_it_across(sides: Sides) -> None:
    sides.link.set_jitter(5)
    sides.commit(30)

    sides.settle(11)

    assert max(abs(arrival.lateness_seconds) for arrival in sides.replicator.recent) < 0.001


def test_a_commit_needs_a_few_microseconds_of_arithmetic() -> None:
    knobs = Knobs(5, jitter_seconds=1, bandwidth=1000, loss_percent=10)
    started = time.process_time()

    for lsn in range(20_000):
        under_way_seconds(3, lsn, knobs)

    assert time.process_time() - started < 1.0
