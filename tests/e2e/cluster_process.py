"""The supervisor of a folder with all that is below it: the real `make cluster`, on a free port, in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from shop.cluster import ground
from shop.cluster.control import ClusterControl
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until
from tests.postgreskit import instance_folder, make_programs_reachable


class ClusterProcess(ShopProcess):
    """The supervisor of one folder, if it runs."""

    command = ("-m", "shop.cluster", "--workers", "2")

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **{"SHOP_REPLICATION_DELAY": "0", **settings})
        if "PG_BIN" in os.environ:
            self.settings["PG_BIN"] = os.environ["PG_BIN"]

    @property
    def control(self) -> ClusterControl:
        return ClusterControl(self.instance)

    def stop_command(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shop.cluster", "stop"],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def pids(self) -> list[int]:
        """Of everything that belongs to this folder, but the supervisor: they name it on their command line or stand in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (self.is_running() and int(entry.name) == self.pid):
                continue
            try:
                environment = (entry / "environ").read_bytes()
                place = os.readlink(entry / "cwd")
            except OSError:  # gone, or a zombie that nobody waits for
                continue
            if os.fsencode(f"SHOP_INSTANCE={self.instance}") in environment or place.startswith(str(self.instance)):
                found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        return [pid for pid in self.pids() if b"--worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def ids(self, side: str) -> set[str]:
        """The commits that a server has."""
        url = dict(zip("ab", self.control.urls(), strict=True))[side]
        with psycopg.connect(url) as connection:
            return {str(id) for (id,) in connection.execute("SELECT id FROM commits")}


@contextmanager
def a_cluster(**settings: str) -> Iterator[ClusterProcess]:
    """One that was not started yet, with two workers."""
    make_programs_reachable()
    with instance_folder() as folder:
        os.chmod(folder, 0o711)  # its instance is below, and closes itself
        cluster = ClusterProcess(folder, **settings)
        try:
            yield cluster
        finally:
            cluster.close()
            wait_until(lambda: not cluster.pids(), seconds=10, what="everything ends with the supervisor")
            shutil.rmtree(ground.sockets_of(cluster.instance), ignore_errors=True)
