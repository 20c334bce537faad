"""Starts a program so that it ends with us, as another user where asked.

On Linux the kernel tells a child of its parent's death, but *parent* there means the thread that started it: all are
started by one thread that lives as long as the process. The few lines below stand between us and the program: they load
what they need while they still may, and become the user before they wish, because the change of user forgets it.
Elsewhere nothing is told; the next start finds what was left.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any

from shop.cluster.account import Account
from shop.errors import SettingError

_BECOME = """
import os, sys
uid, gid, number, parent = map(int, sys.argv[1:5])
if sys.platform == "linux":
    import ctypes
    system = ctypes.CDLL(None)
if uid:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    system.prctl(1, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
os.umask(0o077)
os.execv(sys.argv[5], sys.argv[5:])
"""


def start(
    command: Sequence[str | Path],
    *,
    account: Account | None = None,
    when_orphaned: signal.Signals = signal.SIGKILL,
    output: IO[Any] | int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start *command* in the background, in a session of its own: Ctrl-C is ours to pass on, in the right order."""
    uid, gid = (account.uid, account.gid) if account else (0, 0)
    before = [sys.executable, "-I", "-S", "-c", _BECOME, *map(str, (uid, gid, int(when_orphaned), os.getpid()))]
    return (
        _starter()
        .submit(
            subprocess.Popen,
            [*before, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=None if environment is None else dict(environment),
        )
        .result()
    )


def run(
    command: Sequence[str | Path],
    *,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    seconds_max: float = 600,
) -> str:
    """Run a tool to its end and return what it printed. Raises `SettingError` with its last line when it fails."""
    process = start(command, account=account, output=subprocess.PIPE, environment=environment)
    try:
        said, _ = process.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise SettingError(f"{Path(command[0]).name} did not end within {seconds_max:g} seconds.") from None
    text = said.decode(errors="replace")
    if process.returncode != 0:
        raise ToolFailed(Path(command[0]).name, text)
    return text


class ToolFailed(SettingError):
    """One of PostgreSQL's programs refused; `said` is all it printed."""

    def __init__(self, name: str, said: str) -> None:
        self.said = said
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        telling = [line for line in lines if "error:" in line or "FATAL" in line or "could not" in line]
        super().__init__(f"{name} failed: {(telling or lines or ['it said nothing'])[0]}")


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="launch")
