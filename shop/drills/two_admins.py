"""Two admins edit the same product, and a failover comes between them."""

from shop.drills.bench import Bench, span
from shop.drills.goods import PRICE_CENTS, PRODUCT_ID
from shop.drills.records import WHILE_THE_PRIMARY_CHANGES, Drill, Part
from shop.errors import Conflict
from shop.models import Product
from shop.replication.contract import LostCommit, Promotion

FIRST_CENTS = 3000
SECOND_CENTS = 2000
REASON = "A drill: the other admin's price stands."


def carry_out(bench: Bench) -> str:
    bench.begin()
    home = bench.setting.primary
    with bench.repository.view() as unit:
        seen = unit.product(PRODUCT_ID)
    assert seen is not None  # noqa: S101 - `begin` put it there
    bench.did(f"Two admins opened the same product to edit it. Both see {bench.money(PRICE_CENTS)}.")
    bench.hold()
    bench.goods.edit(seen, FIRST_CENTS)
    bench.did(f"The first one saved {bench.money(FIRST_CENTS)}. It is confirmed, and still on its way to the far side.")

    began = bench.clock.monotonic()
    timeline = bench.replication.status().primary.position.timeline
    promotion = bench.promote()
    seconds = bench.clock.monotonic() - began
    others = bench.review_others()
    lost = _lost_edit(bench, promotion)
    bench.did(
        f"The primary was lost, and the first admin pressed Promote. {promotion.primary} goes on, without that price. {others}".rstrip()
    )
    _second_press(bench, timeline, promotion)
    _second_saves(bench, seen)
    sentence = _entering_again(bench, lost)
    back = _gone_home(bench, home)

    bench.figure("Edits lost", "1", f"named on the invoice: {promotion.invoice.sentence}")
    bench.figure("Second promotion", "not carried out", "it would have changed the roles back")
    bench.figure("Entering it again", "refused", sentence)
    bench.figure("No writes were taken for", f"{span(seconds)} and {span(back)}", "taking over, and switching back")
    return (
        "Two people can be right at once, and a failover makes it worse. The shop never decides for them in silence: what is newer is not"
        " written over, what was lost is shown to a person, and a button that was pressed on an old page does nothing."
    )


def _lost_edit(bench: Bench, promotion: Promotion) -> LostCommit:
    from_drill = [commit for commit in promotion.invoice.commits if bench.is_own(commit)]
    bench.expect(len(from_drill) == 1, "The invoice of losses does not list the lost edit.")
    return from_drill[0]


def _second_press(bench: Bench, timeline: int, promotion: Promotion) -> None:
    """On an older page: refused, or, while the change is still being completed, answered as what has become of it."""
    try:
        again = bench.failover.promote(by=bench.by, expected_timeline=timeline)
    except Conflict as refusal:
        bench.saw(f"The second admin pressed Promote as well, on a page that was older. Refused: “{refusal.message}”")
    else:
        is_same = (again.primary, again.timeline) == (promotion.primary, promotion.timeline)
        bench.expect(is_same, "The second promotion was carried out, and changed the roles back.")
        bench.saw(
            "The second admin pressed Promote as well, on a page that was older. Nothing was done a second time, and the answer was: "
            f"“{again.sentence}”"
        )


def _second_saves(bench: Bench, seen: Product) -> None:
    kept = bench.goods.edit(seen, SECOND_CENTS)
    bench.expect(kept.price_cents == SECOND_CENTS, "The second admin's price was not kept.")
    bench.saw(
        f"The second admin saved {bench.money(SECOND_CENTS)}, from the page that was opened before all this. It was accepted: on this side"
        " nobody has changed the product since, and nothing is known of the first price."
    )


def _entering_again(bench: Bench, lost: LostCommit) -> str:
    try:
        bench.failover.reenter(lost.id, by=bench.by)
    except Conflict as refusal:
        sentence = refusal.message
    else:
        sentence = ""
    bench.expect(bool(sentence), "The lost edit was written over the newer one.")
    bench.saw(f"The first admin found the edit on the invoice of losses, and entered it again. Refused: “{sentence}”")
    bench.failover.discard(lost.id, REASON, by=bench.by)
    with bench.repository.view() as unit:
        product = unit.product(PRODUCT_ID)
    bench.expect(
        product is not None and product.price_cents == SECOND_CENTS, "The price is not the one that was saved last."
    )
    bench.did(
        "The two talked. The second price stands; the lost edit was discarded, with a reason that stays on record."
    )
    return sentence


def _gone_home(bench: Bench, home: str) -> float:
    bench.replication.set_delay(0)
    began = bench.clock.monotonic()
    promotion = bench.switch_back()
    seconds = bench.clock.monotonic() - began
    bench.expect(promotion.primary == home, f"{promotion.primary} is the primary, not {home}.")
    bench.did(f"Switched back, as planned: {home} is the primary again, and nothing was lost.")
    bench.wait_until_equal()
    bench.saw(bench.verify().sentence)
    return seconds


DRILL = Drill(
    name="two-admins",
    title="Two admins and a failover",
    question="Who wins when two people edit the same thing and the primary dies in between?",
    story=(
        "Two admins have the same product open. One saves; before that has reached the far side, the primary is lost and the replica takes"
        " over. The other one saves too, knowing nothing of it.",
        "This drill plays it through, together with what people do in a hurry: pressing the same button twice, and entering again what"
        " somebody else has replaced.",
    ),
    others=WHILE_THE_PRIMARY_CHANGES,
    seconds=7,
    needs=(Part.LABORATORY, Part.FAILOVER, Part.READS),
    changes_primary=True,
    carry_out=carry_out,
)
