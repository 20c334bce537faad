"""A change of roles that is under way: what the workers share of it in `failover.json`, and what it asks of roles and operators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from shop.replication.contract import LostCommit
from shop.replication.postgres.knobs import SIDES
from shop.replication.postgres.pair import Roles
from shop.replication.postgres.servers import Server
from shop.replication.postgres.shared import SharedFile

FILE_NAME = "failover.json"
ROLES_FILE_NAME = "cluster.json"  # of the repository


class Pending(Struct, frozen=True, kw_only=True):
    """A change of roles that is not complete."""

    side: int  # the old primary: 0 or 1
    timeline: int  # the one that was left
    since: str
    by: str
    is_planned: bool = False
    is_promoting: bool = False  # the new one was told to take over, or was about to be
    is_told: bool = False  # what only the old primary had is in lost/
    acknowledged: Sequence[LostCommit] = ()
    unseen: int = (
        0  # writes that were confirmed after the last look at the old primary: only that they were made is known
    )
    problem: str = ""  # why it goes no further now


class FailoverState(Struct, frozen=True, kw_only=True):
    """What the workers share."""

    pending: Pending | None = None
    forks: dict[str, int] = {}  # timeline that was left -> the last place in the log that the next one shares


class MovableRoles(Roles, Protocol):
    """Roles that can be agreed on anew; they only move forward, but for a timeline that was meant and never written on."""

    def plan(self, *, primary: int, timeline: int) -> None: ...
    def move(self, *, primary: int, timeline: int) -> None: ...
    def give_up(self, *, timeline: int, primary: int, before: int) -> bool: ...


def failover_file(instance: Path) -> SharedFile[FailoverState]:
    return SharedFile(instance / FILE_NAME, FailoverState, FailoverState())


def slot_of(side: int) -> str:
    """The slot from which that side streams."""
    return f"standby_{SIDES[side]}"


def remedy(old: Server, new: Server, pending: Pending) -> Sequence[str]:
    if not pending.is_told:
        return (f"Start {old.name} where nobody but this shop reaches it; the shop asks it within a second.",)
    return (
        f"Stop {old.name}.",
        f"pg_rewind --target-pgdata=… --source-server='… (of {new.name})', or empty its data directory and pg_basebackup",
        f"touch standby.signal there; primary_conninfo to {new.name}; primary_slot_name = '{slot_of(pending.side)}'",
        f"Start {old.name}.",
    )
