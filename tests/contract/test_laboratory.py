"""What every laboratory promises (`contract.Laboratory`): one suite for every implementation, in real time, through the contract alone.

What an implementation says that it cannot do (`Status.unavailable`) it must refuse; everything else it must do.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.errors import Conflict, Invalid, WritesUnavailable
from shop.replication.contract import CommitState, Journey, Mode, Modes, Outcome, State
from tests.builders import a_cart, a_product, keep
from tests.contract.laboratories import LABORATORIES, Lab

DELAY = 0.4
SLACK = 3.0  # what a busy machine may add; where a test asks whether something was late, the other answer takes longer
PATIENCE = 15.0
STEPS = ["committed", "left", "arrived", "applied", "verified"]
NUMBERS = ("jitter", "bandwidth", "loss", "outage", "apply_delay", "timeout")
NONE = (float("nan"), -1.0, 1e12)


@pytest.fixture(params=sorted(LABORATORIES))
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    lab = LABORATORIES[request.param](tmp_path)
    yield lab
    lab.close()


def turn(lab: Lab, knob: str, number: float) -> None:
    """The knob of the field."""
    knobs: dict[str, Callable[[float], None]] = {
        "jitter": lab.laboratory.set_jitter,
        "bandwidth": lab.laboratory.set_bandwidth,
        "loss": lab.laboratory.set_loss,
        "outage": lab.laboratory.cut,
        "apply_delay": lab.laboratory.set_apply_delay,
        "timeout": lab.laboratory.set_timeout,
    }
    knobs[knob](number)


def why_not(lab: Lab, what: str) -> str:
    """Why this implementation has no such thing; "" where it has."""
    return lab.replication.status().unavailable.get(what, "")


def write(lab: Lab, *, size: int = 0) -> str:
    """One commit; returns the id of the record it puts."""
    record = a_product(description="x" * size) if size else a_cart()
    keep(lab.repository, record)
    return record.id


def seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_across(lab: Lab) -> bool:
    return lab.replication.status().lag.commits == 0


def wait_until_across(lab: Lab) -> None:
    wait_for(lambda: is_across(lab), "everything crosses")


def modes(lab: Lab) -> Modes:
    found = lab.replication.status().modes
    assert found is not None
    return found


# ---- the knobs


@pytest.mark.parametrize(
    ("knob", "field", "number"),
    [("jitter", "jitter_seconds", 0.5), ("bandwidth", "bandwidth", 50_000.0), ("loss", "loss_percent", 20.0)],
)
def test_a_knob_stands_where_it_was_turned_to_and_goes_back(lab: Lab, knob: str, field: str, number: float) -> None:
    if why_not(lab, knob):
        with pytest.raises(Conflict):
            turn(lab, knob, number)
        return

    turn(lab, knob, number)
    assert getattr(lab.replication.status().link, field) == number

    turn(lab, knob, 0)
    assert getattr(lab.replication.status().link, field) == 0


@pytest.mark.parametrize("knob", NUMBERS)
@pytest.mark.parametrize("number", NONE)
def test_a_number_that_is_none_for_a_knob_is_refused_on_its_field(lab: Lab, knob: str, number: float) -> None:
    before = lab.replication.status()

    with pytest.raises((Invalid, Conflict)) as refused:
        turn(lab, knob, number)

    if not (why_not(lab, knob) or (knob == "apply_delay" and before.link.apply_delay_seconds is None)):
        assert isinstance(refused.value, Invalid)
        assert set(refused.value.fields) == {knob}
    after = lab.replication.status()
    assert after.link == before.link
    assert after.modes == before.modes


def test_a_commit_crosses_no_sooner_than_the_delay_and_soon_after(lab: Lab) -> None:
    lab.replication.set_delay(DELAY)

    took = seconds(lambda: (write(lab), wait_until_across(lab)))

    assert DELAY <= took < DELAY + SLACK


def test_jitter_makes_the_way_longer_by_no_more_than_it_says(lab: Lab) -> None:
    if why_not(lab, "jitter"):
        return
    lab.replication.set_delay(DELAY)
    lab.laboratory.set_jitter(0.3)

    for _ in range(3):
        assert DELAY <= seconds(lambda: (write(lab), wait_until_across(lab))) < DELAY + 0.3 + SLACK


def test_a_narrow_link_takes_as_long_as_its_bytes_need(lab: Lab) -> None:
    if why_not(lab, "bandwidth"):
        return
    lab.laboratory.set_bandwidth(2_000)

    assert seconds(lambda: (write(lab, size=1500), wait_until_across(lab))) >= 0.7


def test_loss_loses_nothing_for_good(lab: Lab) -> None:
    if why_not(lab, "loss"):
        return
    lab.laboratory.set_loss(50)
    for _ in range(5):
        write(lab)

    wait_until_across(lab)

    assert lab.replication.verify().outcome is Outcome.IN_SYNC


def test_nothing_crosses_a_cable_that_is_cut_until_it_is_mended(lab: Lab) -> None:
    lab.laboratory.cut(600)
    write(lab)
    time.sleep(0.5)

    status = lab.replication.status()
    assert (status.state, status.lag.commits) == (State.OUTAGE, 1)
    assert status.link.is_out
    assert 500 < status.link.out_for_seconds <= 600

    lab.laboratory.mend()
    wait_until_across(lab)
    assert not lab.replication.status().link.is_out
    assert lab.replication.status().link.out_for_seconds == 0


def test_an_outage_ends_by_itself(lab: Lab) -> None:
    lab.laboratory.cut(0.5)

    took = seconds(lambda: (write(lab), wait_until_across(lab)))

    assert took < 0.5 + SLACK
    assert not lab.replication.status().link.is_out


def test_mending_a_cable_that_is_whole_changes_nothing(lab: Lab) -> None:
    lab.laboratory.mend()

    write(lab)
    wait_until_across(lab)


def test_what_has_arrived_is_applied_no_sooner_than_it_is_told_to(lab: Lab) -> None:
    if lab.replication.status().link.apply_delay_seconds is None:
        with pytest.raises(Conflict):
            lab.laboratory.set_apply_delay(DELAY)
        return
    lab.laboratory.set_apply_delay(DELAY)
    assert lab.replication.status().link.apply_delay_seconds == DELAY

    took = seconds(lambda: (write(lab), wait_until_across(lab)))

    assert DELAY <= took < DELAY + SLACK


# ---- the modes


def test_async_waits_for_nobody(lab: Lab) -> None:
    assert modes(lab).mode is Mode.ASYNC
    lab.laboratory.cut(600)

    assert seconds(lambda: write(lab)) < SLACK
    assert not is_across(lab)


@pytest.mark.parametrize("mode", ["", "fast", "SYNC"])
def test_a_mode_that_is_none_is_refused_on_its_field(lab: Lab, mode: str) -> None:
    with pytest.raises(Invalid) as refused:
        lab.laboratory.set_mode(mode)

    assert set(refused.value.fields) == {"mode"}
    assert modes(lab).mode is Mode.ASYNC


@pytest.mark.parametrize("mode", [Mode.SEMI_SYNC, Mode.SYNC])
def test_a_writer_waits_until_its_commit_is_at_the_far_side(lab: Lab, mode: Mode) -> None:
    lab.replication.set_delay(DELAY)
    lab.laboratory.set_mode(mode)

    took = seconds(lambda: write(lab))

    assert DELAY <= took < DELAY + SLACK
    if mode is Mode.SYNC:
        assert is_across(lab), "applied, and not only arrived"
    assert lab.laboratory.take_notice() == ""
    latency = next(one for one in modes(lab).latencies if one.mode is mode)
    assert latency.commits == 1
    assert latency.p50_seconds is not None and latency.p50_seconds >= DELAY


def test_semi_sync_gives_up_after_its_timeout_says_so_and_returns(lab: Lab) -> None:
    lab.laboratory.set_mode(Mode.SEMI_SYNC)
    lab.laboratory.set_timeout(0.5)
    lab.laboratory.cut(600)

    assert 0.5 <= seconds(lambda: write(lab)) < 0.5 + SLACK
    assert (modes(lab).mode, modes(lab).is_fallen_back, modes(lab).fall_backs) == (Mode.SEMI_SYNC, True, 1)
    write(lab)
    assert modes(lab).fall_backs == 1, "whoever comes then does not wait"

    lab.laboratory.mend()
    wait_for(lambda: not modes(lab).is_fallen_back, "it is semi-sync again")
    wait_until_across(lab)


def test_sync_refuses_a_write_up_front_while_the_cable_is_cut(lab: Lab) -> None:
    lab.laboratory.set_mode(Mode.SYNC)
    lab.laboratory.cut(600)
    before = lab.replication.status().primary.counts

    with pytest.raises(WritesUnavailable):
        write(lab)

    assert lab.replication.status().primary.counts == before
    assert modes(lab).turned_away == 1
    lab.laboratory.mend()
    wait_for(lambda: is_written(lab), "writes are taken again")


def is_written(lab: Lab) -> bool:
    try:
        write(lab)
    except WritesUnavailable:
        return False
    return True


def test_whoever_is_caught_midway_by_an_outage_is_told_once_that_it_is_recorded(lab: Lab) -> None:
    lab.replication.set_delay(1.0)
    lab.laboratory.set_mode(Mode.SYNC)
    notices: list[str] = []

    def write_and_listen() -> None:
        write(lab)
        notices.extend([lab.laboratory.take_notice(), lab.laboratory.take_notice()])

    writer = threading.Thread(target=write_and_listen)
    writer.start()
    wait_for(lambda: modes(lab).waiting == 1, "it waits")
    lab.laboratory.cut(600)
    writer.join(PATIENCE)

    assert len(notices) == 2
    assert "not yet at the far side" in notices[0]
    assert notices[1] == ""
    assert lab.replication.status().primary.counts["carts"] == 1
    assert modes(lab).waiting == 0


def test_who_waits_is_let_go_when_the_mode_no_longer_waits(lab: Lab) -> None:
    lab.replication.set_delay(min(600, lab.replication.status().link.delay_max_seconds))
    lab.laboratory.set_mode(Mode.SYNC)
    writer = threading.Thread(target=write, args=(lab,))
    writer.start()
    wait_for(lambda: modes(lab).waiting == 1, "it waits")

    lab.laboratory.set_mode(Mode.ASYNC)

    writer.join(PATIENCE)
    assert not writer.is_alive()
    assert modes(lab).mode is Mode.ASYNC


# ---- one commit


def newest(lab: Lab) -> tuple[int, int]:
    """Timeline and LSN of the newest commit, on its way or there."""
    status = lab.replication.status()
    commit = status.in_flight[-1] if status.in_flight else status.recent[0]
    return commit.timeline, commit.lsn


def journey(lab: Lab, place: tuple[int, int]) -> Journey:
    found = lab.laboratory.journey(*place)
    assert found is not None
    return found


def done(found: Journey) -> list[str]:
    return [step.name for step in found.steps if step.is_done]


def test_a_commit_is_followed_from_one_side_to_the_other(lab: Lab) -> None:
    lab.laboratory.cut(600)
    write(lab)
    wait_for(lambda: bool(lab.replication.status().in_flight), "it is seen")
    place = newest(lab)

    under_way = journey(lab, place)
    assert (under_way.timeline, under_way.lsn) == place
    assert under_way.state is CommitState.IN_FLIGHT
    assert under_way.summary == "cart"
    assert [(change.collection, change.is_delete) for change in under_way.changes] == [("carts", False)]
    assert [step.name for step in under_way.steps] == STEPS
    assert done(under_way)[:1] == ["committed"] and "arrived" not in done(under_way)

    lab.laboratory.mend()
    wait_until_across(lab)
    wait_for(lambda: "applied" in done(journey(lab, place)), "it is applied")
    there = journey(lab, place)
    assert there.state in (CommitState.APPLIED, CommitState.VERIFIED)
    assert done(there)[:4] == STEPS[:4]
    assert there.summary == under_way.summary


def test_a_commit_that_crossed_tells_how_long_it_took(lab: Lab) -> None:
    lab.replication.set_delay(DELAY)
    write(lab)
    wait_until_across(lab)
    wait_for(lambda: bool(lab.replication.status().recent), "it is listed")

    applied = journey(lab, newest(lab)).steps[3]

    assert applied.is_done
    assert applied.after_seconds is not None
    assert DELAY - 0.01 <= applied.after_seconds < DELAY + SLACK


def test_a_commit_that_there_is_not_has_no_journey(lab: Lab) -> None:
    write(lab)

    assert lab.laboratory.journey(1, 10**15) is None
    assert lab.laboratory.journey(99, 1) is None


def test_the_newest_commit_of_a_record_is_found(lab: Lab) -> None:
    lab.laboratory.cut(600)
    cart = a_cart()
    keep(lab.repository, cart)
    write(lab)
    keep(lab.repository, cart)
    wait_for(lambda: len(lab.replication.status().in_flight) == 3, "all are seen")

    assert lab.laboratory.commit_of("carts", cart.id) == newest(lab)
    assert lab.laboratory.commit_of("carts", "nobody's") is None


# ---- the past


def test_both_sides_are_shown_as_they_were(lab: Lab) -> None:
    if why_not(lab, "history"):
        with pytest.raises(Conflict):
            lab.laboratory.past()
        return
    lab.laboratory.cut(600)
    write(lab)
    apart = lab.laboratory.past()
    lab.laboratory.mend()
    wait_until_across(lab)
    together = lab.laboratory.past()

    assert apart is not None and together is not None
    assert (apart.primary.counts["carts"], apart.replica.counts["carts"]) == (1, 0)
    assert len(apart.differences) + apart.differences_not_shown == 1
    assert together.primary.counts == together.replica.counts
    assert list(together.differences) == []
    assert together.number > apart.number
    again = lab.laboratory.past(apart.number)
    assert again is not None and (again.primary, again.replica, again.at) == (apart.primary, apart.replica, apart.at)


def test_a_moment_that_is_not_kept_is_the_nearest_one(lab: Lab) -> None:
    if why_not(lab, "history"):
        return
    write(lab)
    wait_until_across(lab)
    last = lab.laboratory.past()
    assert last is not None

    first, latest = lab.laboratory.past(-5), lab.laboratory.past(10**9)

    assert first is not None and first.number == last.first
    assert latest is not None and latest.number == last.last
