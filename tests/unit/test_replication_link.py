"""The simulated WAN: nothing early, and nobody is woken for nothing."""

import math
import random

import pytest

from shop.errors import Invalid
from shop.replication.link import Link


@pytest.mark.parametrize("seconds", [-0.001, -5, 3600.001, 1e9, math.inf, -math.inf, math.nan])
def test_a_delay_that_is_none_is_refused_on_its_field_and_changes_nothing(seconds: float) -> None:
    link = Link(5)

    with pytest.raises(Invalid) as refused:
        link.set_delay(seconds)

    assert list(refused.value.fields) == ["delay"]
    assert link.delay_seconds == 5


@pytest.mark.parametrize("seconds", [0, 0.2, 5, 3600])
def test_any_delay_up_to_an_hour_is_taken(seconds: float) -> None:
    link = Link(1)

    link.set_delay(seconds)

    assert link.delay_seconds == seconds


def test_who_wakes_when_a_commit_is_due_finds_it_due_whatever_floats_make_of_it() -> None:
    chance = random.Random(1)
    for _ in range(20_000):
        link = Link(chance.choice([0, 0.1, 0.2, 5, chance.uniform(0, 3600)]))
        committed = chance.uniform(-1e6, 1e7)

        assert link.crossed_before(link.due(committed)) >= committed


def test_a_commit_is_not_due_before_its_delay_has_passed() -> None:
    link = Link(5)

    assert link.crossed_before(1004.999) < 1000
    assert link.due(1000) >= 1005


@pytest.mark.parametrize(("now", "progress"), [(999, 0), (1000, 0), (1002.5, 0.5), (1005, 1), (2000, 1)])
def test_progress_runs_from_the_commit_to_its_arrival(now: float, progress: float) -> None:
    assert Link(5).progress(1000, now) == progress


def test_without_a_delay_the_way_is_behind_at_once() -> None:
    assert Link(0).progress(1000, 1000) == 1
