"""One PostgreSQL server in a folder: make, start, stop, kill, and know what it is while it does not run.

Its configuration is outside the data directory (`ground.py`), so that no rewind and no base backup brings the other side's.
What `ALTER SYSTEM` wrote is inside, and is taken away when a server joins as a standby.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg

from shop.cluster import launch
from shop.cluster.ground import ADMIN, PORT, SHOP, STANDBY, Ground, url
from shop.errors import SettingError

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
LOG_BYTES_MAX = 5 * 1024 * 1024

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "wal_level": "replica",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_keep_size": "64MB",  # so that an old primary finds what it missed and a rewind is enough
    "max_slot_wal_keep_size": "512MB",  # a standby that stays away cannot fill the disk
    "max_wal_size": "512MB",
    "wal_sender_timeout": "120s",  # the link may be slow; one that dies is noticed at once, because its socket closes
    "wal_receiver_timeout": "120s",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "500ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
}


class StopMode(StrEnum):
    """How a server ends; the value is PostgreSQL's word for it."""

    FAST = "fast"  # rolls back what runs, writes a checkpoint
    IMMEDIATE = "immediate"  # no checkpoint: the next start recovers, as after a crash


_SIGNALS = {StopMode.FAST: signal.SIGINT, StopMode.IMMEDIATE: signal.SIGQUIT}


