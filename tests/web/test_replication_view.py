"""What the replication page says of a status; no Flask, no store."""

import msgspec
import pytest

from shop.replication.contract import Change, CommitState, State
from shop.web.replication_view import (
    STEPS,
    VALUE_LENGTH_MAX,
    ReplicationView,
    crossing_of,
    difference_of,
    is_moving,
    seconds_text,
    size_text,
    step_of,
    view_of,
)
from tests.web.replication_fakes import (
    COUNTS,
    a_commit,
    a_difference,
    a_side,
    a_status,
    a_status_behind,
    an_applied_commit,
)


def euros(cents: int) -> str:
    return f"€{cents / 100:.2f}"


def seen(status, differences=(), limit=20) -> ReplicationView:
    return view_of(status, differences, money=euros, differences_limit=limit)


@pytest.mark.parametrize(
    ("status", "headline"),
    [
        (a_status(), "Both sides hold the same data."),
        (a_status_behind(), "3 writes are crossing to the replica; the next arrives in 0.7 s."),
        (a_status(State.PAUSED), "The link is paused. Nothing is waiting."),
        (a_status_behind(State.PAUSED), "The link is paused: 3 writes wait on the primary."),
        (a_status_behind(State.REFUSED), "Nothing is copied: the two sides no longer share one history."),
        (
            a_status_behind(State.SNAPSHOT_NEEDED),
            "The replica is too far behind to catch up by itself; it needs a fresh copy.",
        ),
    ],
    ids=["in sync", "behind", "paused, idle", "paused", "refused", "snapshot needed"],
)
def test_one_sentence_says_what_is_happening(status, headline):
    assert seen(status).headline == headline


def test_a_single_write_is_spoken_of_in_the_singular():
    status = a_status_behind(in_flight=(a_commit(due=2.34),), lag=msgspec.structs.replace(a_status().lag, commits=1))

    assert seen(status).headline == "1 write is crossing to the replica; it arrives in 2.3 s."


def test_a_failure_is_told_with_its_reason_and_the_next_try():
    status = a_status_behind(
        State.FAILING,
        retry=msgspec.structs.replace(a_status().retry, attempts=4, error="Disk full.", next_in_seconds=6.4),
    )

    view = seen(status)

    assert view.headline.endswith("the next try is in 6.4 s.")
    assert view.detail == "Attempt 4 failed: Disk full."


def test_what_is_at_risk_is_told_in_orders_and_money():
    assert seen(a_status_behind()).risk.losses == "2 orders, €123.40 and 1 edit"
    assert seen(a_status()).risk.losses == "nothing"
    assert seen(a_status()).risk.is_nothing


def test_writes_at_risk_that_are_neither_order_nor_cart_nor_edit_are_counted():
    status = a_status_behind()
    at_risk = msgspec.structs.replace(status.at_risk, commits=2, orders=0, order_cents=0, edits=0)

    assert seen(msgspec.structs.replace(status, at_risk=at_risk)).risk.losses == "2 writes"


