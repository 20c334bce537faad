"""The simulated WAN between the two servers: it carries the replication stream, later.

The standby connects to the link's socket, the link to the primary's. Both ways what is read becomes a parcel, which leaves
when the one before it has left (that takes its size divided by the bandwidth), is under way for the delay, up to the jitter
longer by chance, and a round trip longer for each try that was lost. Parcels arrive in order. An outage cuts the cable: what
was under way has to leave anew when it is whole. A knob holds for what is already crossing. Only an outage holds up the
handshake, though: its five round trips of ten seconds each would teach nothing but patience.

What the link holds dies with its source: when one end closes, the other end's connection is cut and what has not arrived is
thrown away. A machine that is gone sends nothing any more; that is the lesson of the page. A server that ends in order waits until
everything has arrived, so nothing is lost by that.
"""

import asyncio
import math
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from shop.errors import Invalid

# The servers' own patience with a silent connection is 120 seconds (`server.SETTINGS`): a round trip has to stay below it.
DELAY_SECONDS_MAX = 30.0
JITTER_SECONDS_MAX = 10.0
BANDWIDTH_MIN = 1_000  # bytes a second
BANDWIDTH_MAX = 1_000_000_000
LOSS_PERCENT_MAX = 90.0
OUTAGE_SECONDS_MAX = 3600.0
ROUND_TRIP_SECONDS_MIN = 0.2  # a sender waits at least so long before it takes a try for lost (as TCP does)
TRIES_MAX = 20  # then it is let through: a stream must not stop for bad luck
PARCEL_BYTES = 16 * 1024
HELD_BYTES_MAX = 32 * 1024 * 1024  # per direction; above it the source is read no further
HANG_UP_SECONDS = 0.05  # how often a source that is not read is asked whether it is still there

_log = structlog.get_logger("wan")


