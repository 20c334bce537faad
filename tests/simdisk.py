"""A disk in memory that remembers what was fsynced, so that a test can cut the power at any operation.

Every operation goes into a trace. `crash_states(trace, k)` gives the disks that may be found after a power cut just before operation k:
any subset of the directory changes that were not fsynced, and per file its unsynced writes torn in the ways disks tear them
(kept, lost though a later one was kept, cut short, zero-filled, garbage, any sectors of a long write missing).
"""

import errno
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
DIRECTORY_OPS_MAX = 5  # pending ones of which every subset is tried; of more, the latest
SECTORS_MAX = 6  # of one write, of which every subset is tried; of more, MASKS subsets
MASKS = 24

Disk = dict[Path, bytes]


class Inode:
    """A file's bytes: what is on the disk, and what was done to it since."""

    __slots__ = ("data", "id")

    def __init__(self, id: int, data: bytes = b"") -> None:
        self.id = id
        self.data = bytearray(data)


@dataclass(frozen=True)
class Op:
    """One operation; `note` is what the test had been promised when it began."""

    kind: str  # create, write, truncate, sync, sync_failed, replace, link, unlink, sync_folder
    inode: int = -1
    path: Path | None = None
    target: Path | None = None
    offset: int = 0
    data: bytes = b""
    note: object = None


class Fault(Exception):
    """Raised by a hook instead of an OSError when a test wants the process gone."""


class SimDisk:
    """Stands in for `shop.store.files.Files`."""

    def __init__(self, disk: Disk | None = None) -> None:
        self._ids = itertools.count(1)
        self._fds: dict[int, Inode] = {}
        self._next_fd = itertools.count(100)
        self.names: dict[Path, Inode] = {}
        self.start: Disk = dict(disk or {})
        self.start_inodes: dict[Path, int] = {}
        for path, data in self.start.items():
            inode = Inode(next(self._ids), data)
            self.names[path] = inode
            self.start_inodes[path] = inode.id
        self.trace: list[Op] = []
        self.note: Callable[[], object] = lambda: None
        self.fault: Callable[[Op, int], None] = lambda op, number: None

    def _did(self, op: Op) -> None:
        op = Op(op.kind, op.inode, op.path, op.target, op.offset, op.data, self.note())
        number = len(self.trace)
        self.fault(op, number)
        self.trace.append(op)

    def files(self) -> Disk:
        """What a process sees now."""
        return {path: bytes(inode.data) for path, inode in self.names.items()}

    # ---- the interface of Files

    def exists(self, path: Path) -> bool:
        return path in self.names

    def size(self, path: Path) -> int:
        return len(self._named(path).data)

    def read(self, path: Path) -> bytes:
        return bytes(self._named(path).data)

    def _named(self, path: Path) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return self.names[path]

    def create(self, path: Path) -> int:
        inode = Inode(next(self._ids))
        self._did(Op("create", inode.id, path))
        self.names[path] = inode
        return self._opened(inode)

    def open(self, path: Path) -> int:
        return self._opened(self._named(path))

    def _opened(self, inode: Inode) -> int:
        fd = next(self._next_fd)
        self._fds[fd] = inode
        return fd

    def close(self, fd: int) -> None:
        del self._fds[fd]

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        inode = self._fds[fd]
        self._did(Op("write", inode.id, offset=offset, data=bytes(data)))
        _overwrite(inode.data, offset, data)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return bytes(self._fds[fd].data[offset : offset + length])

    def truncate(self, fd: int, size: int) -> None:
        inode = self._fds[fd]
        self._did(Op("truncate", inode.id, offset=size))
        del inode.data[size:]

    def sync(self, fd: int) -> None:
        self._did(Op("sync", self._fds[fd].id))

    def replace(self, source: Path, target: Path) -> None:
        inode = self._named(source)
        self._did(Op("replace", inode.id, source, target))
        del self.names[source]
        self.names[target] = inode

    def link(self, source: Path, second: Path) -> None:
        inode = self._named(source)
        self._did(Op("link", inode.id, source, second))
        self.names[second] = inode

    def sync_folder(self, folder: Path) -> None:
        self._did(Op("sync_folder", path=folder))

    def make_folder(self, folder: Path) -> None:
        """Folders are always there: what is tested is their files."""

    def names_in(self, folder: Path) -> list[str]:
        return [path.name for path in self.names if path.parent == folder]

    def unlink(self, path: Path) -> None:
        self._did(Op("unlink", self._named(path).id, path))
        del self.names[path]


