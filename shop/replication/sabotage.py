"""Real damage to the embedded pair, on request: `contract.Sabotage`, for drills. Nothing happens unless it is asked for.

The replica's record is changed in its file and in what its readers see, at the position it has: as a bad disk controller or a bug would,
above every checksum. The poisoned commit is damaged on its way, each time it is sent: as a bad cable would, and caught by the replica.
"""

from msgspec.structs import replace

from shop.errors import NotFound
from shop.replication.replicator import Replicator
from shop.repository.schema import INDEXES
from shop.store.state import Changes
from shop.store.store import by_collection

PRICE_ERROR_CENTS = 1  # enough to be wrong


class EmbeddedSabotage:
    """See `contract.Sabotage`."""

    def __init__(self, replicator: Replicator) -> None:
        self._replicator = replicator

    def why_no_damage(self) -> str:
        return ""

    def damage_replica(self, product_id: str) -> None:
        """The damaged state is installed as a snapshot is, so that a crash leaves the sound replica or the damaged one."""
        with self._replicator.hold():
            replica = self._replicator.pair.replica
            product = replica.state.get("products", product_id)
            if product is None:
                raise NotFound("The replica has no such product.")
            changes = Changes(replica.state, by_collection(INDEXES))
            changes.put("products", product_id, replace(product, price_cents=product.price_cents + PRICE_ERROR_CENTS))
            replica.install(changes.applied(replica.position), replica.store_id, replica.peer)

    def why_no_poison(self) -> str:
        return ""

    def poison_next_commit(self) -> None:
        with self._replicator.hold():
            poisoned = self._replicator.pair.primary.position.lsn + 1
            self._replicator.on_arrival = lambda after, lines: with_bit_flipped(lines, poisoned - after)

    def undo(self) -> None:
        with self._replicator.hold():
            self._replicator.on_arrival = None


def with_bit_flipped(lines: bytes, number: int) -> bytes:
    """*lines* with one bit changed in the middle of line *number*, counted from 1; as they are when there is none such."""
    each = lines.splitlines(keepends=True)
    if not 1 <= number <= len(each):
        return lines
    line = bytearray(each[number - 1])
    line[len(line) // 2] ^= 1
    if line[len(line) // 2] == ord("\n"):  # still one line: the damage is to what is in it
        line[len(line) // 2] ^= 3
    each[number - 1] = bytes(line)
    return b"".join(each)
