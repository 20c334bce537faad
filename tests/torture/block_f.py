"""Block F: replication. 30 fault schedules, each judged by 8 checkers; a point is a schedule, a state is a verdict.

Run whole, some more that are drawn from a seed follow.
"""

from concurrent.futures import ThreadPoolExecutor

from structlog.testing import capture_logs

from tests.torture import schedules_random
from tests.torture.schedules import INJECTED
from tests.torture.schedules_checkers import verdicts
from tests.torture.schedules_history import History
from tests.torture.schedules_real import REAL, run_apart
from tests.torture.tally import Counts, Tally, progress

MINIMUM = Counts(points=30, states=240)
RANDOM = 20


def run(*, whole: bool) -> Tally:
    """The lane has all that are thought of: those in real time run in processes of their own, beside those whose time is moved here."""
    with (
        ThreadPoolExecutor(1) as beside,
        capture_logs(),
    ):  # the program complains of what is done to it here, and rightly
        real = beside.submit(run_apart, REAL, lambda name: progress(f"ran: {name}"))
        tally = Tally()
        for name, schedule in INJECTED.items():
            progress(f"running: {name}")
            tally.add(judged(schedule(name)))
        for seed in range(RANDOM if whole else 0):
            progress(f"running: random {seed}")
            tally.add(judged(schedules_random.run(seed)))
        for history in real.result().values():
            tally.add(judged(history))
    return tally


def judged(history: History) -> Tally:
    """The verdicts of all checkers on one schedule."""
    found = verdicts(history)
    violations = [violation for verdict in found for violation in verdict.violations]
    return Tally(1, len(found), violations, history.notes)