def _overwrite(data: bytearray, offset: int, new: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


@dataclass
class _Platter:
    """What a power cut finds: synced bytes, and what was pending."""

    names: dict[Path, int]
    data: dict[int, bytearray]
    pending: dict[int, list[Op]] = field(default_factory=dict)
    given_up: dict[int, list[Op]] = field(default_factory=dict)  # by an fsync that failed: no later one will write them
    directory: list[Op] = field(default_factory=list)

    def take(self, op: Op) -> None:
        if op.kind in ("create", "replace", "link", "unlink"):
            self.directory.append(op)
            if op.kind == "create":
                self.data[op.inode] = bytearray()
        elif op.kind in ("write", "truncate"):
            self.pending.setdefault(op.inode, []).append(op)
        elif op.kind == "sync":
            for change in self.pending.pop(op.inode, []):
                _apply(self.data[op.inode], change)
        elif op.kind == "sync_failed":
            self.given_up.setdefault(op.inode, []).extend(self.pending.pop(op.inode, []))
        else:
            _rename(self.names, [change for change in self.directory if _folder(change) == op.path])
            self.directory = [change for change in self.directory if _folder(change) != op.path]


def _folder(op: Op) -> Path:
    """The one whose fsync makes the change sure; nothing is moved from one folder to another."""
    assert op.path is not None
    return op.path.parent


def _apply(data: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del data[op.offset :]
    else:
        _overwrite(data, op.offset, op.data)


def _rename(names: dict[Path, int], ops: list[Op]) -> None:
    for op in ops:
        assert op.path is not None
        if op.kind == "create":
            names[op.path] = op.inode
        elif op.kind == "unlink":
            names.pop(op.path, None)
        elif op.kind == "link":
            assert op.target is not None
            names[op.target] = op.inode
        else:
            assert op.target is not None
            names[op.target] = op.inode
            if names.get(op.path) == op.inode:
                del names[op.path]


def platters(disk: SimDisk) -> Iterator[tuple[int, _Platter]]:
    """For each operation k of the trace, and for its end: the disk just before k."""
    platter = _Platter(
        dict(disk.start_inodes), {inode: bytearray(disk.start[path]) for path, inode in disk.start_inodes.items()}
    )
    for k, op in enumerate(disk.trace):
        yield k, platter
        platter.take(op)
    yield len(disk.trace), platter


def crash_states(platter: _Platter, seed: int) -> Iterator[Disk]:
    """Each disk that may be found; equal ones are given once."""
    seen: set[tuple[tuple[str, bytes], ...]] = set()
    chance = random.Random(seed)
    for names in _names_after(platter):
        named = set(names.values())
        variants = [_torn(platter, inode, chance) for inode in named]
        for combination in _combinations(variants):
            contents = dict(zip(named, combination, strict=True))
            state = {path: contents[inode] for path, inode in names.items()}
            key = tuple(sorted((str(path), data) for path, data in state.items()))
            if key not in seen:
                seen.add(key)
                yield state


def _names_after(platter: _Platter) -> Iterator[dict[Path, int]]:
    """Any of the last changes of a folder may be missing, and any number of the last in a row."""
    sure, unsure = platter.directory[:-DIRECTORY_OPS_MAX], platter.directory[-DIRECTORY_OPS_MAX:]
    some = ([op for op, keep in zip(unsure, kept, strict=True) if keep] for kept in _choices(len(unsure)))
    for kept in itertools.chain((sure + more for more in some), (sure[:count] for count in range(len(sure)))):
        names = dict(platter.names)
        _rename(names, kept)
        yield names


def _choices(count: int) -> Iterator[tuple[bool, ...]]:
    return itertools.product((True, False), repeat=count)


def _combinations(variants: list[list[bytes]]) -> Iterator[tuple[bytes, ...]]:
    """Each variant of each file, the others as written: files are torn independently, and one at a time shows every fault."""
    first = tuple(kinds[0] for kinds in variants)
    yield first
    for at, kinds in enumerate(variants):
        for kind in kinds[1:]:
            yield (*first[:at], kind, *first[at + 1 :])


def _torn(platter: _Platter, inode: int, chance: random.Random) -> list[bytes]:
    """The file with its unsynced changes kept, then with them lost, then with some of them lost or torn, in any order."""
    data = platter.data[inode]
    ops = platter.given_up.get(inode, []) + platter.pending.get(inode, [])
    if not ops:
        return [bytes(data)]
    kinds = [_with(data, ops), bytes(data)]
    for at, op in enumerate(ops):
        before, after = ops[:at], ops[at + 1 :]
        kinds += [_with(data, before), _with(data, [*before, *after])]
        if op.kind == "write":
            for part in _parts(op, chance):
                kinds.append(_with(data, [*before, *part]))
                if after:
                    kinds.append(_with(data, [*before, *part, *after]))
    return list(dict.fromkeys(kinds))


def _with(data: bytearray, ops: list[Op]) -> bytes:
    after = bytearray(data)
    for op in ops:
        _apply(after, op)
    return bytes(after)


def _parts(op: Op, chance: random.Random) -> Iterator[list[Op]]:
    """What may have become of one write: ended early, with what was there before behind it or zeros; garbage; some of its sectors."""
    length = len(op.data)
    if not length:
        return
    if not any(op.data):
        yield [_written(op, op.data[: length // 2])]  # zeros: where they end is all there is to tell
        return
    for cut in sorted({0, 1, length // 2, length - 1}):
        yield [_written(op, op.data[:cut])]
        yield [_written(op, op.data[:cut] + bytes(length - cut))]
    yield [_written(op, chance.randbytes(length))]
    edges = [0, *range(SECTOR - op.offset % SECTOR, length, SECTOR), length]
    sectors = list(itertools.pairwise(edges))
    if len(sectors) > 1:
        for mask in _masks(len(sectors), chance):
            yield [
                Op("write", op.inode, offset=op.offset + a, data=op.data[a:b])
                for kept, (a, b) in zip(mask, sectors, strict=True)
                if kept
            ]


def _masks(count: int, chance: random.Random) -> list[tuple[bool, ...]]:
    """Which of the sectors of a write are kept: every choice while they are few."""
    if count <= SECTORS_MAX:
        return list(itertools.product((True, False), repeat=count))
    return [tuple(chance.random() < 0.5 for _ in range(count)) for _ in range(MASKS)]


def _written(op: Op, data: bytes) -> Op:
    return Op("write", op.inode, offset=op.offset, data=data)
