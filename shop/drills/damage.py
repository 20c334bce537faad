"""The replica's copy of one record is wrong, and no position tells."""

from shop.drills.bench import Bench, span
from shop.drills.goods import NAME, PRODUCT_ID
from shop.drills.records import Drill, Part
from shop.replication.contract import Outcome


def carry_out(bench: Bench) -> str:
    bench.begin()
    bench.sabotage.damage_replica(PRODUCT_ID)
    status = bench.replication.status()
    bench.did(f"Damaged the replica: the stored price of “{NAME}” is wrong there, and on its disk as well.")
    bench.saw(
        f"Nothing shows it. Both sides say that they are at commit {status.replica.position.lsn}, with the same checksum of their"
        f" history; the page says “{status.sentence}”"
    )

    began = bench.clock.monotonic()
    verdict = bench.replication.verify()
    looked = bench.clock.monotonic() - began
    damaged = [one for one in verdict.differences if (one.collection, one.id) == ("products", PRODUCT_ID)]
    bench.expect(
        verdict.outcome is Outcome.DIVERGED and bool(damaged), f"Verifying did not find the damage: {verdict.sentence}"
    )
    fields = "; ".join(
        f"{name}: {here} on the primary, {there} on the replica" for name, here, there in damaged[0].fields
    )
    bench.saw(f"Compared every record of both sides, in {span(looked)}. Found it: {damaged[0].label}, {fields}.")

    repair = bench.timed(bench.replication.resync)
    bench.did(f"Repaired the replica: gave it a fresh copy of the primary, in {span(repair)}.")
    proof = bench.verify()
    bench.saw(f"Compared again, as the proof. {proof.sentence}")

    bench.figure("Records compared", f"{verdict.records:,}", f"on each side, in {span(looked)}")
    bench.figure("Damaged records found", str(len(damaged)), "of 1 damaged")
    bench.figure("Repair took", span(repair), "and the shop went on selling")
    return (
        "That two copies have the same history does not prove that they hold the same data. Only comparing the data does: the shop does it"
        " every ten minutes by itself, and whenever somebody presses Verify."
    )


DRILL = Drill(
    name="damage",
    title="The replica is damaged",
    question="Would we find out if the second copy were quietly wrong?",
    story=(
        "A copy is only worth something if it is right. Disks, cables and programs make mistakes, and the worst kind is silent: every"
        " light is green, and one price is wrong.",
        "This drill really changes one stored record on the replica, its own product's price, behind the back of everything that keeps"
        " count. Then it looks whether the comparison finds it, and repairs the replica from the primary.",
    ),
    others=(
        "Nobody notices in the shop. An alert that the sides differ may be raised, and cleared a moment later. What is on its way"
        " crosses at once with the repair."
    ),
    seconds=4,
    needs=(Part.DAMAGE,),
    carry_out=carry_out,
)