def test_a_commit_stands_on_its_track_where_its_progress_says():
    view = seen(a_status_behind(in_flight=(a_commit(progress=0.5, due=2.5),)))

    assert [(one.step, one.mood, one.when) for one in view.travellers] == [(STEPS // 2, "moving", "2.5 s to go")]


def test_a_commit_never_stands_at_the_replica_before_it_has_arrived():
    assert step_of(1.0) == STEPS - 1
    assert step_of(7.0) == STEPS - 1
    assert step_of(-1.0) == 0
    assert seen(a_status_behind(in_flight=(a_commit(state=CommitState.ARRIVED),))).travellers[0].step == STEPS


def test_a_commit_that_has_just_arrived_stands_at_the_end_for_a_moment():
    fresh, old = an_applied_commit(1042, ago=0.5), an_applied_commit(1041, ago=30)

    view = seen(a_status(recent=(fresh, old)))

    assert [(one.lsn, one.step, one.mood) for one in view.travellers] == [(1042, STEPS, "landed")]
    assert view.is_moving


def test_of_a_long_queue_the_first_are_shown_and_the_rest_counted():
    commits = tuple(a_commit(1043 + number, progress=(39 - number) / 40) for number in range(30))
    lag = msgspec.structs.replace(a_status().lag, commits=34)

    view = seen(a_status_behind(in_flight=commits, lag=lag))

    assert [one.lsn for one in view.travellers] == [1043, 1044, 1045, 1046, 1047, 1048]
    assert view.more_travellers == "and 28 more writes behind them"
    assert len(view.bundle) == 30


def test_an_order_outweighs_the_stock_and_the_cart_of_its_commit():
    assert seen(a_status_behind()).travellers[0].kind == "order"


def test_counts_that_differ_are_marked_on_both_sides():
    view = seen(a_status_behind(primary=a_side("primary", 1045, counts={**COUNTS, "orders": 9})))

    assert [(count.name, count.note) for count in view.primary.counts if count.note] == [("orders", "2 more")]
    assert [(count.name, count.note) for count in view.replica.counts if count.note] == [("orders", "2 fewer")]


def test_idle_is_zero_in_all_three_figures():
    assert [(figure.value, figure.is_zero) for figure in seen(a_status()).figures] == [
        ("0", True),
        ("0 s", True),
        ("0 s", True),
    ]


def test_long_values_and_long_lists_of_fields_are_cut():
    fields = tuple((f"field {number}", "x" * 10_000, "") for number in range(30))

    view = difference_of(a_difference(fields=fields))

    assert len(view.fields[0].primary) == VALUE_LENGTH_MAX
    assert (len(view.fields), view.more) == (8, "and 22 fields more")


def test_a_list_of_differences_that_was_cut_says_so():
    assert seen(a_status_behind(), [a_difference()] * 2, limit=2).more_differences == "Only the first 2 are listed."
    assert seen(a_status_behind(), [a_difference()], limit=2).more_differences == ""


@pytest.mark.parametrize(
    ("status", "moves"),
    [
        (a_status(), False),
        (a_status(State.PAUSED), False),
        (a_status_behind(), True),
        (a_status_behind(State.PAUSED), True),
        (a_status(recent=(an_applied_commit(ago=1),)), True),
    ],
    ids=["idle", "paused, idle", "behind", "paused", "just arrived"],
)
def test_only_what_travels_or_counts_down_makes_the_page_move(status, moves):
    assert is_moving(status) is moves


def test_a_primary_without_writes_is_an_alarm_whatever_replication_does():
    view = seen(a_status(primary=a_side("primary", 1042, is_writable=False, problem="The last fsync failed.")))

    assert (view.tone, view.read_only) == ("alarm", "The last fsync failed.")


def test_a_record_on_its_way_is_followed_until_it_is_across():
    crossing = crossing_of(a_status_behind(), "orders", "A1-10007")

    assert not crossing.is_across
    assert crossing.sentence == "Safe here; crossing to the far side: 0.7 s to go."


def test_a_record_that_crossed_lately_is_across():
    applied = msgspec.structs.replace(an_applied_commit(), changes=(Change("orders", "A1-10006"),))

    crossing = crossing_of(a_status(recent=(applied,)), "orders", "A1-10006")

    assert crossing.is_across
    assert crossing.sentence == "Also on the far side, 5.0 s after it was written here."


def test_a_record_that_no_listed_commit_touches_is_across():
    assert crossing_of(a_status_behind(), "orders", "A1-10001").is_across


def test_a_record_in_a_queue_too_long_to_list_is_not_called_across():
    status = a_status_behind(lag=msgspec.structs.replace(a_status().lag, commits=5000))

    crossing = crossing_of(status, "orders", "A1-10001")

    assert (crossing.is_across, crossing.is_known) == (False, False)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (34.2, "34 s"), (600, "10 min"), (9000, "2 h")],
)
def test_lengths_of_time_are_told_at_a_useful_precision(seconds, words):
    assert seconds_text(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (48_213, "48.2 kB"), (480_213, "480 kB"), (5_000_000, "5.0 MB")]
)
def test_sizes_are_told_in_thousands(size, words):
    assert size_text(size) == words
