"""Why a PostgreSQL pair is not damaged on request: `contract.Sabotage`."""

from shop.errors import Conflict

NO_DAMAGE = (
    "A standby takes no change but its primary's, and writing into its files behind its back could harm more than one record:"
    " this drill needs the embedded store."
)
NO_POISON = (
    "PostgreSQL checks each piece of its log by itself and asks for it again: a commit that arrives damaged each time cannot be"
    " made here."
)


class PostgresSabotage:
    """Reasons."""

    def why_no_damage(self) -> str:
        return NO_DAMAGE

    def damage_replica(self, product_id: str) -> None:
        raise Conflict(NO_DAMAGE)

    def why_no_poison(self) -> str:
        return NO_POISON

    def poison_next_commit(self) -> None:
        raise Conflict(NO_POISON)

    def undo(self) -> None:
        """There is nothing to undo."""
