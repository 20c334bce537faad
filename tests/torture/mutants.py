"""Seeded protocol bugs: each is put into the store by a small patch, and the block that ought to see it has to.

One that changes nothing a crash could show is left out, because no test can kill it: a journal that is cut after a checkpoint and
not fsynced (its lines are below the checkpoint's position, and passed over).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from shop.store import Files, StoreDamaged, opening
from shop.store.checkpoint import Header, decode_file, read_header, sync, write_big, write_file
from shop.store.journal import decode_line
from shop.store.log import Log
from shop.store.recovery import Replayed, _Run, replay
from shop.store.store import Store
from tests.torture import block_a, block_b, block_c, cuts_of_roles
from tests.torture.forgeries import signed
from tests.torture.ledger import Enough
from tests.torture.tally import Kills, Tally, progress

MINIMUM = 13

Patch = Callable[[], AbstractContextManager[Any]]


class Mutant(NamedTuple):
    """One bug, and the part of the torture that must notice it."""

    name: str
    patch: Patch
    killer: Callable[[], Tally]


def run(*, whole: bool) -> Kills:
    """A lane has every third."""
    kills = Kills()
    for mutant in mutants()[:: 1 if whole else 3]:
        progress(f"mutants: {mutant.name}")
        seen = violations_under(mutant)
        (kills.killed if seen else kills.survived).append(f"{mutant.name} ({seen[0] if seen else 'nothing was seen'})")
    return kills


def violations_under(mutant: Mutant) -> list[str]:
    with mutant.patch():
        try:
            return [text[:160] for text in mutant.killer().violations]
        except Exception as failure:  # in the middle of the work, not of a check: that is noticed as well
            return [f"{type(failure).__name__}: {failure}"[:160]]


# ---- who has to notice


def crashes(*names: str) -> Callable[[], Tally]:
    """Block A: workloads of its lane."""

    def killer() -> Tally:
        tally = Tally()
        with block_a.small_files():
            for name in names:
                tally.add(block_a.workloads(False)[name]())
        return tally

    return killer


def changes_of_roles(name: str) -> Callable[[], Tally]:
    return lambda: cuts_of_roles.workloads(False)[name]()


class _First(list[str]):
    """One violation is enough."""

    def append(self, text: str) -> None:
        super().append(text)
        raise Enough


def damage(*names: str) -> Callable[[], Tally]:
    """Block B: kinds of damage, until the first that is seen."""

    def killer() -> Tally:
        bench = block_b.Bench()
        bench.tally.violations = _First()
        with suppress(Enough):
            for replica_at in (block_b.AHEAD, block_b.BEHIND):
                healthy = block_b.Healthy(replica_at)
                for name, damages in block_b.kinds(healthy, block_b.LANE_EVERY).items():
                    for case in damages if name in names else ():
                        bench.judge(healthy, case)
        return bench.tally

    return killer


def failures() -> Tally:
    """Block C: operation after operation fails, until the first violation."""
    tally = Tally(violations=_First())
    with suppress(Enough), block_c.small_files(cut_bytes=900):
        block_c.io_faults(1, tally)
    return tally


# ---- what is put in


def patched(*targets: tuple[str, Any]) -> Patch:
    @contextmanager
    def patch() -> Iterator[None]:
        with ExitStack() as patches:
            for target, value in targets:
                patches.enter_context(mock.patch(target, value))
            yield

    return patch


def nothing(*arguments: Any, **more: Any) -> None:
    """Instead of what the protocol asks for."""


def acknowledge_first(self: Store, group: list[Any], lines: list[bytes]) -> None:
    """Publish, then fsync."""
    publish(self, group, lines)
    self._files.sync(self._log._fd)


def cut_first(self: Store, state: Any, *, is_clean: bool = False) -> None:
    """The journal is cut for a checkpoint that is yet to be written."""
    self._shown.lsn = state.position.lsn
    self._cut_journal()
    self._write_file(state, is_clean=is_clean)


def in_place(files: Files, path: Path, fill: Callable[[int], None]) -> int:
    """The file itself is written over."""
    fd = files.open(path) if files.exists(path) else files.create(path)
    files.truncate(fd, 0)
    fill(fd)
    sync(files, fd)
    return fd


def checkpoint_first(files: Files, path: Path, header: Header, state: Any, *, is_paced: bool) -> int:
    """A store is created checkpoint first, and its journal after it."""
    size = write_big(files, path, header, state, is_paced=is_paced)
    write_file(files, opening.journal_path(path), b"")
    return size


def sync_again(files: Files, fd: int) -> None:
    """An fsync that failed is tried once more."""
    try:
        files.sync(fd)
    except OSError:
        sync(files, fd)


def sync_and_go_on(files: Files, fd: int) -> None:
    with suppress(OSError):
        files.sync(fd)


def cut_tail_unsynced(self: Log, cause: OSError) -> None:
    self._files.truncate(self._fd, self.index.end)


def ship_first(self: Log, lines: list[bytes]) -> None:
    """The replica gets a group before the primary has fsynced it."""
    sides = block_a.BothSides.now
    if sides is not None and self is sides.pair.primary._log:
        sides.ship(b"".join(lines))
    append(self, lines)


def any_bad_line_is_damage(self: _Run, commit: Any) -> None:
    if self.bad is not None:
        raise StoreDamaged(self.path, self.bad.offset, "a valid line follows a bad one")


def next_number(self: _Run, commit: Any, line: bytes) -> bool:
    """Neither the chain nor the timeline is looked at."""
    return commit.lsn == self.position.lsn + 1


def any_higher_number(self: _Run, commit: Any, line: bytes) -> bool:
    """A bad record is skipped, and what follows it is applied."""
    return commit.lsn > self.position.lsn


def any_number(self: _Run, commit: Any, line: bytes) -> bool:
    """Lines that the checkpoint already holds are applied again."""
    return True


def without_crc(line: bytes, codec: Any) -> Any:
    with mock.patch("shop.store.journal.check_line", nothing):
        return decode_line(line, codec)


def header_of_any_bytes(path: Path, data: bytes) -> Header:
    return read_header(path, signed(data))


def no_witness(self: _Run, commit: Any) -> None:
    """A later line's word that an earlier one had been kept is not heard."""