class Knobs(NamedTuple):
    """What the link is set to. Replaced as a whole."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bandwidth: float = 0.0  # bytes a second; 0 = no limit
    loss_percent: float = 0.0
    open_from: float = -math.inf  # the cable is whole from this moment on (monotonic)

    @property
    def round_trip_seconds(self) -> float:
        return max(ROUND_TRIP_SECONDS_MIN, 2 * self.delay_seconds)


class Wan:
    """One link, in a thread of its own. Every method may be called from any thread."""

    def __init__(
        self, socket_path: Path, *, delay_seconds: float = 0.0, chance: Callable[[], float] = random.random
    ) -> None:
        self.socket_path = socket_path
        self._knobs = Knobs(within("delay", delay_seconds))
        self._chance = chance  # a number in [0, 1)
        self._lock = threading.Lock()  # guards the change of knobs
        self._target: Path | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wan", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._carried = 0  # by connections that are no more
        self._is_refusal_told = False  # a standby tries twice a second

    def start(self) -> None:
        """Listen; a socket that a dead process left is replaced. Raises OSError."""
        self.socket_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.socket_path))
        self.socket_path.chmod(0o600)
        listener.listen(16)
        self._thread.start()
        self._call(self._listen(listener))

    def stop(self) -> None:
        """Cut every connection and listen no more."""
        if self._thread.is_alive():
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        self.socket_path.unlink(missing_ok=True)

    @property
    def knobs(self) -> Knobs:
        return self._knobs

    @property
    def target(self) -> Path | None:
        """The socket of the server at the far end; None: nobody is let through."""
        return self._target

    @property
    def held_bytes(self) -> int:
        """Under way or waiting to leave, both ways: what dies when a source does."""
        return sum(pipe.held for connection in tuple(self._connections) for pipe in connection.pipes)

    @property
    def carried_bytes(self) -> int:
        """Arrived, both ways, since the start."""
        return self._carried + sum(pipe.carried for connection in tuple(self._connections) for pipe in connection.pipes)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def out_for(self) -> float:
        """Seconds until the cable is whole again; 0 while it is."""
        return max(0.0, self._knobs.open_from - time.monotonic())

    def direct(self, target: Path | None) -> None:
        """From now on the far end is *target*; connections to another one are cut."""
        if target != self._target:
            self._target = target
            self.drop()

    def drop(self) -> None:
        """Cut every connection; what is held is thrown away."""
        if self._thread.is_alive():
            self._call(self._drop())

    def set(
        self,
        *,
        delay: float | None = None,
        jitter: float | None = None,
        bandwidth: float | None = None,
        loss: float | None = None,
    ) -> None:
        """Turn the knobs that are given, all or none. Raises `Invalid` on the field that is out of bounds."""
        given = {
            "delay_seconds": ("delay", delay),
            "jitter_seconds": ("jitter", jitter),
            "bandwidth": ("bandwidth", bandwidth),
            "loss_percent": ("loss", loss),
        }
        self._turn(**{name: within(field, value) for name, (field, value) in given.items() if value is not None})

    def cut(self, seconds: float) -> None:
        """The cable is broken for so long, or until `mend`. Raises `Invalid`."""
        self._turn(open_from=time.monotonic() + within("outage", seconds))

    def mend(self) -> None:
        """The cable is whole; what was under way when it broke leaves now."""
        if self.out_for():
            self._turn(open_from=time.monotonic())

    def _turn(self, **changes: float) -> None:
        with self._lock:
            self._knobs = self._knobs._replace(**changes)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for connection in self._connections:
            for pipe in connection.pipes:
                pipe.changed.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        for connection in tuple(self._connections):
            connection.cut()
        while self._connections:
            await asyncio.sleep(0.001)

    async def _accept(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        target = self._target
        try:
            if target is None:
                raise ConnectionRefusedError("no far end")
            far, far_writer = await asyncio.open_unix_connection(str(target))
        except OSError as error:
            if not self._is_refusal_told:
                _log.info("the far end cannot be reached", reason=error.strerror or str(error))
            self._is_refusal_told = True
            near_writer.transport.abort()
            return
        stream = _Stream()
        there = _Pipe(near, far_writer, lambda: self._knobs, self._chance, lambda _: stream.has_begun)
        back = _Pipe(far, near_writer, lambda: self._knobs, self._chance, stream.follow)
        connection = _Connection(there, back)
        self._is_refusal_told = False
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._carried += sum(pipe.carried for pipe in connection.pipes)


class _Connection:
    """One standby's (or tool's) connection: two pipes that live and die together."""

    def __init__(self, *pipes: "_Pipe") -> None:
        self.pipes = pipes
        self._cut = asyncio.Event()

    async def run(self) -> None:
        steps = [step for pipe in self.pipes for step in (pipe.read(), pipe.deliver())]
        tasks = [asyncio.ensure_future(step) for step in (*steps, self._cut.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pipe in self.pipes:
            if self._cut.is_set():
                pipe.writer.transport.abort()
            else:
                pipe.writer.close()  # what was handed over is still sent

    def cut(self) -> None:
        self._cut.set()


class _Stream:
    """Where the handshake ends: at the first CopyBothResponse among the messages of the primary (a letter, a length, a body)."""

    def __init__(self) -> None:
        self.has_begun = False
        self._head = b""
        self._skip = 0  # bytes until the next message

    def follow(self, data: bytes) -> bool:
        """Whether *data*, the next that the primary sent, is of the stream already."""
        if self.has_begun:
            return True
        while data and not self.has_begun:
            skipped = min(self._skip, len(data))
            data, self._skip = data[skipped:], self._skip - skipped
            needed = 5 - len(self._head)
            self._head, data = self._head + data[:needed], data[needed:]
            if len(self._head) == 5:
                self.has_begun = self._head.startswith(b"W")
                self._skip = max(0, int.from_bytes(self._head[1:], "big") - 4)
                self._head = b""
        return False


class _Parcel(NamedTuple):
    data: bytes
    read_at: float
    is_streamed: bool
    jitter_luck: float
    loss_luck: float


class _Pipe:
    """One direction of a connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        knobs: Callable[[], Knobs],
        chance: Callable[[], float],
        is_streamed: Callable[[bytes], bool],
    ) -> None:
        self.writer = writer
        self.changed = asyncio.Event()  # a parcel came, a knob was turned, or there is room again
        self.held = 0
        self.carried = 0
        self._reader = reader
        self._knobs = knobs
        self._chance = chance
        self._is_streamed = is_streamed
        self._parcels: deque[_Parcel] = deque()
        self._left = -math.inf  # when the parcel before did

    async def read(self) -> None:
        """Take in what the source sends; returns when it is gone, and what had arrived by then is handed over."""
        await self._read_to_the_end()
        while self._parcels and self._times(self._parcels[0])[1] <= time.monotonic():
            await asyncio.sleep(0.001)

    async def _read_to_the_end(self) -> None:
        with suppress(OSError):
            while data := await self._reader.read(PARCEL_BYTES):
                self._parcels.append(
                    _Parcel(data, time.monotonic(), self._is_streamed(data), self._chance(), self._chance())
                )
                self.held += len(data)
                self.changed.set()
                while self.held > HELD_BYTES_MAX:
                    await asyncio.sleep(HANG_UP_SECONDS)
                    if _has_hung_up(self._reader):
                        return

    async def deliver(self) -> None:
        """Hand each parcel over when it is due; returns when nobody takes it any more."""
        with suppress(OSError):
            while True:
                self.changed.clear()
                if not self._parcels:
                    await self.changed.wait()
                    continue
                left, due = self._times(self._parcels[0])
                wait = due - time.monotonic()
                if wait > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(
                            wait
                        ):  # `wait_for` forgets a cancel that comes with what it waits for
                            await self.changed.wait()
                    continue
                self._left = left
                await self._hand_over(self._parcels.popleft().data)

    async def _hand_over(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.held -= len(data)
        self.carried += len(data)

    def _times(self, parcel: _Parcel) -> tuple[float, float]:
        """When its last byte leaves, and when it arrives unless the one before is late, as the knobs stand now."""
        knobs = self._knobs()
        left = max(parcel.read_at, self._left, knobs.open_from)
        if not parcel.is_streamed:
            return left, left
        if knobs.bandwidth:
            left += len(parcel.data) / knobs.bandwidth
        under_way = knobs.delay_seconds + knobs.jitter_seconds * parcel.jitter_luck
        under_way += knobs.round_trip_seconds * _lost_tries(parcel.loss_luck, knobs.loss_percent)
        return left, left + under_way


def within(field: str, number: float) -> float:
    """*number* if the knob *field* can be turned to it; raises `Invalid` with a sentence."""
    least, most, sentence = _BOUNDS[field]
    is_off = number == 0 and field == "bandwidth"
    if not is_off and not (math.isfinite(number) and least <= number <= most):
        raise Invalid({field: sentence.format(least, most)})
    return float(number)


_BOUNDS = {
    "delay": (0.0, DELAY_SECONDS_MAX, "Enter a delay from {0:g} to {1:g} seconds."),
    "jitter": (0.0, JITTER_SECONDS_MAX, "Enter a jitter from {0:g} to {1:g} seconds."),
    "bandwidth": (
        BANDWIDTH_MIN,
        BANDWIDTH_MAX,
        "Enter a bandwidth from {0:,.0f} to {1:,.0f} bytes a second, or 0 for no limit.",
    ),
    "loss": (0.0, LOSS_PERCENT_MAX, "Enter a loss from {0:g} to {1:g} percent."),
    "outage": (0.1, OUTAGE_SECONDS_MAX, "Enter the length of the outage: from {0:g} to {1:,.0f} seconds."),
}


def _lost_tries(luck: float, loss_percent: float) -> int:
    """How many tries are lost when each is with the same chance, whatever became of the others."""
    if not loss_percent:
        return 0
    return min(TRIES_MAX - 1, int(math.log(1.0 - luck) / math.log(loss_percent / 100.0)))


def _has_hung_up(reader: asyncio.StreamReader) -> bool:
    """Whether the source is gone although it is not being read."""
    transport = reader._transport  # type: ignore[attr-defined]
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), 0)  # a hang-up is told unasked
    return bool(poll.poll(0))
