"""`python -S -m bench.throttle PID SHARE`: PID is stopped whenever it has had more than that share of a core, as a container's would be."""

import os
import signal
import sys
import time
from pathlib import Path

LOOK_SECONDS = 0.005
SAVED_SECONDS_MAX = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


class Allowance:
    """Seconds of CPU that may be used: they come at a steady rate, and who was idle has saved up SAVED_SECONDS_MAX at the most."""

    def __init__(self, share: float, *, now: float, used: float) -> None:
        self._share = share
        self._now = now
        self._used = used
        self._left = 0.0

    def may_run(self, *, now: float, used: float) -> bool:
        """Whether anything is left at *now*, when *used* seconds have been used in all."""
        self._left = min(SAVED_SECONDS_MAX, self._left + self._share * (now - self._now)) - (used - self._used)
        self._now, self._used = now, used
        return self._left > 0


def seconds_used(pid: int) -> float:
    """By all threads of *pid*."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main(pid: int, share: float) -> None:
    allowance = Allowance(share, now=time.monotonic(), used=seconds_used(pid))
    while True:
        may_run = allowance.may_run(now=time.monotonic(), used=seconds_used(pid))
        os.kill(pid, signal.SIGCONT if may_run else signal.SIGSTOP)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
