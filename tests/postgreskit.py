"""Real PostgreSQL servers for the tests: started once a session, in a folder that the database's user can come to."""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from shop.cluster import account, ground, programs
from shop.cluster.control import ControlServer
from shop.cluster.ground import Ground
from shop.cluster.machine import Machine
from shop.cluster.pair import Pair
from shop.cluster.server import PostgresServer, StopMode

# Nothing that a test writes must survive a power cut; of a server that is killed, the kernel keeps everything.
PAIR = {"fsync": "off", "shared_buffers": "16MB", "dynamic_shared_memory_type": "mmap"}  # a killed one leaves no memory
FAST = {**PAIR, "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def instance_folder() -> Iterator[Path]:
    """A closed folder, to be named in SHOP_INSTANCE, on a way that another user can go: pytest's own are closed to all."""
    folder = Path(tempfile.mkdtemp(prefix="antipode-test-", dir=_roomy_memory() or "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(ground.sockets_of(folder), ignore_errors=True)
        shutil.rmtree(folder)


def _roomy_memory() -> str | None:
    """Files in memory, where there is room: a cluster is two thousand small files, and others keep the disk busy."""
    return "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 2 << 30 else None


@contextmanager
def a_ground() -> Iterator[Ground]:
    with instance_folder() as instance:
        make_programs_reachable()
        yield ground.prepare(instance)


def make_programs_reachable() -> None:
    """When the project lies where root's database user cannot come (/root), run a copy of the programs."""
    user = account.choose(Path("/"))
    found = programs.find()
    if account.obstacle(found["postgres"], user) is None:
        return
    copy = Path(tempfile.gettempdir()) / f"antipode-test-programs-{os.geteuid()}-{found.major}"
    if not copy.exists():
        beside = Path(tempfile.mkdtemp(dir=copy.parent))
        shutil.copytree(found.folder.parent, beside, dirs_exist_ok=True)
        beside.chmod(0o755)
        beside.replace(copy)
    os.environ["PG_BIN"] = str(copy / "bin")


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """One server with the shop's empty database, roles and rights, without a standby. Fast, not durable."""
    with a_ground() as where:
        server = PostgresServer(where, "a", settings=FAST)
        server.create(sync=False)
        server.start()
        Pair(where).prepare(server)
        try:
            yield server
        finally:
            server.stop(StopMode.IMMEDIATE)


@contextmanager
def a_made_pair() -> Iterator[Ground]:
    """The ground of a pair that was made and stopped: copied from one that is made once."""
    with instance_folder() as instance:
        subprocess.run(["cp", "-a", _template(os.environ.get("PG_BIN")) / "cluster", instance], check=True)
        yield ground.prepare(instance)


@contextmanager
def running_pair() -> Iterator[Pair]:
    """A primary (A) and its standby (B), streaming; durable enough for whatever is killed."""
    with a_made_pair() as where:
        pair = Pair(where, settings=PAIR)
        try:
            pair.start()
            yield pair
        finally:
            for server in pair.servers:
                server.stop(StopMode.IMMEDIATE)


@cache
def _template(_programs: str | None) -> Path:
    stack = ExitStack()
    atexit.register(stack.close)
    where = stack.enter_context(a_ground())
    pair = Pair(where, settings=PAIR)
    pair.start(sync=False)
    pair.stop()
    return where.folder.parent


@contextmanager
def running_machine() -> Iterator[Machine]:
    """A pair with the link between them, as `make cluster` runs it, and its control socket (`ClusterControl(instance)`)."""
    with a_made_pair() as where:
        machine = Machine(where, settings=PAIR)
        control = None
        try:
            machine.start()
            control = ControlServer(machine, end=lambda: None)
            yield machine
        finally:
            if control:
                control.stop()
            for server in machine.pair.servers:
                server.stop(StopMode.IMMEDIATE)
            machine.wan.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """`postgres_server.url()` is the shop's, `postgres_server.url(ADMIN)` the administrator's. Leave it running and empty."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_machine() -> Iterator[Machine]:
    """A pair, its link and its control socket, of its own for each test; `machine.ground.folder.parent` is the instance."""
    with running_machine() as machine:
        yield machine


@pytest.fixture
def postgres_pair() -> Iterator[Pair]:
    """A pair of its own for each test that kills, promotes and rejoins: under a second."""
    with running_pair() as pair:
        yield pair
