"""Keeps the table of commits short: its last rows, and whatever the standby lacks."""

from shop.replication.postgres.servers import Server
from shop.replication.postgres.watch import Watch

KEPT = 10_000
AT_ONCE = 5000
_PRUNE = """
DELETE FROM commits WHERE id IN (
    SELECT id FROM commits
     WHERE lsn < %(lowest)s
       AND lsn < (SELECT lsn FROM commits ORDER BY lsn DESC OFFSET %(kept)s LIMIT 1)
     ORDER BY lsn LIMIT %(at_once)s)
   AND NOT pg_is_in_recovery()
   AND ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int = %(timeline)s
RETURNING 1
"""


def prune(watch: Watch, *, is_complete: bool, kept: int = KEPT, at_once: int = AT_ONCE) -> int:
    """Take away rows that both servers have and nobody asks for any more; returns how many. Raises `Unreachable`.

    Nothing goes while the standby does not answer, or while a failover is not complete: an old primary is compared with all of them.
    """
    picture = watch.picture(fresh=True)
    if picture.near is None or picture.far is None or not is_complete:
        return 0
    lowest = min([picture.far.replayed, *(one.row.lsn for one in picture.missing)])
    primary: Server = picture.primary
    parameters = {"lowest": lowest, "kept": kept, "at_once": at_once, "timeline": picture.near.timeline}
    return len(primary.ask(_PRUNE, parameters))