class PostgresServer:
    """The server *name* of *ground*. One thread at a time."""

    def __init__(self, ground: Ground, name: str, *, settings: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.ground = ground
        self.folder = ground.folder / name
        self.data = self.folder / "data"
        self.sockets = ground.sockets / name
        self.upstream: Path | None = None  # the folder of the socket from which it streams while it is a standby
        self.is_alone = False
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        ground.make_folder(self.folder, for_database=False)

    # What it is

    @property
    def exists(self) -> bool:
        """There is a database that was finished."""
        return (self.data / "PG_VERSION").exists()

    @property
    def pid(self) -> int | None:
        """The postmaster's, while it runs; having asked, a dead one is no zombie any more."""
        process = self._process  # another thread may just end it
        return process.pid if process is not None and process.poll() is None else None

    @property
    def is_running(self) -> bool:
        return self.pid is not None

    @property
    def is_ready(self) -> bool:
        """It takes connections."""
        note, pid = self._postmaster_note(), self.pid
        return pid is not None and len(note) > 7 and note[7].strip() == "ready" and note[0] == str(pid)

    @property
    def is_standby(self) -> bool:
        """It follows, or will when it is started. A promotion that is complete has taken the sign away."""
        return (self.data / "standby.signal").exists()

    def timeline(self) -> int:
        """The highest that it has begun: each but the first leaves a file, which also goes to whoever follows.

        The control file is no help: right after a promotion it still tells the old one.
        """
        return max((int(path.stem, 16) for path in (self.data / "pg_wal").glob("????????.history")), default=1)

    def system_identifier(self) -> str:
        """Equal for a primary and what was copied from it."""
        return self.control_data()["Database system identifier"]

    def control_data(self) -> dict[str, str]:
        """What `pg_controldata` tells, running or not."""
        said = launch.run(
            [self.ground.programs["pg_controldata"], self.data], account=self.ground.account, environment=_environment()
        )
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}

    @property
    def _socket_folder(self) -> Path:
        return self.ground.sockets / f"alone-{self.name}" if self.is_alone else self.sockets

    def url(self, role: str = SHOP, database: str = SHOP) -> str:
        """For whoever connects; holds the password."""
        return url(self._socket_folder, role, self.ground.passwords[role], database)

    @contextmanager
    def connect(self, database: str = "postgres") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """As the server's own administrator, each statement for itself. Raises `psycopg.OperationalError`.

        It never waits for a standby: what it does may be needed before there is one.
        """
        options = "-c synchronous_commit=local"
        with psycopg.connect(
            self.url(ADMIN, database), autocommit=True, connect_timeout=10, options=options
        ) as connection:
            yield connection

    def wal_needed(self) -> str:
        """The WAL segment, without its timeline, with which a stopped standby goes on at the latest; later ones are its own."""
        known = self.control_data()
        places = (known["Minimum recovery ending location"], known["Latest checkpoint location"])
        high, low = next(place for place in places if place != "0/0").split("/")
        size = int(known["Bytes per WAL segment"])
        segment = ((int(high, 16) << 32 | int(low, 16)) - 1) // size  # a segment that is still empty need not be there
        per_file_group = (1 << 32) // size
        return f"{segment // per_file_group:08X}{segment % per_file_group:08X}"

    def has_wal(self, segment: str) -> bool:
        """Whether it still keeps *segment*, of any timeline."""
        return any((self.data / "pg_wal").glob(f"????????{segment}"))

    # Make

    def create(self, *, sync: bool = True) -> None:
        """An empty database cluster with checksums; a crash leaves it whole or not there. *sync* off: for tests."""
        fresh = self.begin_fresh()
        password = self.folder / "initial-password"
        self.ground.write_for_database(password, self.ground.passwords[ADMIN])
        try:
            self._initdb(fresh, password, sync=sync)
        finally:
            password.unlink()
        self.finish_fresh(fresh)

    def begin_fresh(self) -> Path:
        """An empty folder beside the data, for what is to replace it."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self.ground.make_folder(fresh, for_database=True)
        return fresh

    def finish_fresh(self, fresh: Path) -> None:
        """Put *fresh* where the data is. Call it with the server stopped."""
        self.mark_suspect()  # half of it gone, perhaps its sign as a standby first, it would be taken for something else
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.replace(self.data)
        self.mark_sound()

    def mark_suspect(self) -> None:
        """Say that the data is being rewritten: whoever finds the mark does not trust it."""
        (self.folder / "suspect").touch(mode=0o600)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)

    def mark_sound(self) -> None:
        (self.folder / "suspect").unlink(missing_ok=True)

    @property
    def is_suspect(self) -> bool:
        return (self.folder / "suspect").exists()

    def become_standby(self, data: Path | None = None) -> None:
        """Follow from the next start on, and forget what `ALTER SYSTEM` said to the one that it was copied from.

        *data*: of a copy that is still beside. The sign is durable: without it a copy of the primary is taken for one.
        """
        data = data or self.data
        (data / "postgresql.auto.conf").unlink(missing_ok=True)
        for path, how in ((data / "standby.signal", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW), (data, os.O_DIRECTORY)):
            sign = os.open(path, how, 0o600)
            os.fsync(sign)
            os.close(sign)
        self.ground.give(data / "standby.signal")

    # Start and end

    def start(self, *, alone: bool = False, seconds_max: float = START_SECONDS_MAX) -> None:
        """Start it and wait until it takes connections; a standby without its primary may need that one first.

        *alone*: read-only, without its sign as a standby being looked at by anybody, under an address that the shop does not
        know. Raises `SettingError` with the server's own words when it ends at once or is not ready in time.
        """
        if self.is_running:
            return
        self._end_leftovers()
        self.is_alone = alone
        self.configure()
        with self._open_log() as log:
            before = log.tell()
            self._process = launch.start(
                [self.ground.programs["postgres"], "-D", self.data, "-c", f"config_file={self.folder}/postgresql.conf"],
                account=self.ground.account,
                when_orphaned=signal.SIGQUIT,
                output=log,
                environment=_environment(),
            )
        may_wait = self._await_ready(seconds_max) or (self.is_running and self.is_standby)
        if not may_wait:
            why = self._why_not(before)
            self.kill()
            raise SettingError(f"PostgreSQL {self.name} did not start: {why} (more in {self.folder / 'log'})")

    def configure(self) -> None:
        """Write its configuration as it is now; a running server takes it with `reload`."""
        settings = {**SETTINGS, **self._settings, "cluster_name": self.name}
        settings["unix_socket_directories"] = str(self._socket_folder)
        settings["hba_file"] = str(self.folder / "pg_hba.conf")
        settings["ident_file"] = str(self.folder / "pg_ident.conf")
        if self.upstream:
            settings["primary_conninfo"] = (
                f"host={self.upstream} port={PORT} user={STANDBY} passfile={self.folder / 'passfile'}"
                f" application_name={self.name} connect_timeout=10"
            )
            settings["primary_slot_name"] = slot_of(self.name)
        if self.is_alone:
            settings |= {"default_transaction_read_only": "on", "autovacuum": "off", "primary_conninfo": ""}
        write = self.ground.write_for_database
        write(self.folder / "passfile", f"*:*:*:{STANDBY}:{self.ground.passwords[STANDBY]}\n")
        write(self.folder / "pg_ident.conf", "")
        write(self.folder / "pg_hba.conf", _rules(alone=self.is_alone))
        text = "".join(f"{name} = '{_quoted(value)}'\n" for name, value in settings.items())
        write(self.folder / "postgresql.conf", f"# Written at each start; changes belong into ALTER SYSTEM.\n{text}")

    def reload(self) -> None:
        """Let it read its configuration again."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def stop(self, mode: StopMode = StopMode.FAST, *, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """End it; one that does not end in time is ended as by a power cut, which costs nothing that was committed."""
        process = self._process
        if process is None:
            return
        process.send_signal(_SIGNALS[mode])
        try:
            process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
        self.is_alone = False

    def kill(self) -> None:
        """As when the machine dies: every process of it, at once, with no word; returns when all are gone."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            self._process = None
        self.is_alone = False
        _end_all_in(self.data, seconds_max=10)

    def _initdb(self, fresh: Path, password: Path, *, sync: bool) -> None:
        command: list[str | Path] = [self.ground.programs["initdb"], "-D", fresh, "-U", ADMIN, f"--pwfile={password}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"]
        if not sync:
            command += ["--no-sync", "--wal-segsize=1"]
        if self.ground.programs.major >= 17:  # needs no locale of the machine
            command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            launch.run(command, account=self.ground.account, environment=_environment())
            return
        try:
            launch.run([*command, "--locale=C.UTF-8"], account=self.ground.account, environment=_environment())
        except launch.ToolFailed:  # this machine has no such locale: the case of letters beyond ASCII is then not known
            self.begin_fresh()
            launch.run([*command, "--locale=C"], account=self.ground.account, environment=_environment())

    def _await_ready(self, seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline and self.is_running:
            if self.is_ready:
                return True
            time.sleep(0.01)
        return self.is_ready

    def _why_not(self, offset: int) -> str:
        with open(self.folder / "log", "rb") as log:
            log.seek(offset)
            lines = log.read().decode(errors="replace").splitlines()
        if self.is_running:
            return "it was not ready in time"
        telling = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return re.sub(r"^.*?(FATAL|PANIC):\s*", "", telling[0] if telling else " ".join(lines))

    def _open_log(self) -> Any:
        path = self.folder / "log"
        with suppress(FileNotFoundError):
            if path.stat().st_size > LOG_BYTES_MAX:
                path.replace(path.with_name("log.1"))
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _postmaster_note(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _end_leftovers(self) -> None:
        """What a supervisor that died left: its server ends by itself at once, but perhaps not before we come.

        On Linux a note without a server is taken away as well: its number may be another program's by now, for which
        PostgreSQL would wait for ever.
        """
        if sys.platform != "linux":
            return
        _end_all_in(self.data, seconds_max=10)
        notes = [self.data / "postmaster.pid", *self._socket_folder.glob(".s.PGSQL.*")]
        for note in notes:
            note.unlink(missing_ok=True)


def slot_of(side: str) -> str:
    """The name of the slot from which *side* streams."""
    return f"standby_{side}"


def _rules(*, alone: bool) -> str:
    """pg_hba.conf: passwords for everybody, and nobody but the administrator while it is looked at alone."""
    if alone:
        return f"local all {ADMIN} scram-sha-256\n"
    return "local all all scram-sha-256\nlocal replication all scram-sha-256\n"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _environment() -> dict[str, str]:
    """What the database may know of ours: none of the shop's secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _end_all_in(data: Path, *, seconds_max: float) -> None:
    """End every `postgres` whose working directory is *data*: a server's processes stand there. Linux only."""
    deadline = time.monotonic() + seconds_max
    while found := _processes_in(data):
        if time.monotonic() > deadline:
            raise SettingError(f"A database server in {data} does not end (pid {found[0]}): end it, then start again.")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _processes_in(data: Path) -> list[int]:
    if sys.platform != "linux":
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                is_server = Path(os.readlink(entry / "exe").removesuffix(" (deleted)")).name == "postgres"
                if is_server and os.readlink(entry / "cwd") == str(data.resolve()):
                    found.append(int(entry.name))
    return found
