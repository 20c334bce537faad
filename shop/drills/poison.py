"""A commit that cannot be applied blocks all that follow."""

from shop.drills.bench import Bench, counted, span
from shop.drills.records import Drill, Part
from shop.replication.contract import State


def carry_out(bench: Bench) -> str:
    bench.begin()
    bench.sabotage.poison_next_commit()
    bench.did("Poisoned the next commit: whenever it is sent, one bit of it arrives wrong.")

    poisoned = bench.goods.order(1)
    bench.wait_until(lambda: bench.replication.status().retry.attempts > 0, "The replica took the damaged commit.")
    retry = bench.replication.status().retry
    bench.saw(
        f"A customer ordered ({poisoned.number}). The replica looked at what arrived, and refused it: “{retry.error.rstrip('.')}.”"
    )
    numbers = [bench.goods.order(1).number for _ in range(2)]
    status = bench.replication.status()
    bench.expect(not bench.are_there(numbers), "A commit overtook the one that blocks.")
    bench.saw(
        "Two more customers ordered. Their orders are sound, and wait all the same:"
        f" {counted(status.lag.commits, 'commit')} behind. Skipping one would make a copy that the primary never was."
    )

    bench.replication.resume()
    bench.did("Tried again by hand, as one would when the cause is gone.")
    bench.wait_until(lambda: bench.replication.status().retry.attempts > retry.attempts, "The retry did not happen.")
    status = bench.replication.status()
    bench.expect(status.state is State.FAILING, "The poisoned commit was applied.")
    bench.saw(
        f"Still refused: {status.retry.attempts} tries so far, each of them looked at, none of them let in."
        " The shop goes on trying by itself, later and later, and raises an alert at the fifth."
    )

    rebuild = bench.timed(bench.replication.resync)
    bench.did(
        f"Rebuilt the replica from a fresh copy of the primary, in {span(rebuild)}. The copy passes the poisoned commit by."
    )
    bench.sabotage.undo()
    bench.wait_until_equal()
    missing = sorted({poisoned.number, *numbers} - set(bench.are_there([poisoned.number, *numbers])))
    bench.expect(not missing, f"The rebuilt replica lacks {', '.join(missing)}.")
    bench.saw(f"All three orders are on the far side, and replication runs again. {bench.verify().sentence}")

    bench.figure("Commits blocked", str(1 + len(numbers)), "one damaged, the others behind it")
    bench.figure("Tries refused", str(status.retry.attempts), "each checked, none applied")
    bench.figure("Rebuild took", span(rebuild), "and the shop went on selling")
    return (
        "A copy that follows a log never skips. One bad entry therefore stops everything behind it, loudly; and the way out is never to"
        " leave it out, but to mend its cause and retry, or to copy everything anew."
    )


DRILL = Drill(
    name="poison",
    title="A poisoned commit",
    question="What if one change cannot be copied, and others wait behind it?",
    story=(
        "The replica follows the primary's changes (commits) one after another, in their order. Each carries a checksum, so that a change"
        " that was damaged on its way is noticed.",
        "This drill damages one commit on the cable, every time that it is sent. Watch what happens to the orders behind it, what a retry"
        " does, and what helps in the end.",
    ),
    others=(
        "Nobody notices in the shop. Other people's writes wait with the drill's for some seconds. If one of them comes first, it is that"
        " one which is poisoned, and rescued by the rebuild like the drill's own."
    ),
    seconds=7,
    needs=(Part.POISON, Part.READS),
    carry_out=carry_out,
)
