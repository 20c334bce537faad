"""Operations that fail while the sides change: promotion, a side that is rebuilt, a backup that is restored. Part of block C."""

import errno
import itertools
from collections.abc import Callable
from datetime import timedelta

from structlog.testing import capture_logs

from shop.clock import ManualClock
from shop.errors import SettingError, ShopError
from shop.replication.pair import resync_from
from shop.replication.restore import restore
from shop.store import StoreError
from tests.builders import NOW
from tests.failoverkit import BY, Shop
from tests.simdisk import Disk, SimDisk, crash_states, platters
from tests.torture.cuts_of_roles import BACKUP, EVEN, FOLDER, ODD, Orders, check_goes_on
from tests.torture.faults import EVERYTHING, ONCE, Fault, FaultyDisk
from tests.torture.tally import Tally, progress

ERRORS = (errno.EIO, errno.ENOSPC)
CUTS_MAX = 6

Act = Callable[[FaultyDisk], None]


def run(step: int) -> Tally:
    """Of the operations of each change every *step*th one."""
    tally = Tally()
    orders = Orders()
    healthy = orders.disk.files()
    damaged = {**healthy, ODD: healthy[ODD][:-40] + b"x" + healthy[ODD][-39:]}
    with capture_logs():  # every failure is logged, hundreds of them
        _each(tally, "a promotion", orders, healthy, promote, step)
        _each(tally, "a rebuild of the primary", orders, damaged, rebuild, step)
        _each(tally, "a restore", orders, healthy, restore_backup, step)
    return tally


def promote(disk: FaultyDisk) -> None:
    shop = Shop(FOLDER, ManualClock(NOW), files=disk)
    disk.arm()
    shop.failover.promote(by=BY)


def rebuild(disk: FaultyDisk) -> None:
    disk.arm()
    resync_from(FOLDER, EVEN.name, ManualClock(NOW), files=disk)  # type: ignore[arg-type]


def restore_backup(disk: FaultyDisk) -> None:
    disk.arm()
    restore(FOLDER, BACKUP, ManualClock(NOW), files=disk)  # type: ignore[arg-type]


def _each(tally: Tally, name: str, orders: Orders, files: Disk, act: Act, step: int) -> None:
    reached = True
    for at in itertools.count(1, step):
        if not reached:
            break
        progress(f"C: {name}, operation {at}")
        reached = False
        for error, how_long in itertools.product(ERRORS, (ONCE, EVERYTHING)):
            disk = FaultyDisk(Fault(at, error, how_long), files, is_armed=False)
            is_done, why = _try(disk, act)
            if not disk.kind:
                continue
            reached = True
            tally.points += 1
            *_, (k, platter) = platters(disk)
            for state in (disk.files(), *itertools.islice(crash_states(platter, seed=k), CUTS_MAX)):
                tally.states += 1
                why = why or _why_broken(name, orders, state, is_done=is_done)
            if why:
                tally.violations.append(f"{name}, {disk.fault_to_come}, a {disk.kind}: {why}")


def _try(disk: FaultyDisk, act: Act) -> tuple[bool, str]:
    """Whether it said that it was done; what it raised that nobody expects."""
    try:
        act(disk)
    except (ShopError, SettingError, StoreError, OSError):
        return False, ""
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    return True, ""


def _why_broken(name: str, orders: Orders, state: Disk, *, is_done: bool) -> str:
    """The next start: before it or after it, and nothing between; a rebuild may have to be run again."""
    disk = SimDisk(state)
    later = ManualClock(NOW + timedelta(seconds=1))
    try:
        try:
            shop = Shop(FOLDER, later, files=disk)
        except SettingError as refusal:
            if is_done or "resync --from db_async.json" not in str(refusal):
                return f"the next start is refused: {refusal}"
            resync_from(FOLDER, EVEN.name, later, files=disk)  # type: ignore[arg-type]
            shop = Shop(FOLDER, later, files=disk)
        is_changed = shop.pair.primary.position.timeline > orders.old_timeline
        if is_done and not is_changed:
            return "it said that it was done, and it is not"
        if shop.numbers() != orders.numbers(is_short=is_changed):
            return f"{shop.numbers()} are there"
        if name == "a restore" and is_changed:
            restore(FOLDER, BACKUP, later, files=disk)  # type: ignore[arg-type]
            shop = Shop(FOLDER, later, files=disk)
        check_goes_on(shop, orders)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
