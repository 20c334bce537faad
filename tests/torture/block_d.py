"""Block D: the real server as a process, killed, stopped, started twice, and asked to end in the middle of its work.

A point is one thing done to a process; a state is one look at what it left: the files, the ledger of the buyers, its last words.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shop.lock import read_note
from tests.e2e import raw, shop_files
from tests.e2e.buyers import Crowd, check_confirmed, check_ledger, check_replica_is_a_prefix
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until
from tests.e2e.shopper import Shopper
from tests.torture.tally import Counts, Tally, progress

MINIMUM = Counts(points=60 + 20 + 10 + 5 + 5 + 5 + 2, states=250)

BUYERS = 8
DELAY_SECONDS = 0.2
LOAD_SECONDS = (0.0, 0.3)  # how long they go on buying after the first confirmation of a round
STOP_SECONDS = 3.0
LARGE_BYTES = 5 * 1024 * 1024
SLUG = "enamel-mug-two-peaks"
STALE = ("", "{", '{"pid":1,"address":"http://127.0.0.1:1","token":"t"}', "\x00" * 5000, '{"pid":"x"}')

Case = Callable[[Path, Tally], None]


def run(*, whole: bool) -> Tally:
    tally = Tally()
    for name, case, times in (
        ("kill -9 under buyers", kills(60 if whole else 15), 1),
        ("SIGTERM under buyers", sigterm_under_buyers, 8 if whole else 1),
        ("SIGTERM, large reply", sigterm_with_a_slow_reader, 6 if whole else 1),
        ("SIGTERM, many at work", sigterm_with_many_at_work, 6 if whole else 1),
        ("SIGSTOP", stops(10 if whole else 1), 1),
        ("two starts at once", double_start, 5 if whole else 1),
        ("stale locks", stale_locks(5 if whole else 1), 1),
        ("a start while another serves", starts_beside(5 if whole else 1), 1),
        ("a fork that has the lock", fork_with_the_lock, 2 if whole else 1),
    ):
        for number in range(times):
            progress(f"D: {name} {number + 1}/{times}")
            with tempfile.TemporaryDirectory() as folder:
                try:
                    case(Path(folder), tally)
                except AssertionError as broken:
                    tally.violations.append(f"{name}: {broken}")
    return tally


# ---- kill -9


def kills(rounds: int) -> Case:
    """Again and again on the same folder, with eight buyers who send again what was never answered."""

    def case(folder: Path, tally: Tally) -> None:
        shop = ShopProcess(folder, SHOP_REPLICATION_DELAY=str(DELAY_SECONDS))
        crowd = Crowd(BUYERS)
        chance = random.Random(20261123)
        history: dict[int, str] = {}
        resent = 0
        shop.start()
        try:
            for number in range(rounds):
                progress(f"D: kill -9 {number + 1}/{rounds}")
                with crowd.buying(shop.url):
                    time.sleep(chance.uniform(*LOAD_SECONDS))  # the moment of a crash is not a condition to wait for
                    shop.kill()
                check_confirmed(shop_files.primary(shop.instance), crowd.buyers)  # shown before the answer was sent
                check_replica_is_a_prefix(shop.instance, history)
                resent += crowd.waiting()
                shop.start()
                check_ledger(shop_files.primary(shop.instance), crowd.buyers)
                tally.points += 1
                tally.states += 3
            crowd.settle(shop.url)
            check_end(shop, crowd)
            tally.states += 1
            assert crowd.confirmed() >= rounds
            assert resent >= rounds // 2, "too few orders were on their way when the server was killed"
            tally.notes.append(f"{rounds} kills, {crowd.confirmed()} orders, {resent} sent again")
        finally:
            crowd.close()
            shop.close()

    return case


def check_end(shop: ShopProcess, crowd: Crowd) -> None:
    """Both sides become equal, the server ends in order, every order that was sent is confirmed and there."""
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="the replica has caught up", every=0.05)
    assert shop.terminate() == 0
    assert shop_files.are_equal(shop.instance)
    database = shop_files.primary(shop.instance)
    check_ledger(database, crowd.buyers)
    assert crowd.confirmed() == crowd.sent() == len(database["orders"])


# ---- SIGTERM


def sigterm_under_buyers(folder: Path, tally: Tally) -> None:
    """It ends by itself with 0, what it confirmed is in the file, and nothing half-written is left."""
    shop = ShopProcess(folder, SHOP_REPLICATION_DELAY=str(DELAY_SECONDS))
    crowd = Crowd(BUYERS)
    shop.start()
    try:
        with crowd.buying(shop.url):
            code = shop.terminate()
        assert code == 0, f"exit code {code}"
        check_ledger(shop_files.primary(shop.instance), crowd.buyers)
        left = [path.name for path in shop.instance.iterdir() if path.name.endswith(".tmp")]
        assert not left, left
        shop.start()
        crowd.settle(shop.url)
        check_end(shop, crowd)
        tally.points += 1
        tally.states += 3
    finally:
        crowd.close()
        shop.close()


def sigterm_with_a_slow_reader(folder: Path, tally: Tally) -> None:
    """All bytes of a large reply, however slowly they are read."""
    with SmallServer(folder) as small, raw.connect(small.url, receive_buffer=4096) as reader:
        reader.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = reader.recv(1000)
        small.process.send_signal(signal.SIGTERM)
        wait_until(lambda: raw.is_refused(small.url), seconds=10, what="nobody is let in any more")
        reply += raw.read_all(reader)
        assert len(raw.body_of(reply)) == LARGE_BYTES, f"{len(raw.body_of(reply)):,} bytes"
        assert small.process.wait(timeout=15) == 0
    tally.points += 1
    tally.states += 2


def sigterm_with_many_at_work(folder: Path, tally: Tally) -> None:
    """More requests than threads: those at work and those in the queue are answered."""
    with SmallServer(folder) as small:
        asking = [raw.connect(small.url) for _ in range(24)]
        try:
            for connection in asking:
                connection.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until((folder / "waiting").exists, seconds=10, what="the requests are at work")
            small.process.send_signal(signal.SIGTERM)
            wait_until(lambda: raw.is_refused(small.url), seconds=10, what="nobody is let in any more")
            (folder / "go").touch()
            bodies = [raw.body_of(raw.read_all(connection)) for connection in asking]
        finally:
            for connection in asking:
                connection.close()
        assert bodies == [b"small"] * 24, f"{bodies.count(b'small')} of 24 answered"
        assert small.process.wait(timeout=15) == 0
    tally.points += 1
    tally.states += 2


class SmallServer:
    """`shop.server` with an application made for it, see `tests/e2e/small_app.py`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> "SmallServer":
        command = [sys.executable, "-m", "tests.e2e.small_app", str(self._folder)]
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        address = self._folder / "address"
        wait_until(address.exists, seconds=10, what="the small server starts")
        self.url = address.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


