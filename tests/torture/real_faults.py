"""Faults of a real disk, each in a process of its own: part of block C.

`python -m tests.torture.real_faults <name> <folder>` runs one; what is broken ends it with the reason as its last words.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from shop.store import OutcomeUnknown, Store, StoreFull, StoreReadOnly
from tests.storekit import contents, create, put, reopen
from tests.torture import full_server
from tests.torture.tally import Tally

ROOT = Path(__file__).resolve().parents[2]
FULL_DISK = "a disk of 256 kB that is full"
TMPFS_BYTES = 256 * 1024
FILE_BYTES_MAX = 64 * 1024
NOBODY = 65534
TEXT = "x" * 500
COMMITS_MAX = 5_000
SECONDS_MAX = 60


def run() -> Tally:
    tally = Tally()
    for name in CASES:
        if name == FULL_DISK and shutil.which("unshare") is None:
            tally.notes.append(f"{name} was not tried: there is no `unshare` to mount one with")
            continue
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*_room_of_its_own(name, folder), sys.executable, "-m", "tests.torture.real_faults", name, folder],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        tally.points += 1
        tally.states += 1
        if done.returncode and re.search("^unshare: |cannot be mounted", done.stderr, re.MULTILINE):
            tally.notes.append(f"{name} was not tried: {done.stderr.splitlines()[-1]}")
        elif done.returncode:
            tally.violations.append(f"{name}: {(done.stderr or 'no word').splitlines()[-1]}")
    _the_server(tally)
    return tally


def _the_server(tally: Tally) -> None:
    why_not = full_server.why_not_here()
    if why_not:
        tally.notes.append(f"the server on a disk that is full was not tried: {why_not}")
        return
    tally.points += 1
    tally.states += 1
    try:
        full_server.run()
    except AssertionError as broken:
        tally.violations.append(f"the server on a disk that is full: {broken}")


def _room_of_its_own(name: str, folder: str) -> list[str]:
    """A tmpfs that only this process sees, and that goes with it."""
    if name != FULL_DISK:
        return []
    mount = f'mount -t tmpfs -o size={TMPFS_BYTES} tmpfs "$0" || {{ echo cannot be mounted here >&2; exit 1; }}'
    return ["unshare", "-rm", "sh", "-c", f'{mount}; exec "$@"', folder]


def sell_until_refused(store: Store) -> int:
    """How many commits were acknowledged before the first that was not; it must be one that was refused for space."""
    for number in range(COMMITS_MAX):
        try:
            put(store, f"t{number}", number, name=f"{number} {TEXT}")
        except StoreFull:
            return number
    raise AssertionError("nothing was refused")


def check_resumes(store: Store, folder: Path) -> None:
    """There is space again: the store notices by itself, takes a commit, and a restart finds what readers saw."""
    store._maintain()
    assert store.is_writable, store.problem
    put(store, "again")
    store.checkpoint()
    check_same_after_restart(store, folder)


def check_same_after_restart(store: Store, folder: Path) -> None:
    assert contents(reopen(folder / "db.json")) == contents(store), "a restart finds something else"


# ---- the cases


def full_disk(folder: Path) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(TMPFS_BYTES * 3 // 4))
    store = create(folder / "db.json")
    sold = sell_until_refused(store)
    assert sold > 20, f"only {sold} commits"
    assert store.state.count("things") == sold, "reads do not go on"
    assert not store.needs_restart, store.problem
    check_same_after_a_copy(store, folder)
    ballast.unlink()
    check_resumes(store, folder)


def check_same_after_a_copy(store: Store, folder: Path) -> None:
    """A restart would write; there is no space for that, so it happens elsewhere."""
    with tempfile.TemporaryDirectory() as elsewhere:
        for name in ("db.json", "db.journal"):
            shutil.copy(folder / name, elsewhere)
        check_same_after_restart(store, Path(elsewhere))


def dev_full(folder: Path) -> None:
    """The kernel's own disk without space stands where the next checkpoint is written."""
    store = create(folder / "db.json")
    put(store, "a")
    (folder / "db.json.tmp").symlink_to("/dev/full")
    try:
        store.checkpoint()
    except OSError:
        assert not store.is_writable
    else:
        raise AssertionError("a checkpoint was written to /dev/full")
    put(store, "b")  # the journal has space
    check_resumes(store, folder)
    assert Path("/dev/full").is_char_device()


def file_size_limit(folder: Path) -> None:
    store = create(folder / "db.json")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, hard))
    sold = sell_until_refused(store)
    assert store.state.count("things") == sold, "reads do not go on"
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    check_resumes(store, folder)


def no_descriptors(folder: Path) -> None:
    """The journal is open: commits go on. The checkpoint needs another descriptor."""
    store = create(folder / "db.json")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    put(store, "a")
    store.wait_shown(1)
    assert store.shown_lsn == 0, "a checkpoint was written without a descriptor"
    assert not store.is_writable, "and nothing says so"
    put(store, "b")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    check_resumes(store, folder)


def folder_not_writable(folder: Path) -> None:
    """Root may write anywhere, so that this process gives that up first."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    store = create(folder / "db.json")
    folder.chmod(0o500)
    put(store, "a")
    store.wait_shown(1)
    assert store.shown_lsn == 0, "a file was made in a folder that is not writable"
    assert "Permission denied" in store.problem, store.problem
    folder.chmod(0o700)
    check_resumes(store, folder)


def folder_removed(folder: Path) -> None:
    """What is written to a file without a name is lost with the process: it must not be acknowledged."""
    store = create(folder / "db.json")
    put(store, "a")
    shutil.rmtree(folder)
    try:
        put(store, "b")
    except OutcomeUnknown:
        pass
    else:
        raise AssertionError("a commit was acknowledged that no restart can find")
    try:
        put(store, "c")
    except StoreReadOnly:
        pass
    else:
        raise AssertionError("and so was the next")
    assert set(contents(store)["things"]) == {"a"}, "reads do not go on"
    folder.mkdir()  # for whoever cleans up


CASES: dict[str, Callable[[Path], None]] = {
    FULL_DISK: full_disk,
    "/dev/full": dev_full,
    "a limit on the size of files": file_size_limit,
    "no descriptors": no_descriptors,
    "a folder that is not writable": folder_not_writable,
    "a folder that was removed": folder_removed,
}

if __name__ == "__main__":
    CASES[sys.argv[1]](Path(sys.argv[2]))
