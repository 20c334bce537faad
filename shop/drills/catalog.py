"""The seven drills, in the order in which they are best done."""

from collections.abc import Mapping, Sequence

from shop.drills import damage, modes, outage, poison, primary_lost, stale, two_admins
from shop.drills.records import Drill

DRILLS: Sequence[Drill] = (
    outage.DRILL,
    stale.DRILL,
    primary_lost.DRILL,
    damage.DRILL,
    poison.DRILL,
    two_admins.DRILL,
    modes.DRILL,
)
BY_NAME: Mapping[str, Drill] = {drill.name: drill for drill in DRILLS}