# ---- SIGSTOP


def stops(times: int) -> Case:
    """A machine that was suspended: what was asked meanwhile is answered after, and both sides find each other again."""

    def case(folder: Path, tally: Tally) -> None:
        shop = ShopProcess(folder, SHOP_REPLICATION_DELAY=str(DELAY_SECONDS))
        crowd = Crowd(BUYERS)
        shop.start()
        try:
            for number in range(times):
                progress(f"D: SIGSTOP {number + 1}/{times}")
                with crowd.buying(shop.url):
                    shop.signal(signal.SIGSTOP)
                    time.sleep(STOP_SECONDS)
                    before = crowd.confirmed()
                    shop.signal(signal.SIGCONT)
                    wait_until(lambda: crowd.confirmed() > before, seconds=10, what="the shop sells on")  # noqa: B023
                assert not crowd.waiting(), "an order was never answered"
                wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="equal again", every=0.02)
                check_ledger(shop_files.primary(shop.instance), crowd.buyers)
                tally.points += 1
                tally.states += 3
            check_end(shop, crowd)
            tally.states += 1
        finally:
            crowd.close()
            shop.close()

    return case


# ---- starts


def double_start(folder: Path, tally: Tally) -> None:
    """Two at the same moment on a new folder: one serves, the other says so in one line."""
    shop = ShopProcess(folder)
    two = [
        subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=shop.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        wait_until(lambda: any(one.poll() is not None for one in two), seconds=30, what="one of them gives up")
        ended = [one for one in two if one.poll() is not None]
        assert len(ended) == 1, "both ended"
        said = (ended[0].stderr.read() if ended[0].stderr else "").strip().splitlines()
        assert ended[0].returncode == 2, ended[0].returncode
        assert len(said) == 1 and str(shop.instance) in said[0], said
        (serving,) = (one for one in two if one is not ended[0])
        url = wait_until(lambda: address_of(shop, serving.pid), seconds=30, what="the other one serves")
        wait_until(lambda: is_ready(url), seconds=30, what="it is ready")
        assert buys(url)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=30) == 0
    finally:
        for one in two:
            one.kill()
            one.wait()
            if one.stderr:
                one.stderr.close()
    tally.points += 1
    tally.states += 3


