"""The real shop: `python app.py` on a free port, in a folder of its own, with nothing of this machine's settings."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from shop.lock import read_note

ROOT = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "correct horse battery staple"
START_SECONDS_MAX = 30

T = TypeVar("T")


def wait_until(is_so: Callable[[], T], *, seconds: float, what: str, every: float = 0.005) -> T:
    """The first true answer of *is_so*; fails with *what* after *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        answer = is_so()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(every)


class ShopProcess:
    """One shop folder, and the server that runs on it, if any."""

    command: tuple[str, ...] = ("app.py",)

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.instance = folder / "instance"
        self.log_path = folder / "server.log"
        self.settings = {"SHOP_ADMIN_PASSWORD": ADMIN_PASSWORD, "SHOP_REPLICATION_DELAY": "2", **settings}
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "PORT": "0", "SHOP_INSTANCE": str(self.instance), **self.settings}

    def start(self, *, is_writable: bool = True) -> "ShopProcess":
        """Start the server and wait until it can take orders; until it is up at all when it is not to be *is_writable*."""
        self.begin()
        self.url = wait_until(self._address, seconds=START_SECONDS_MAX, what="the server announces its address")
        page = "/readyz" if is_writable else "/healthz"
        wait_until(lambda: self._answers(page), seconds=START_SECONDS_MAX, what=f"{page} says 200")
        return self

    def begin(self) -> None:
        """Start the server and wait for nothing."""
        assert self._process is None, "already started"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run_second(self) -> subprocess.CompletedProcess[str]:
        """Start another server on the same folder and wait for its end."""
        return subprocess.run(
            [sys.executable, *self.command],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
            check=False,
        )

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM, as an operator would; returns the exit code."""
        return self._end(signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        assert self._process is not None, "not started"
        code = self._process.wait(timeout=START_SECONDS_MAX)
        self._process = None
        return code

    def signal(self, number: int) -> None:
        """Send a signal that does not end it."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def close(self) -> None:
        """End whatever runs; for fixtures."""
        if self._process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        """Of the server that runs."""
        assert self._process is not None, "not started"
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _end(self, number: int) -> int:
        assert self._process is not None, "not started"
        self._process.send_signal(number)
        return self.ended()

    def _address(self) -> str:
        self._check_alive()
        assert self._process is not None
        note = read_note(self.instance)
        return (note.address or "") if note and note.pid == self._process.pid else ""

    def _answers(self, page: str) -> bool:
        self._check_alive()
        try:
            with urllib.request.urlopen(f"{self.url}{page}", timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _check_alive(self) -> None:
        assert self.is_running(), f"the server ended:\n{self.log()[-3000:]}"
