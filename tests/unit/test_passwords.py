"""Passwords and the admin account."""

import re
import threading
import time

import pytest

from shop import passwords
from shop.admins import ADMIN_ID, arrange
from shop.passwords import generate_password, hash_password, needs_rehash, verify_password
from tests.builders import NOW

WORDS = "seven unrelated words and a comma"


def test_the_right_password_is_told_from_a_wrong_one():
    kept = hash_password(WORDS)

    assert verify_password(kept, WORDS)
    assert not verify_password(kept, WORDS + " ")
    assert not verify_password(kept, "")


def test_the_hash_is_argon2id_at_the_cost_that_the_standard_asks():
    kept = hash_password(WORDS)

    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert WORDS not in kept
    assert kept != hash_password(WORDS), "salted"
    assert not needs_rehash(kept)
    assert needs_rehash(kept.replace("t=2", "t=1"))


def test_an_unknown_user_costs_as_much_as_a_known_one():
    assert not needs_rehash(passwords._NOBODY), "made with the costs of today"
    assert not verify_password(None, WORDS)


def test_the_same_letters_composed_differently_are_the_same_password():
    assert verify_password(hash_password("Cafe\u0301 on the corner"), "Caf\u00e9 on the corner")


@pytest.mark.parametrize("odd", ["\udcff\ud800" * 6, "\0" * 12, "🂡" * 12, " " * 12])
def test_any_text_can_be_a_password(odd):
    assert verify_password(hash_password(odd), odd)


@pytest.mark.parametrize("kept", ["", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_a_hash_that_is_none_fits_no_password(kept):
    assert not verify_password(kept, WORDS)
    assert not verify_password(kept, "")


def test_an_endless_password_is_refused():
    with pytest.raises(ValueError, match="too long"):
        hash_password("x" * 1025)
    assert not verify_password(hash_password("x" * 1024), "x" * 1025)


def test_an_unknown_user_takes_as_much_work_as_a_known_one(monkeypatch):
    asked = []
    real = passwords._HASHER
    monkeypatch.setattr(passwords, "_HASHER", Recorder(real, asked))

    assert not verify_password(None, WORDS)

    assert len(asked) == 1
    assert asked[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")


class Recorder:
    def __init__(self, real, asked):
        self.real, self.asked = real, asked

    def verify(self, kept, password):
        self.asked.append(kept)
        return self.real.verify(kept, password)


def test_two_are_hashed_at_once_and_the_others_wait(monkeypatch):
    """A flood of logins takes 38 MiB and two cores, whatever its size."""
    now, most, guard = 0, 0, threading.Lock()

    class Slow:
        def hash(self, data):
            nonlocal now, most
            with guard:
                now += 1
                most = max(most, now)
            time.sleep(0.005)
            with guard:
                now -= 1
            return ""

    monkeypatch.setattr(passwords, "_HASHER", Slow())
    threads = [threading.Thread(target=hash_password, args=(WORDS,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 2


def test_a_generated_password_can_be_read_out():
    made = {generate_password() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){3}[a-hjkmnp-z2-9]{5}", one) for one in made)


# ---- the account


def test_the_first_start_makes_up_a_password_and_later_ones_leave_it(repository):
    with repository.update() as unit:
        made = arrange(unit, "", now=NOW)
    with repository.update() as unit:
        again = arrange(unit, "", now=NOW)

    assert made
    assert again == ""
    assert verify_password(kept_hash(repository), made)


def test_the_setting_wins_at_each_start(repository):
    for setting in (WORDS, "another handful of words"):
        with repository.update() as unit:
            assert arrange(unit, setting, now=NOW) == ""
        assert verify_password(kept_hash(repository), setting)


def test_a_setting_that_holds_already_is_not_written_again(repository):
    with repository.update() as unit:
        arrange(unit, WORDS, now=NOW)
    before = repository.store.position
    with repository.update() as unit:
        arrange(unit, WORDS, now=NOW)

    assert repository.store.position == before


def kept_hash(repository):
    with repository.view() as unit:
        return unit.admin(ADMIN_ID).password_hash
