"""The 30 fault schedules, and whether the checkers that judge them would notice."""

from collections.abc import Callable

import msgspec
import pytest

from shop.replication.link import Link
from shop.replication.replicator import Replicator
from shop.store import Position
from tests.torture import block_f, schedules, schedules_random
from tests.torture.schedules_checkers import CHECKERS, verdict
from tests.torture.schedules_history import Bound, Fault, History, Page, Seen, Still, Stranger

Break = Callable[[History], None]


def test_thirty_schedules_and_eight_checkers_find_no_violation():
    tally = block_f.run(whole=False)

    assert tally.violations == []
    assert tally.missing(block_f.MINIMUM) == []


def test_a_schedule_that_was_drawn_is_judged_by_all_as_well():
    tally = block_f.judged(schedules_random.run(1))

    assert (tally.states, tally.violations) == (8, [])


# ---- the checkers notice a history that was broken by hand


@pytest.fixture(scope="module")
def recorded() -> bytes:
    """A healthy shop, a broken cable, a replica that was refused, and an operator who helped."""
    return msgspec.msgpack.encode(schedules.other_shop("a history"))


@pytest.fixture
def history(recorded: bytes) -> History:
    """A copy that a test may break."""
    return msgspec.msgpack.decode(recorded, type=History)


def swap(series: list, index: int, /, **fields: object) -> None:
    series[index] = series[index]._replace(**fields)


def in_the_middle(history: History) -> int:
    return next(at for at, seen in enumerate(history.states) if len(seen.tokens) > 5)


def another_state(history: History) -> None:
    swap(history.states, in_the_middle(history), contents="something else")


def another_state_in_the_file(history: History) -> None:
    swap(history.shown, -1, contents="something else")


def a_state_that_nobody_made(history: History) -> None:
    swap(history.states, -1, position=Position(1, 10_000, "?"))


def a_stranger_that_changed(history: History) -> None:
    swap(history.strangers, 0, contents="something else")


def one_step_back(history: History) -> None:
    at = in_the_middle(history)
    earlier = history.states[at - 4]
    assert earlier.position.lsn < history.states[at].position.lsn
    history.states.insert(at + 1, earlier._replace(at=history.states[at].at))


def the_file_one_step_back(history: History) -> None:
    history.shown.append(history.shown[0]._replace(at=history.ended))


def seen_a_little_early(history: History) -> None:
    at = in_the_middle(history)
    for index in range(len(history.states)):
        if history.states[index].position == history.states[at].position:
            swap(history.states, index, at=history.states[index].at - 0.001)


def shown_early(history: History) -> None:
    last = history.committed[-1]
    history.shown.append(Seen(last.at, last.position, last.contents, frozenset()))
    history.shown.sort()


def never_arrived(history: History) -> None:
    last = history.committed[-1].position
    history.states[:] = [seen for seen in history.states if seen.position != last]


def arrived_late(history: History) -> None:
    last = history.committed[-1].position
    history.states[:] = [seen._replace(at=seen.at + 0.3) if seen.position == last else seen for seen in history.states]


def the_file_stood_still(history: History) -> None:
    old = history.shown[0]
    history.shown[:] = [old._replace(at=seen.at) for seen in history.shown]


def a_refused_write_is_seen(history: History) -> None:
    swap(history.states, -1, tokens=history.states[-1].tokens | {history.refused[0]})


def a_write_is_seen_before_it_was_made(history: History) -> None:
    swap(history.states, in_the_middle(history), tokens=frozenset({history.committed[-1].token}))


def a_write_is_seen_that_was_given_up(history: History) -> None:
    history.given_up.append(history.committed[-1].position)
    swap(history.states, -1, position=history.states[-1].position._replace(timeline=3))


def nobody_noticed(history: History) -> None:
    history.faults.append(Fault("the scheduler is dead", 1005.0, 1005.0, notice_by=1008.0))


def noticed_too_late(history: History) -> None:
    history.faults.append(Fault("the scheduler is dead", 1005.0, 1005.0, notice_by=1008.0, noticed=1008.1))


def moved_while_refused(history: History) -> None:
    history.stills.append(Still(history.committed[0].at, history.ended, ("refused",), "refused"))


def said_that_all_was_well(history: History) -> None:
    swap(history.stills, 0, said=("refused", "in-sync"))


def said_nothing(history: History) -> None:
    swap(history.stills, 0, said=())


def too_much_memory(history: History) -> None:
    history.bounds.append(Bound("bytes of memory", 2.0, 1.0))


