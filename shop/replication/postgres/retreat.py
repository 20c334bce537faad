"""Back to the old primary, when the new one went away between being agreed on and being promoted.

Then nobody leads: the old one is on a timeline that was left. Going back is safe only where nobody can have written on the new one.
"""

from pathlib import Path

import structlog
from msgspec.structs import replace

from shop.errors import Conflict
from shop.replication.postgres.changing import FailoverState, MovableRoles, Pending
from shop.replication.postgres.knobs import SIDES, Operator
from shop.replication.postgres.pair import ServerPair
from shop.replication.postgres.servers import Unreachable
from shop.replication.postgres.shared import SharedFile

OWN_TIMELINE = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END
"""

_log = structlog.get_logger("failover")


class Retreat:
    """For whoever holds the lock of the changes of roles."""

    def __init__(
        self,
        pair: ServerPair,
        roles: MovableRoles,
        operator: Operator,
        file: SharedFile[FailoverState],
        *,
        roles_file: Path,
    ) -> None:
        self._pair = pair
        self._roles = roles
        self._operator = operator
        self._file = file
        self._roles_file = roles_file

    def is_made(self, pending: Pending) -> bool:
        """Make the old primary the primary again, as if nothing had been asked for: the new one is gone, and never became it.

        Only where that is certain: no worker has begun a write there (the roles know), nobody told it to take over or its files
        show that it has not, and the old primary answers, on the timeline that was to be left.
        """
        meant = self._roles.timeline
        if self._roles.primary == pending.side or self._pair.primary.is_up() or not self._is_as_before(pending):
            return False
        if pending.is_promoting and not self._is_standby_by_its_files(1 - pending.side):
            return False
        if not self._roles.give_up(timeline=meant, primary=pending.side, before=pending.timeline):
            return False
        self._file.change(lambda now: replace(now, pending=None))
        for server in self._pair.servers:
            server.forget()
        _log.warning("promotion given up", primary=self._pair.primary.name, timeline=pending.timeline)
        return True

    def sentence(self, pending: Pending) -> str:
        old, new = self._pair.servers[pending.side], self._pair.servers[1 - pending.side]
        return (
            f"{new.name} went away before it was promoted, so nothing was changed: {old.name} is the primary as before, on"
            f" timeline {pending.timeline}."
        )

    def why_not(self, begun: Pending) -> str:
        """What an operator has to do when the new primary went away in the middle; "" when it is there."""
        new, old = self._pair.servers[1 - begun.side], self._pair.servers[begun.side]
        if new.is_up():
            return ""
        if not self._is_as_before(begun):
            again = "make cluster-stop, then make cluster" if self._operator.is_there() else "start either"
            return f"Neither {new.name}, which was to be the primary, nor {old.name} answers: {again}."
        return (
            f"{new.name} went away after it was told to take over, and may have taken writes that {old.name} lacks: start it. If it is"
            f" gone for good, stop the shop, rm {self._roles_file}, and start the shop: it goes on from {old.name}."
        )

    def _is_standby_by_its_files(self, side: int) -> bool:
        """A server loses that sign when it takes over, before it takes a write."""
        try:
            return self._operator.is_there() and self._operator.role(SIDES[side]) == "standby"
        except Conflict:
            return False

    def _is_as_before(self, pending: Pending) -> bool:
        try:
            [(timeline,)] = self._pair.servers[pending.side].ask(OWN_TIMELINE)
        except Unreachable:
            return False
        return bool(timeline == pending.timeline)
