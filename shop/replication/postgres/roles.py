"""The agreed roles of the repository, as replication moves them."""

from shop.repository.postgres.roles import Roles


class AgreedRoles:
    """See `pair.Roles` and `failover.MovableRoles`."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    @property
    def primary(self) -> int:
        return self._roles.primary

    @property
    def timeline(self) -> int:
        return self._roles.timeline

    def plan(self, *, primary: int, timeline: int) -> None:
        """Agree on it, durably, before it is so."""
        self._roles.plan(primary=primary, timeline=timeline)

    def move(self, *, primary: int, timeline: int) -> None:
        """Agree on it, durably, as it is so. It is the same database, on one side or the other."""
        self._roles.advance(primary=primary, timeline=timeline, system=self._roles.now().system)

    def give_up(self, *, timeline: int, primary: int, before: int) -> bool:
        """Go back from a timeline that nobody has written on; see the repository's."""
        return self._roles.give_up(timeline=timeline, primary=primary, before=before)