def stale_locks(times: int) -> Case:
    """What a dead process left in the lock file is no obstacle, whatever it says."""

    def case(folder: Path, tally: Tally) -> None:
        shop = ShopProcess(folder)
        shop.start()
        try:
            for left in STALE[:times]:
                shop.kill()
                if left:
                    (shop.instance / "shop.lock").write_text(left)
                shop.start()
                assert buys(shop.url)
                tally.points += 1
                tally.states += 1
        finally:
            shop.close()

    return case


def starts_beside(times: int) -> Case:
    """The second one ends in one line that names the first, and the first one sells on."""

    def case(folder: Path, tally: Tally) -> None:
        shop = ShopProcess(folder)
        shop.start()
        try:
            for _ in range(times):
                second = shop.run_second()
                said = (second.stdout + second.stderr).strip().splitlines()
                assert second.returncode == 2, second.returncode
                assert len(said) == 1 and "already running" in said[0] and shop.url in said[0], said
                assert buys(shop.url)
                tally.points += 1
                tally.states += 2
        finally:
            shop.close()

    return case


FORKING = """
import os, sys, time
from pathlib import Path
from shop.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if os.fork() == 0:
    time.sleep(60)
    os._exit(0)
print("forked", flush=True)
time.sleep(60)
"""


def fork_with_the_lock(folder: Path, tally: Tally) -> None:
    """A child that outlives the holder does not keep the folder."""
    shop = ShopProcess(folder)
    shop.instance.mkdir(mode=0o700)
    holder = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(shop.instance)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert holder.stdout and holder.stdout.readline() == "forked\n"
        assert shop.run_second().returncode == 2, "it was free although the holder lived"
        holder.kill()
        holder.wait()
        shop.start()
        assert buys(shop.url)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(holder.pid, signal.SIGKILL)  # its child too
        holder.wait()
        if holder.stdout:
            holder.stdout.close()
        shop.close()
    tally.points += 1
    tally.states += 2


def address_of(shop: ShopProcess, pid: int) -> str:
    """Where process *pid* serves; "" as long as it does not."""
    note = read_note(shop.instance)
    return (note.address or "") if note and note.pid == pid else ""


def is_ready(url: str) -> bool:
    shopper = Shopper(url)
    try:
        return shopper.get("/readyz").status == 200
    finally:
        shopper.close()


def buys(url: str) -> bool:
    """Whether somebody can buy something now, all the way."""
    shopper = Shopper(url)
    try:
        return bool(shopper.buy(SLUG))
    except OSError as gone:
        raise AssertionError(f"nobody can buy: {gone}") from gone
    finally:
        shopper.close()