def nothing_to_rewrite(path: Path, data: bytes, codec: Any, header: Header, collections: Any) -> Replayed:
    """A start trusts what it reads, and does not write it anew."""
    found = replay(path, data, codec, header, collections)
    return found._replace(applied=0, is_tidy=True)


def always_clean(path: Path, data: bytes, codec: Any) -> Any:
    header, collections = decode_file(path, data, codec)
    return header._replace(clean=True), collections


publish, append = Store._publish, Log.append
NO_FSYNC_OF_NEW_FILES = ("shop.store.checkpoint.sync", nothing)


def mutants() -> list[Mutant]:
    return [
        Mutant("no fsync of the journal", patched(("shop.store.log.sync", nothing)), crashes("commits")),
        Mutant("no fsync of a new file before its rename", patched(NO_FSYNC_OF_NEW_FILES), crashes("commits")),
        Mutant(
            "no fsync of the folder",
            patched(*[(f"shop.store.{module}.sync_folder", nothing) for module in ("checkpoint", "log", "shown")]),
            crashes("commits"),
        ),
        Mutant(
            "no fsync of the folder after a cut", patched(("shop.store.log.sync_folder", nothing)), crashes("commits")
        ),
        Mutant(
            "the journal is cut before the checkpoint's name is confirmed",
            patched(("shop.store.shown.Shown.confirm", nothing)),
            crashes("shown at once"),
        ),
        Mutant(
            "the journal is cut before the rename",
            patched(("shop.store.store.Store._write_checkpoint", cut_first)),
            crashes("commits"),
        ),
        Mutant(
            "files are rewritten in place",
            patched(*[(f"shop.store.{module}.replace_open", in_place) for module in ("checkpoint", "log", "shown")]),
            crashes("commits"),
        ),
        Mutant(
            "creation begins with the checkpoint",
            patched(("shop.store.opening.write_big", checkpoint_first), ("shop.store.opening.write_file", nothing)),
            crashes("first start"),
        ),
        Mutant(
            "acknowledged before the fsync",
            patched(("shop.store.store.Store._publish", acknowledge_first), ("shop.store.log.sync", nothing)),
            crashes("commits"),
        ),
        Mutant(
            "replicated before the fsync",
            patched(("shop.store.log.Log.append", ship_first)),
            crashes("both sides on one disk"),
        ),
        Mutant(
            "a valid line after a bad one is taken for damage",
            patched(("shop.store.recovery._Run._witness", any_bad_line_is_damage)),
            crashes("groups"),
        ),
        Mutant(
            "no CRC of a record",
            patched(("shop.store.recovery.decode_line", without_crc)),
            crashes("groups", "more commits"),
        ),
        Mutant(
            "lines of a lower timeline are applied",
            patched(("shop.store.recovery._Run._continues", next_number)),
            changes_of_roles("a backup is restored"),
        ),
        Mutant(
            "a bad record is skipped",
            patched(("shop.store.recovery._Run._continues", any_higher_number)),
            damage("flipped bytes of the journal"),
        ),
        Mutant(
            "lines below the checkpoint are applied again",
            patched(("shop.store.recovery._Run._continues", any_number)),
            damage("files"),
        ),
        Mutant(
            "no witness is heard",
            patched(("shop.store.recovery._Run._witness", no_witness)),
            damage("flipped bytes of the journal"),
        ),
        Mutant(
            "no CRC of a checkpoint",
            patched(("shop.store.checkpoint.read_header", header_of_any_bytes)),
            damage("flipped bytes of the checkpoint"),
        ),
        Mutant("a failed append leaves its tail", patched(("shop.store.log.Log._cut_tail", nothing)), failures),
        Mutant(
            "the cut of a failed append's tail is not fsynced",
            patched(("shop.store.log.Log._cut_tail", cut_tail_unsynced)),
            failures,
        ),
        Mutant("a failed fsync is tried again", patched(("shop.store.log.sync", sync_again)), failures),
        Mutant("a failed fsync is passed over", patched(("shop.store.log.sync", sync_and_go_on)), failures),
        Mutant(
            "the files are not written anew after a failed fsync",
            patched(
                ("shop.store.opening.replay", nothing_to_rewrite),
                ("shop.store.opening.decode_file", always_clean),
                ("shop.store.opening._write_journal", nothing),
            ),
            failures,
        ),
    ]
