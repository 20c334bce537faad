"""What was read under a snapshot, kept for an equal one."""

import pytest

from shop.repository.postgres.kept import KEPT_MAX, Kept, Moment

MOMENT = Moment("7", "2026-11-23 10:00:00+00", 1, "100:100:")


def refuse() -> str:
    raise AssertionError("it is known")


def test_what_was_answered_under_an_equal_snapshot_is_not_asked_again():
    kept = Kept()

    assert kept.at(MOMENT).get("what", lambda: "that") == "that"

    assert kept.at(Moment(*MOMENT)).get("what", refuse) == "that"


def test_nothing_there_is_an_answer_too():
    kept = Kept()

    assert kept.at(MOMENT).get("what", lambda: None) is None

    assert kept.at(MOMENT).get("what", refuse) is None


def test_another_snapshot_another_timeline_another_start_and_another_system_begin_anew():
    for another in (
        MOMENT._replace(snapshot="100:101:100"),
        MOMENT._replace(timeline=2),
        MOMENT._replace(started="2026-11-23 11:00:00+00"),
        MOMENT._replace(system="8"),
    ):
        kept = Kept()
        kept.at(MOMENT).get("what", lambda: "then")

        assert kept.at(another).get("what", lambda: "now") == "now"
        assert kept.at(MOMENT).get("what", lambda: "again") == "again"


def test_whoever_still_reads_under_the_older_snapshot_keeps_its_answers():
    kept = Kept()
    older = kept.at(MOMENT)
    older.get("what", lambda: "then")

    kept.at(MOMENT._replace(snapshot="101:101:")).get("what", lambda: "now")

    assert older.get("what", refuse) == "then"


def test_a_question_that_failed_was_not_answered():
    answers = Kept().at(MOMENT)
    with pytest.raises(AssertionError):
        answers.get("what", refuse)

    assert answers.get("what", lambda: "that") == "that"


def test_under_a_standbys_snapshot_nothing_is_kept():
    assert Kept().at(None) is None


def test_answers_are_bounded():
    answers = Kept().at(MOMENT)
    for number in range(KEPT_MAX + 5):
        answers.get(number, lambda: "that")

    assert answers.get(0, refuse) == "that"
    assert answers.get(KEPT_MAX + 1, lambda: "asked again") == "asked again"