def another_checksum(history: History) -> None:
    seen = history.states[-1]
    swap(history.states, -1, position=seen.position._replace(checksum="0" * 16))


def another_checksum_on_the_page(history: History) -> None:
    page = history.pages[-1]
    primary = page.said.primary._replace(position=page.said.primary.position._replace(checksum="0" * 16))
    swap(history.pages, -1, said=page.said._replace(primary=primary))


def changed_page(change: Callable[[Page], Page]) -> Break:
    def broken(history: History) -> None:
        history.pages[-1] = change(history.pages[-1])

    return broken


one_behind = changed_page(lambda page: page._replace(said=page.said._replace(behind=page.said.behind + 1)))
one_order_more = changed_page(
    lambda page: page._replace(said=page.said._replace(replica=page.said.replica._replace(counts={"orders": 1})))
)
another_size = changed_page(
    lambda page: page._replace(files=page.files._replace(primary=page.files.primary._replace(file_bytes=1)))
)

BROKEN: list[tuple[str, Break]] = [
    ("prefix", another_state),
    ("prefix", another_state_in_the_file),
    ("prefix", a_state_that_nobody_made),
    ("prefix", a_stranger_that_changed),
    ("lsn never falls", one_step_back),
    ("lsn never falls", the_file_one_step_back),
    ("not before the delay", seen_a_little_early),
    ("not before the delay", shown_early),
    ("healthy in time", never_arrived),
    ("healthy in time", arrived_late),
    ("healthy in time", the_file_stood_still),
    ("only what was committed", a_refused_write_is_seen),
    ("only what was committed", a_write_is_seen_before_it_was_made),
    ("only what was committed", a_write_is_seen_that_was_given_up),
    ("converges", never_arrived),
    ("converges", nobody_noticed),
    ("converges", noticed_too_late),
    ("converges", moved_while_refused),
    ("converges", said_that_all_was_well),
    ("converges", said_nothing),
    ("converges", too_much_memory),
    ("equal lsn, equal checksum", another_checksum),
    ("equal lsn, equal checksum", another_checksum_on_the_page),
    ("the page is what the files say", one_behind),
    ("the page is what the files say", one_order_more),
    ("the page is what the files say", another_size),
]


@pytest.mark.parametrize(("checker", "change"), BROKEN)
def test_a_checker_notices_what_is_wrong_with_a_history(history: History, checker: str, change: Break):
    assert verdict(history, checker).violations == []

    change(history)

    assert verdict(history, checker).violations


def test_each_checker_is_shown_a_broken_history():
    assert {checker for checker, _ in BROKEN} == set(CHECKERS)
    assert len(CHECKERS) == 8


@pytest.mark.parametrize("checker", [name for name in CHECKERS if name != "converges"])
def test_a_history_in_which_nothing_happened_shows_nothing(checker: str):
    empty = History(name="empty", delay=1.0, tick=1.0)

    assert verdict(empty, checker).violations == [f"empty: {checker}: there was nothing to look at"]


def test_what_a_stranger_holds_is_not_held_against_the_replica_only_while_it_is_there(history: History):
    stranger = history.strangers[0]
    history.strangers[0] = Stranger(stranger.since, stranger.since + 0.1, stranger.contents)

    assert verdict(history, "prefix").violations
    assert verdict(history, "only what was committed").violations


# ---- and they notice a program that is broken


def test_a_link_that_knows_no_delay_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Link, "crossed_before", lambda link, now: now)

    assert noticed_in(schedules.burst("mutant")) == {"not before the delay"}


def test_a_link_that_is_slower_than_it_says_is_noticed(monkeypatch: pytest.MonkeyPatch):
    due = Replicator._due
    monkeypatch.setattr(Replicator, "_due", lambda replicator, lsn: due(replicator, lsn) + 0.3)

    assert noticed_in(schedules.nothing("mutant", delay=0.2)) == {"healthy in time"}


def test_a_replicator_that_gives_up_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Replicator, "_retry_seconds", lambda replicator, attempts: 1e9)

    assert "converges" in noticed_in(schedules.raises_once("mutant"))


def test_a_replicator_that_carries_on_without_comparing_histories_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shop.replication.replicator.compare_histories", lambda primary, replica: None)
    monkeypatch.setattr("shop.replication.replicator.find_gap", lambda primary, position: None)

    assert "converges" in noticed_in(schedules.other_shop("mutant"))


def noticed_in(history: History) -> set[str]:
    return {checker for checker in CHECKERS if verdict(history, checker).violations}
