"""The link between the two servers, over real sockets: a source that sends, a standby that reads."""

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from shop.cluster.control import at_path
from shop.cluster.wan import HELD_BYTES_MAX, ROUND_TRIP_SECONDS_MIN, Knobs, Wan, _Pipe
from shop.errors import Invalid

BEGIN = b"R\0\0\0\x08\0\0\0\0W\0\0\0\x04"  # two messages of a primary: welcome, and here begins the stream
DELAY = 0.2


class Source:
    """The far end: takes one connection at a time, and sends what a test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(10)

    def accept(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.settimeout(10)
        return connection

    def close(self) -> None:
        self._listener.close()


class Line:
    """A link, what it joins, and a stream that has begun."""

    def __init__(self, folder: Path) -> None:
        self.source = Source(folder / "source")
        self.wan = Wan(folder / "wan", chance=lambda: 0.6)
        self.wan.start()
        self.wan.direct(self.source.path)
        self.near, self.far = self.connect()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        near.settimeout(10)
        near.connect(str(self.wan.socket_path))
        far = self.source.accept()
        far.sendall(BEGIN)
        assert receive(near, len(BEGIN)) == BEGIN
        return near, far

    def close(self) -> None:
        for one in (self.near, self.far, self.source):
            one.close()
        self.wan.stop()


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def wait_until(is_so) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def line() -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="antipode-wan-", dir="/tmp") as folder:  # a socket's path is short
        line = Line(Path(folder))
        yield line
        line.close()


def test_everything_crosses_whole_and_in_order_both_ways(line):
    line.wan.set(delay=0.01, jitter=0.02, loss=20)
    there, back = bytes(range(256)) * 800, b"x" * 50_000
    threading.Thread(target=line.far.sendall, args=(there,)).start()
    line.near.sendall(back)

    assert receive(line.near, len(there)) == there
    assert receive(line.far, len(back)) == back
    wait_until(lambda: line.wan.held_bytes == 0)
    assert line.wan.carried_bytes == len(BEGIN) + len(there) + len(back)


@pytest.mark.parametrize("towards", ["standby", "primary"])
def test_a_delay_holds_each_way(line, towards):
    line.wan.set(delay=DELAY)
    sender, receiver = (line.far, line.near) if towards == "standby" else (line.near, line.far)

    started = time.monotonic()
    sender.sendall(b"commit")
    assert receive(receiver, 6) == b"commit"

    assert time.monotonic() - started >= DELAY


def test_the_handshake_is_not_delayed(line):
    line.wan.set(delay=30)

    near, far = line.connect()  # would take half a minute

    far.sendall(b"stream")
    wait_until(lambda: line.wan.held_bytes == 6)
    near.close()
    far.close()


def test_a_knob_holds_for_what_is_already_crossing(line):
    line.wan.set(delay=30)
    line.far.sendall(b"commit")
    wait_until(lambda: line.wan.held_bytes == 6)

    line.wan.set(delay=0)

    assert receive(line.near, 6) == b"commit"


def test_bandwidth_makes_it_take_as_long_as_it_is_large(line):
    line.wan.set(bandwidth=100_000)

    started = time.monotonic()
    line.far.sendall(b"x" * 40_000)
    assert len(receive(line.near, 40_000)) == 40_000

    assert time.monotonic() - started >= 0.4


def test_what_is_lost_is_sent_again_a_round_trip_later(line):
    line.wan.set(loss=50)  # at the luck that all have here the first try is lost, the second is not

    started = time.monotonic()
    line.far.sendall(b"x")
    assert receive(line.near, 1) == b"x"

    assert time.monotonic() - started >= ROUND_TRIP_SECONDS_MIN


def test_nothing_crosses_a_broken_cable_until_it_is_mended(line):
    line.wan.cut(60)
    line.far.sendall(b"commit")
    line.near.sendall(b"reply")
    wait_until(lambda: line.wan.held_bytes == 11)
    line.near.settimeout(0.1)
    with pytest.raises(TimeoutError):
        line.near.recv(1)
    assert 0 < line.wan.out_for() <= 60

    line.wan.mend()

    line.near.settimeout(10)
    assert receive(line.near, 6) == b"commit"
    assert receive(line.far, 5) == b"reply"
    assert line.wan.out_for() == 0


def test_an_outage_ends_by_itself(line):
    line.wan.cut(0.2)
    line.far.sendall(b"commit")

    assert receive(line.near, 6) == b"commit"


def test_what_is_held_dies_with_its_source(line):
    line.wan.set(delay=1)
    line.far.sendall(b"never arrives")
    wait_until(lambda: line.wan.held_bytes == 13)

    line.far.close()

    assert receive(line.near, 13) == b""
    assert line.wan.held_bytes == 0


def test_what_has_arrived_when_the_source_dies_is_there(line):
    data = b"arrived" * 200_000  # more than the standby's socket takes while it does not read
    line.far.sendall(data)
    line.far.close()

    assert receive(line.near, len(data)) == data


def test_a_source_that_dies_while_the_link_is_full_takes_everything_with_it(line):
    line.wan.cut(3600)
    data = b"x" * (HELD_BYTES_MAX + 200_000)

    def send() -> None:
        with suppress(OSError):
            line.far.sendall(data)

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: line.wan.held_bytes > HELD_BYTES_MAX)

    line.far.shutdown(socket.SHUT_RDWR)
    sender.join()
    line.far.close()

    assert receive(line.near, 1) == b""
    assert line.wan.held_bytes == 0


def test_a_standby_that_goes_away_is_noticed_by_the_primary(line):
    line.near.close()

    assert receive(line.far, 1) == b""


def test_aiming_at_another_server_cuts_the_stream_and_the_next_goes_there(line):
    other = Source(line.source.path.with_name("other"))

    line.wan.direct(other.path)

    assert receive(line.near, 1) == b""
    near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    near.settimeout(10)
    near.connect(str(line.wan.socket_path))
    far = other.accept()
    far.sendall(b"R\0\0\0\x04")
    assert receive(near, 5) == b"R\0\0\0\x04"
    for one in (near, far, other):
        one.close()


@pytest.mark.parametrize("target", [None, "nobody-listens"])
def test_without_a_far_end_the_door_is_shut(line, target):
    line.wan.direct(target and line.source.path.with_name(target))

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as near:
        near.settimeout(10)
        near.connect(str(line.wan.socket_path))
        assert receive(near, 1) == b""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delay", -1),
        ("delay", 31),
        ("delay", float("nan")),
        ("jitter", 11),
        ("bandwidth", 10),
        ("bandwidth", 1e12),
        ("loss", 91),
    ],
)
def test_a_knob_out_of_bounds_is_refused_and_turns_nothing(line, field, value):
    before = line.wan.knobs

    with pytest.raises(Invalid) as refusal:
        line.wan.set(**{"delay": 1.0, field: value})

    assert list(refusal.value.fields) == [field]
    assert line.wan.knobs == before


def test_an_outage_of_no_length_is_refused(line):
    with pytest.raises(Invalid) as refusal:
        line.wan.cut(0)

    assert list(refusal.value.fields) == ["outage"]


@pytest.mark.parametrize("turns", range(4))
def test_a_cut_that_comes_together_with_a_parcel_is_a_cut(turns):
    async def cut() -> bool:
        reader = asyncio.StreamReader()
        reader.feed_data(b"commit")
        pipe = _Pipe(reader, None, lambda: Knobs(delay_seconds=10), lambda: 0.5, lambda _: True)
        reading, delivering = asyncio.ensure_future(pipe.read()), asyncio.ensure_future(pipe.deliver())
        await asyncio.sleep(0.01)
        pipe.changed.set()
        for _ in range(turns):  # of the loop, between the parcel and the cut
            await asyncio.sleep(0)
        for task in (reading, delivering):
            task.cancel()
        done, _ = await asyncio.wait((reading, delivering), timeout=1)
        delivering.cancel()
        return len(done) == 2

    with ThreadPoolExecutor(1) as apart:  # a browser in an earlier test keeps a loop in this thread
        assert apart.submit(asyncio.run, cut()).result()


def test_a_socket_below_a_long_path_is_bound_and_found(tmp_path):
    path = tmp_path / ("long" * 30) / "control.sock"
    path.parent.mkdir()

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        at_path(path, listener.bind)
        listener.listen()
        at_path(path, caller.connect)

    assert path.is_socket()
