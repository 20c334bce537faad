"""The cable breaks, the shop goes on selling, the far side catches up."""

from shop.drills.bench import Bench, counted, span
from shop.drills.records import Drill, Part

ORDERS = 3


def carry_out(bench: Bench) -> str:
    bench.begin()
    bench.replication.set_delay(bench.pace_seconds)
    bench.laboratory.cut(60)
    bench.did("Broke the cable between the two sides.")

    numbers: list[str] = []
    waits = [bench.timed(lambda: numbers.append(bench.goods.order(1).number)) for _ in range(ORDERS)]
    bench.saw(
        f"{ORDERS} customers ordered ({numbers[0]} to {numbers[-1]}). Each had the confirmation within {span(max(waits))}:"
        " the shop writes to the primary first, and does not wait for the far side."
    )
    bench.wait(bench.pace_seconds)
    status = bench.replication.status()
    bench.expect(not bench.are_there(numbers), "An order crossed although the cable is broken.")
    bench.saw(
        f"The far side knows none of these orders: it is {counted(status.lag.commits, 'commit')} behind."
        f" If the primary died now, this would be lost: {status.at_risk.sentence}."
    )

    bench.laboratory.mend()
    mended = bench.clock.monotonic()
    bench.did("Mended the cable. Nobody sends anything again by hand: what waited leaves by itself.")
    bench.wait_until_equal()
    catch_up = bench.clock.monotonic() - mended
    missing = sorted(set(numbers) - set(bench.are_there(numbers)))
    bench.expect(not missing, f"The far side has caught up without {', '.join(missing)}.")
    bench.saw(f"After {span(catch_up)} the far side had all of it, in the order in which it was made.")
    verdict = bench.verify()
    bench.saw(verdict.sentence)

    bench.figure("Orders taken during the outage", str(ORDERS), f"{len(numbers) - len(missing)} arrived, 0 twice")
    bench.figure("Longest wait of a customer", span(max(waits)), "with the cable broken")
    bench.figure("At risk at the worst moment", status.at_risk.sentence, "had the primary died then")
    bench.figure("Catching up took", span(catch_up), "from mending the cable to the last order there")
    return (
        "An outage costs no sale and loses nothing, as long as the primary lives: what has not crossed waits in the primary's journal, on"
        " its disk. What grows with every minute is how much a failure of the primary would cost."
    )


DRILL = Drill(
    name="outage",
    title="The cable breaks",
    question="What happens to orders while the two sides cannot reach each other?",
    story=(
        "Whatever is bought is written to the primary, and travels to the replica over a cable. Cables break.",
        "This drill breaks it, lets three customers order, and mends it. Watch two things: whether the customers notice, and"
        " what becomes of their orders.",
    ),
    others="Nobody notices. Other people's orders wait on the primary together with the drill's, for some seconds.",
    seconds=6,
    needs=(Part.LABORATORY, Part.READS),
    carry_out=carry_out,
)
