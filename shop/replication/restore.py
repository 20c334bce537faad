"""Going back to a backup. Nothing may have the folder open.

The backup becomes the primary on a timeline of its own, above every one that the folder shows: whoever read an order number or
a position before can tell that it was of another history. The new files are made complete beside the old; then **one rename**
of the checkpoint is the restore. Before it, the old shop is whole; after it, the old journal holds only lines of a lower timeline,
which recovery passes over, and the old replica is refused by replication. What follows the rename only tidies up, and running the restore
again does no harm. The old files stay, named `.before-restore-<time>`.
"""

from collections.abc import Sequence
from pathlib import Path

from shop.clock import Clock
from shop.errors import SettingError
from shop.replication.pair import EVEN_NAME, ODD_NAME, highest_timeline_shown, next_timeline
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import State, StoreDamaged, create_store, forked, journal_path, read_snapshot
from shop.store.files import OS_FILES, Files

_BESIDE = "restore.json"
_SLICE_BYTES = 1 << 20


def restore(folder: Path, backup: Path, clock: Clock, *, files: Files = OS_FILES) -> str:
    """Make *backup* the shop in *folder*; returns a sentence for the operator.

    A crash leaves the old shop or the restored one. Raises `SettingError`, and has changed nothing, when the backup cannot be
    used; OSError when the folder cannot be written.
    """
    store_id, state = _checked(backup, files)
    timeline = _next_timeline(folder, state.position.timeline, files)
    beside = folder / _BESIDE
    store = create_store(
        beside,
        SCHEMA,
        indexes=INDEXES,
        store_id=store_id,
        snapshot=forked(state, timeline=timeline, at=clock.now()),
        clock=clock,
        files=files,
    )
    store.close()
    suffix = f".before-restore-{clock.now():%Y%m%dT%H%M%SZ}"
    kept = _keep_old(folder, suffix, files)
    _put_in_place(folder, beside, files)
    sentence = f"The shop is as it was at commit {state.position.lsn} of {backup.name}, on timeline {timeline}."
    return f"{sentence} What was there before is kept as *{suffix}." if kept else sentence


def _checked(backup: Path, files: Files) -> tuple[str, State]:
    if not files.exists(backup):
        raise SettingError(f"{backup} is not a file.")
    try:
        return read_snapshot(backup, SCHEMA, indexes=INDEXES, files=files)
    except StoreDamaged as error:
        raise SettingError(f"{error}. Nothing was changed.") from error
    except OSError as error:
        raise SettingError(f"{backup} cannot be read: {error.strerror or error}. Nothing was changed.") from error


def _next_timeline(folder: Path, of_backup: int, files: Files) -> int:
    """Above the highest that anything shows, and odd: db.json is the primary of what was restored."""
    shown = (highest_timeline_shown(folder / name, files) for name in (ODD_NAME, EVEN_NAME))
    return next_timeline(max(of_backup, *shown), ODD_NAME)


def _keep_old(folder: Path, suffix: str, files: Files) -> Sequence[Path]:
    """Each of the old files under a second name; the first stays until something new takes it."""
    kept = []
    for path in _all_files(folder):
        if files.exists(path):
            kept.append(path.with_name(path.name + suffix))
            _keep(path, kept[-1], files)
    files.sync_folder(folder)
    return kept


def _keep(path: Path, second: Path, files: Files) -> None:
    """A journal is copied: it is written in place, should a crash leave it to the next start. A checkpoint is only ever replaced."""
    if path.suffix != ".journal":
        files.link(path, second)
        return
    source, fd = files.open(path), files.create(second)
    try:
        offset = 0
        while data := files.pread(source, _SLICE_BYTES, offset):
            files.write(fd, data, offset)
            offset += len(data)
        files.sync(fd)
    finally:
        files.close(source)
        files.close(fd)


def _put_in_place(folder: Path, beside: Path, files: Files) -> None:
    """The checkpoint first: it alone decides. The replica is made anew at the next start."""
    odd = folder / ODD_NAME
    files.replace(beside, odd)
    files.sync_folder(folder)
    files.replace(journal_path(beside), journal_path(odd))
    _remove(folder / EVEN_NAME, files)
    files.sync_folder(folder)


def _remove(path: Path, files: Files) -> None:
    """A checkpoint without its journal, or a journal that holds anything without its checkpoint, would stop the next start: so each step
    is on the disk before the next."""
    journal = journal_path(path)
    if files.exists(journal):
        fd = files.open(journal)
        try:
            files.truncate(fd, 0)
            files.sync(fd)
        finally:
            files.close(fd)
    if files.exists(path):
        files.unlink(path)
        files.sync_folder(path.parent)
    if files.exists(journal):
        files.unlink(journal)


def _all_files(folder: Path) -> Sequence[Path]:
    return [file for name in (ODD_NAME, EVEN_NAME) for file in (folder / name, journal_path(folder / name))]
