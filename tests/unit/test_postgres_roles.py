"""The agreed roles: a file that only moves forward, whoever writes it and whenever the power goes."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from shop.errors import SettingError
from shop.repository.postgres.roles import Roles

SYSTEM = "7452"


class PowerCut(BaseException):
    """The machine is gone: nothing below may catch it."""


def agree(roles, primary, timeline, **more):
    return roles.advance(primary=primary, timeline=timeline, system=SYSTEM, **more)


def test_at_first_nothing_is_agreed_on_and_no_file_is_made(tmp_path):
    roles = Roles(tmp_path)

    assert (roles.primary, roles.timeline) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_what_is_agreed_on_is_kept_for_the_owner_alone_and_seen_by_every_worker(tmp_path):
    one, other = Roles(tmp_path), Roles(tmp_path)

    agree(one, 1, 2)

    assert (other.primary, other.timeline) == (1, 2)
    assert (Roles(tmp_path).primary, Roles(tmp_path).timeline) == (1, 2)
    assert (tmp_path / "cluster.json").stat().st_mode & 0o777 == 0o600


def test_a_worker_that_wakes_late_brings_nothing_back(tmp_path):
    roles = Roles(tmp_path)
    agree(roles, 1, 3)

    assert agree(roles, 0, 2).timeline == 3
    assert (roles.primary, roles.timeline) == (1, 3)


def test_another_primary_needs_a_higher_timeline_or_both_servers_to_have_been_asked(tmp_path):
    roles = Roles(tmp_path)
    agree(roles, 0, 1)

    with pytest.raises(SettingError, match="start both"):
        agree(roles, 1, 1)
    assert roles.primary == 0

    agree(roles, 1, 1, is_alone=True)
    assert roles.primary == 1
    agree(roles, 0, 2)
    assert (roles.primary, roles.timeline) == (0, 2)


def test_the_servers_of_another_database_are_refused(tmp_path):
    roles = Roles(tmp_path)
    agree(roles, 0, 1)

    with pytest.raises(SettingError, match="not those that this instance folder knows"):
        roles.advance(primary=0, timeline=9, system="another")

    assert roles.timeline == 1


def test_a_timeline_that_is_only_meant_can_be_given_up(tmp_path):
    one, other = Roles(tmp_path), Roles(tmp_path)
    agree(one, 0, 1)
    meant = one.plan(primary=1, timeline=2)
    assert (other.primary, other.timeline, meant.is_open) == (1, 2, False)

    assert other.give_up(timeline=2, primary=0, before=1)

    assert (one.primary, one.timeline, one.now().is_open) == (0, 1, True)
    assert not one.open(meant), "nobody may write on it any more"
    assert (one.primary, one.timeline) == (0, 1)


def test_a_timeline_that_was_written_on_is_not_given_up(tmp_path):
    roles = Roles(tmp_path)
    agree(roles, 0, 1)
    meant = roles.plan(primary=1, timeline=2)

    assert roles.open(meant)
    assert roles.open(meant), "the next worker finds it open"

    assert not roles.give_up(timeline=2, primary=0, before=1)
    assert (roles.primary, roles.timeline) == (1, 2)


def test_of_who_opens_a_timeline_and_who_gives_it_up_at_once_one_wins(tmp_path):
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        agree(Roles(folder), 0, 1)
        meant = Roles(folder).plan(primary=1, timeline=2)
        with ThreadPoolExecutor(2) as threads:
            opened = threads.submit(Roles(folder).open, meant)
            given_up = threads.submit(Roles(folder).give_up, timeline=2, primary=0, before=1)

        assert opened.result() != given_up.result()
        assert Roles(folder).timeline == (2 if opened.result() else 1)


def test_what_is_meant_changes_nothing_that_is_as_new(tmp_path):
    roles = Roles(tmp_path)
    agree(roles, 0, 2)

    roles.plan(primary=1, timeline=2)

    assert (roles.primary, roles.timeline, roles.now().is_open) == (0, 2, True)


def test_a_file_from_before_timelines_were_meant_is_of_one_that_is_written_on(tmp_path):
    (tmp_path / "cluster.json").write_text('{"primary": "b", "timeline": 2, "system": "7452"}')

    assert not Roles(tmp_path).give_up(timeline=2, primary=0, before=1)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_power_cut_leaves_the_old_roles_or_the_new_ones(tmp_path, monkeypatch, step):
    agree(Roles(tmp_path), 0, 1)
    with monkeypatch.context() as patched:
        stop_at(step, patched)
        with pytest.raises(PowerCut):
            agree(Roles(tmp_path), 1, 2)

    survivor = Roles(tmp_path)
    assert (survivor.primary, survivor.timeline) == ((0, 1) if step < 3 else (1, 2))
    agree(survivor, 1, 2)
    assert (survivor.primary, survivor.timeline) == (1, 2)


def stop_at(step, patched):
    """The power goes at the first fsync (the file), at the rename, or at the second fsync (its folder)."""
    steps = iter(range(1, 10))

    def counted(real):
        def call(*args):
            if next(steps) == step:
                raise PowerCut
            return real(*args)

        return call

    patched.setattr(os, "fsync", counted(os.fsync))
    patched.setattr(os, "replace", counted(os.replace))


def test_of_many_who_agree_at_once_the_highest_timeline_stays(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda timeline: agree(Roles(tmp_path), timeline % 2, timeline), range(1, 60)))

    assert (Roles(tmp_path).primary, Roles(tmp_path).timeline) == (1, 59)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"primary": "c", "timeline": 1}', '{"primary": "a", "timeline": 0}', '{"primary": 1}']
)
def test_a_file_that_cannot_be_understood_is_refused_in_one_line_and_kept(tmp_path, text):
    (tmp_path / "cluster.json").write_text(text)

    with pytest.raises(SettingError, match="cannot be understood") as refused:
        Roles(tmp_path)

    assert "\n" not in str(refused.value)
    assert (tmp_path / "cluster.json").read_text() == text
