"""One process owns the folder."""

import json
import os
import subprocess
import sys

import pytest

from shop.errors import SettingError
from shop.lock import FILE_NAME, FolderInUse, FolderLock, read_note


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path):
    with FolderLock(tmp_path) as lock:
        lock.announce("http://127.0.0.1:8123")

        with pytest.raises(FolderInUse) as refused:
            FolderLock(tmp_path)

    assert "http://127.0.0.1:8123" in str(refused.value)
    assert f"pid {os.getpid()}" in str(refused.value)
    assert refused.value.note is not None
    assert refused.value.note.token == lock.token


def test_a_holder_that_does_not_serve_is_named_by_its_pid(tmp_path):
    with FolderLock(tmp_path), pytest.raises(FolderInUse, match=f"pid {os.getpid()}") as refused:
        FolderLock(tmp_path)

    assert refused.value.note is not None
    assert refused.value.note.address is None


@pytest.mark.parametrize(
    "left", ["", "{", "[]", '{"pid":"x"}', "\x00" * 5000, '{"pid":1,"address":"http://a","token":"t"}']
)
def test_what_a_dead_process_left_is_no_obstacle(tmp_path, left):
    (tmp_path / FILE_NAME).write_text(left)

    with FolderLock(tmp_path):
        assert json.loads((tmp_path / FILE_NAME).read_text()) == {"pid": os.getpid(), "address": None, "token": ""}


def test_a_released_lock_is_free_and_tells_nobody_anything(tmp_path):
    lock = FolderLock(tmp_path)
    lock.announce("http://127.0.0.1:8123")
    lock.release()
    lock.release()

    assert read_note(tmp_path) is None
    FolderLock(tmp_path).release()


def test_the_token_is_for_the_owner_only_and_new_each_time(tmp_path):
    (tmp_path / FILE_NAME).touch(mode=0o644)
    tokens = set()
    for _ in range(2):
        with FolderLock(tmp_path) as lock:
            lock.announce("http://127.0.0.1:8123")
            assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
            tokens.add(lock.token)

    assert len(tokens) == 2
    assert min(map(len, tokens)) > 40


def test_a_forked_child_does_not_keep_the_folder(tmp_path):
    lock = FolderLock(tmp_path)
    stay, go = os.pipe()
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.write(there, b"!")
        os.read(stay, 1)  # lives until the parent closes its end
        os._exit(0)
    assert os.read(here, 1) == b"!"
    lock.release()

    FolderLock(tmp_path).release()

    os.close(go)
    os.waitpid(child, 0)
    for end in (stay, here, there):
        os.close(end)


def test_a_program_that_was_started_does_not_keep_the_folder(tmp_path):
    lock = FolderLock(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()

    FolderLock(tmp_path).release()

    child.communicate(b"\n")


def test_a_forked_child_that_ends_does_not_free_the_folder(tmp_path):
    with FolderLock(tmp_path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

        with pytest.raises(FolderInUse):
            FolderLock(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_setting_error(tmp_path):
    with pytest.raises(SettingError, match="SHOP_INSTANCE"):
        FolderLock(tmp_path / "absent")
