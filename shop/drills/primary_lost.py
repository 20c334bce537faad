"""The primary is lost with two orders on the way: the bill for it, what can be got back, and the way home."""

from shop.drills.bench import Bench, span
from shop.drills.records import WHILE_THE_PRIMARY_CHANGES, Drill, Part
from shop.models import Order
from shop.replication.contract import Invoice, LostCommit

REASON = "A drill: the customer of this order does not exist."


def carry_out(bench: Bench) -> str:
    bench.begin()
    home = bench.setting.primary
    bench.hold()
    placed = [bench.goods.order(1), bench.goods.order(2)]
    total = sum(order.total_cents for order in placed)
    at_risk = bench.replication.status().at_risk
    bench.did(
        f"Two customers ordered, {placed[0].number} and {placed[1].number}, together {bench.money(total)}. Both were confirmed; neither has"
        " reached the far side."
    )

    bench.did(f"Lost the primary: from now on {home} counts as gone, and the replica goes on alone.")
    seconds, invoice, primary = _promoted(bench)
    own = _own(invoice, placed)
    bench.expect(len(own) == len(placed), "The invoice of losses does not list both orders.")
    bench.expect(
        sum(one.order_cents for one in own) == total, "The sum on the invoice of losses is not that of the orders."
    )
    others = bench.review_others()
    bench.saw(
        f"After {span(seconds)} the shop took orders again, with {primary} as its primary. The invoice of losses: {invoice.sentence}."
        f" {' '.join(f'{one.order_number} of {bench.money(one.order_cents)}.' for one in own)} {others}".rstrip()
    )
    with bench.repository.view() as unit:
        bench.expect(
            not any(unit.order(order.number) for order in placed), "The new primary has orders that were lost."
        )
    bench.replication.set_delay(0)
    bench.wait_until_equal()
    bench.saw(
        f"{home} is back as the replica, and copies {primary} now. What only it had was put aside, write by write."
    )

    _reviewed(bench, own)
    back = _gone_home(bench, home)

    bench.figure("Orders lost", f"{len(own)}, {bench.money(total)}", f"at risk a moment before: {at_risk.sentence}")
    bench.figure("No writes were taken for", span(seconds), "while the replica took over")
    bench.figure("Re-entered, discarded", "1 and 1", "decided one by one")
    bench.figure("Lost by switching back", "nothing", f"no writes were taken for {span(back)}")
    return (
        "An asynchronous copy loses what was on its way, however quick the takeover is. What matters is to know exactly what that was: the"
        " bill names each order, so that each can be entered again under its number, or its customer be told."
    )


def _promoted(bench: Bench) -> tuple[float, Invoice, str]:
    began = bench.clock.monotonic()
    promotion = bench.promote()
    return bench.clock.monotonic() - began, promotion.invoice, promotion.primary


def _own(invoice: Invoice, placed: list[Order]) -> list[LostCommit]:
    by_number = {commit.order_number: commit for commit in invoice.commits}
    return [by_number[order.number] for order in placed if order.number in by_number]


def _reviewed(bench: Bench, own: list[LostCommit]) -> None:
    first, second = own
    bench.failover.reenter(first.id, by=bench.by)
    bench.failover.discard(second.id, REASON, by=bench.by)
    with bench.repository.view() as unit:
        again, never = unit.order(first.order_number), unit.order(second.order_number)
    bench.expect(
        again is not None and again.total_cents == first.order_cents, "The order that was entered again is not there."
    )
    bench.expect(never is None, "The order that was discarded is there.")
    bench.did(
        f"Entered {first.order_number} again: it has the number that its customer was told, and its stock is taken."
        f" Discarded {second.order_number}, with a reason that its customer can read."
    )


def _gone_home(bench: Bench, home: str) -> float:
    began = bench.clock.monotonic()
    promotion = bench.switch_back()
    seconds = bench.clock.monotonic() - began
    bench.expect(promotion.primary == home, f"{promotion.primary} is the primary, not {home}.")
    bench.expect(not promotion.invoice.commits, f"Switching back lost {promotion.invoice.sentence}.")
    bench.did(
        f"Switched back, as planned: {home} is the primary again. Everything crossed before, so nothing was lost."
    )
    bench.wait_until_equal()
    bench.saw(bench.verify().sentence)
    return seconds


DRILL = Drill(
    name="primary-lost",
    title="The primary is lost",
    question="What exactly is gone when the first copy dies, and how do we get it back?",
    story=(
        "An order is confirmed as soon as it is safe on the primary. It reaches the replica some seconds later. If the primary dies in"
        " between, the order is confirmed, and lost.",
        "This drill makes two orders, and lets the replica take over before they have arrived (it is promoted). The shop then prints a"
        " bill of what was lost. One order is entered again, the other is given up; at last the shop goes back to the side it was on.",
    ),
    others=WHILE_THE_PRIMARY_CHANGES,
    seconds=6,
    needs=(Part.LABORATORY, Part.FAILOVER, Part.READS),
    changes_primary=True,
    carry_out=carry_out,
)
