"""`make cluster`: one process that owns the instance folder, and below it the pair, the link, the control socket and the workers.

It serves nothing itself. What it starts ends with it: in order when it is asked (workers, standby, link, primary), by itself
when it is killed. The next one finds whatever is left and goes on from there. Workers are started again when they die; a
database is not: which of the two goes on is somebody's decision.
"""

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import structlog

from shop import logs
from shop.cluster import ground
from shop.cluster.control import FILE_NAME, ClusterControl, ClusterUnreachable, ControlServer
from shop.cluster.machine import Machine
from shop.cluster.wan import DELAY_SECONDS_MAX
from shop.cluster.workers import CONNECTIONS_EACH, Workers, count_for_this_machine
from shop.config import Config, load, prepare_instance
from shop.errors import SettingError
from shop.lock import FolderInUse, FolderLock
from shop.server import bind, url_of

TURN_SECONDS = 0.2
LEFT_PORT_SECONDS_MAX = 5  # workers of a killed supervisor let go of the port at once, but not before it
STOP_SECONDS_MAX = 150

_log = structlog.get_logger("cluster")


def run(environ: Mapping[str, str], *, workers: int | None = None) -> int:
    """Run everything until SIGTERM, SIGINT or `make cluster-stop`; returns the exit code. A known problem is one line and 2."""
    try:
        logs.configure()
        config = _settings(environ)
        with FolderLock(prepare_instance(config)) as lock:
            _run(config, environ, lock, workers or count_for_this_machine())
    except KeyboardInterrupt:
        return 130
    except SettingError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or error}: {error.strerror or error}.")
    return 0


def stop(environ: Mapping[str, str]) -> int:
    """End what `run` started, from another process, and wait for it; says so when there is nothing."""
    try:
        folder = load(environ).instance
        pid = ClusterControl(folder).end()
    except SettingError as error:
        return _refuse(str(error))
    except ClusterUnreachable:
        return _say_why_not(folder)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while time.monotonic() < deadline:
        if _is_free(folder):
            sys.stdout.write("The cluster is stopped.\n")
            return 0
        time.sleep(0.05)
    return _refuse(f"The cluster in {folder} (pid {pid}) has not stopped within {STOP_SECONDS_MAX} seconds.")


def _run(config: Config, environ: Mapping[str, str], lock: FolderLock, count: int) -> None:
    ending = _Ending()
    listener = _bind(config)
    lock.announce(url_of(listener))
    where = ground.prepare(config.instance)
    settings = {"max_connections": str(max(100, 20 + CONNECTIONS_EACH * count))}
    machine = Machine(where, delay_seconds=config.replication_delay, settings=settings)
    control: ControlServer | None = None
    workers: Workers | None = None
    try:
        machine.start()
        control = ControlServer(machine, end=ending.ask)
        workers = Workers(
            count,
            listener=listener,
            token=lock.token,
            environment=_environment(environ, config, machine),
            banner=_banner(config, machine, count),
        )
        workers.start()
        _log.info("started", pid=os.getpid(), workers=workers.pids())
        ending.is_awaited = True
        turn = Turn(machine.aim, workers.tend)
        while not ending.asked.wait(TURN_SECONDS):
            turn.take()
    except KeyboardInterrupt:
        pass  # before everything was up
    finally:
        ending.is_awaited = True
        _log.info("stopping")
        listener.close()
        if workers is not None:
            workers.stop(is_hurried=ending.is_hurried)
        if control is not None:
            control.stop()
        machine.end()
        shutil.rmtree(where.sockets, ignore_errors=True)
    _log.info("stopped")


class Turn:
    """What is done a few times a second. One step that fails now (no process can be started, a link does not let go) ends nothing."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = steps
        self._told = ""

    def take(self) -> None:
        """Each step once; what is wrong is told once."""
        wrong = ""
        for step in self._steps:
            try:
                step()
            except OSError as error:
                wrong = str(error) or type(error).__name__
                if wrong != self._told:
                    _log.error("not done, tried again", step=step.__name__, why=wrong)
        self._told = wrong


class _Ending:
    """The wish to end, by a signal or over the control socket. Ctrl-C during the start breaks it off."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.is_awaited = False
        self._signals = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        self.asked.set()

    def is_hurried(self) -> bool:
        """Asked more than once."""
        return self._signals > 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.asked.set()
        if not self.is_awaited:
            self.is_awaited = True
            raise KeyboardInterrupt


def _settings(environ: Mapping[str, str]) -> Config:
    for name in ("SHOP_PRIMARY_URL", "SHOP_REPLICA_URL"):
        if environ.get(name):
            raise SettingError(
                f"{name} is set, but make cluster brings up servers of its own: unset it, or use make run."
            )
    config = load(environ)
    if config.replication_delay > DELAY_SECONDS_MAX:
        raise SettingError(
            f"SHOP_REPLICATION_DELAY is {config.replication_delay:g}, but the cluster's link delays the transport by at most"
            f" {DELAY_SECONDS_MAX:g} seconds: set less, and delay the replay on the page."
        )
    return config


def _bind(config: Config) -> socket.socket:
    was_killed = (config.instance / "cluster" / FILE_NAME).exists()
    deadline = time.monotonic() + (LEFT_PORT_SECONDS_MAX if was_killed else 0)
    while True:
        try:
            return bind(config.host, config.port)
        except SettingError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _environment(environ: Mapping[str, str], config: Config, machine: Machine) -> dict[str, str]:
    a, b = machine.urls()
    return {**environ, "SHOP_INSTANCE": str(config.instance), "SHOP_PRIMARY_URL": a, "SHOP_REPLICA_URL": b}


def _banner(config: Config, machine: Machine, count: int) -> list[tuple[str, str]]:
    state = machine.state()
    user = f", as user {state.user}" if state.user else ""
    roles = {server.role: server.side for server in (state.a, state.b)}
    lines = [("Workers", f"{count} processes")]
    for role in ("primary", "standby", "old primary"):
        if role in roles:
            folder = _near(config.instance / "cluster" / roles[role])
            lines.append((role.capitalize(), f"PostgreSQL {state.version} in {folder}{user}"))
    if "old primary" in roles:
        lines.append(("", "the old primary is down until it rejoins, on the replication page"))
    lines.append(("Link", f"streaming over a simulated WAN, {config.replication_delay:g} s each way"))
    lines.append(("Stop", "Ctrl-C here, or make cluster-stop anywhere"))
    return lines


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _is_free(folder: Path) -> bool:
    try:
        FolderLock(folder).release()
    except FolderInUse:
        return False
    return True


def _say_why_not(folder: Path) -> int:
    if not folder.is_dir() or _is_free(folder):
        sys.stdout.write(f"No cluster runs in {folder}.\n")
        return 0
    return _refuse(f"What runs in {folder} is not a cluster: stop it where it was started, with Ctrl-C.")


def _refuse(message: str) -> int:
    sys.stderr.write(f"antipode: {' '.join(message.split())}\n")
    return 2
