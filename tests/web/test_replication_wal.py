"""The replication page of a pair whose log is a write-ahead log: what only its status holds, and what it says it cannot do."""

from msgspec.structs import replace

from shop.replication.contract import CommitState, Headroom, Link, Stage, State, Status
from shop.web import replication_view
from shop.web.replication_view import ReplicationView
from tests.web.replication_fakes import a_commit, a_side, a_status, a_status_behind

NO_LINK = "The network between them is a real one."
STAGES = (
    Stage("sent", 0x16B3748, 0, 0.0),
    Stage("flushed", 0x16B3700, 72, 0.104, confirmed_seconds=0.21),
    Stage("replayed", 0x16B3000, 1864, 3.2),
)


def a_wal_status(state: State = State.BEHIND, **fields: object) -> Status:
    link = Link(delay_seconds=0.1, is_paused=state is State.PAUSED, apply_delay_seconds=3.0, pauses_replay=True)
    of_wal: dict[str, object] = {
        "link": link,
        "is_wal": True,
        "stages": STAGES,
        "primary": a_side("primary", 0x16B3748, file="a/shop", file_word="Database", journal_word="WAL"),
        "replica": a_side("replica", 0x16B3000, file="b/shop", file_word="Database", journal_word="WAL"),
    }
    return a_status_behind(state, **{**of_wal, **fields})


def view(status: Status) -> ReplicationView:
    return replication_view.view_of(status, (), money=lambda cents: f"€{cents / 100:.2f}", differences_limit=1)


def test_the_lags_stand_apart_each_with_its_place() -> None:
    shown = view(a_wal_status()).stages

    assert [(stage.name, stage.seconds, stage.place, stage.is_zero) for stage in shown] == [
        ("Sent", "0 s", "0/16B3748", True),
        ("Flushed", "104 ms", "0/16B3700", False),
        ("Replayed", "3.2 s", "0/16B3000", False),
    ]
    assert shown[1].confirmed == "The primary hears of it after 210 ms."


def test_a_stage_of_which_nothing_is_known_is_not_called_zero() -> None:
    [stage] = view(a_wal_status(stages=(Stage("sent", None, None, None),))).stages

    assert (stage.seconds, stage.size, stage.is_zero) == ("–", "not known", False)


def test_a_place_in_the_log_is_written_as_usual_and_has_no_checksum() -> None:
    side = view(a_wal_status()).primary

    assert (side.lsn, side.lsn_words) == ("0/16B3748", "place in the log")
    assert [name for name, _ in side.facts] == ["Position", "Database", "WAL"]


def test_what_has_arrived_and_waits_to_be_applied_is_not_said_to_be_crossing() -> None:
    arrived = replace(a_commit(progress=1.0, due=1.7), state=CommitState.ARRIVED)
    lag = replace(a_wal_status().lag, commits=1)
    shown = view(a_wal_status(in_flight=(arrived,), lag=lag))

    assert shown.headline == "1 write has arrived on the replica; readers there see it in 1.7 s."
    [traveller] = shown.travellers
    assert (traveller.mood, traveller.when, traveller.step) == (
        "safe",
        "arrived, applied in 1.7 s",
        replication_view.STEPS,
    )


def test_a_pause_of_replay_says_what_is_safe_although_nobody_sees_it() -> None:
    arrived = replace(a_commit(progress=1.0), state=CommitState.ARRIVED)
    shown = view(a_wal_status(State.PAUSED, in_flight=(arrived,)))

    assert shown.headline == "Replay is paused: the replica's readers do not see 3 writes yet."
    assert shown.detail == "1 write of these has arrived and would survive the primary."
    assert "kept" in shown.link_note


def test_a_primary_that_is_gone_is_the_headline() -> None:
    gone = a_wal_status()
    shown = view(replace(gone, primary=replace(gone.primary, is_reachable=False, is_writable=False, problem="gone")))

    assert shown.headline.startswith("The primary does not answer.")
    assert shown.tone == "alarm"


def test_the_log_that_is_kept_is_measured_against_what_may_be() -> None:
    kept = Headroom("standby_b", True, "reserved", kept_bytes=100, left_bytes=300)

    assert view(a_wal_status(headroom=kept)).headroom == replication_view.HeadroomView(
        sentence="A replica that comes back in time catches up from it; after a cut it would need a fresh copy.",
        percent=25,
        tone="calm",
        facts=[
            ("Kept for the replica", "100 B"),
            ("Left before it is cut", "300 B"),
            ("Slot", "standby_b, in use"),
            ("State", "reserved"),
        ],
    )
    for state, words in (("unreserved", "nearly full"), ("lost", "fresh copy")):
        alarming = view(a_wal_status(headroom=replace(kept, state=state, left_bytes=-5))).headroom
        assert alarming is not None and alarming.tone == "alarm" and words in alarming.sentence


def test_nothing_is_shown_of_what_the_status_does_not_hold() -> None:
    shown = view(a_status())

    assert (list(shown.stages), shown.headroom) == ([], None)
    assert not any(shown.not_here.values())


def test_what_cannot_be_done_here_has_its_reason() -> None:
    shown = view(a_wal_status(unavailable={"delay": NO_LINK}))

    assert shown.not_here["delay"] == NO_LINK
    assert shown.not_here["jitter"] == ""
    assert shown.link_note.startswith("A real network, as fast as it is")
