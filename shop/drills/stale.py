"""A page read from the far side is old; three ways to promise something better."""

from shop.drills.bench import Bench, counted, span
from shop.drills.goods import PRODUCT_ID
from shop.drills.records import Drill, Part
from shop.models import Product
from shop.replication.contract import Anomaly, Policy, Reading, Token
from shop.units import ReadUnit

NEW_CENTS = 3000
NEWER_CENTS = 3500
WORDS = {
    Anomaly.MISSED_WRITE: "missed own write",
    Anomaly.WENT_BACK: "time went backwards",
    Anomaly.LOST_WRITE: "lost write",
    Anomaly.LOST_SIGHT: "lost in a failover",
}


def carry_out(bench: Bench) -> str:
    bench.begin()
    with bench.repository.view() as unit:
        first = _product(unit)
    bench.hold()
    second = bench.goods.edit(first, NEW_CENTS)
    wrote = bench.wrote()
    old, new = bench.money(first.price_cents), bench.money(NEW_CENTS)
    bench.did(f"A shopkeeper changed a price from {old} to {new}, while the link is slow.")

    _, near = _read(bench, Policy.PRIMARY, wrote, NEW_CENTS)
    age = _stale(bench, wrote, near.seen, first.price_cents)
    waited = _cured_by_the_primary(bench, wrote)
    newer = bench.goods.edit(second, NEWER_CENTS)
    _cured_by_waiting(bench, bench.wrote(), newer)

    bench.figure("Price on the primary", new, "what was just saved")
    bench.figure("Price on the far side", old, f"{span(age)} old at that moment")
    bench.figure("Waited for the far side", span(waited), "then the primary answered")
    return (
        "A copy that follows is always a little old. That is harmless for a stranger and confusing for whoever has just changed"
        " something. A position that the visitor carries is enough to promise “never without what I did”, at the price of a short wait."
    )


def _stale(bench: Bench, wrote: Token, seen: Token, price_cents: int) -> float:
    """The far side as it is."""
    bench.wait(bench.pace_seconds)
    product, read = bench.read(Policy.REPLICA, _product, wrote=wrote, seen=seen)
    price = product.price_cents
    bench.expect(price == price_cents, "The far side showed the new price before it can have arrived.")
    bench.expect(Anomaly.MISSED_WRITE in read.anomalies, "Nobody noticed that the page misses the own write.")
    named = " and ".join(WORDS[anomaly] for anomaly in read.anomalies)
    bench.saw(
        f"Read from the far side as it is, the page still says {bench.money(price)}: it is {span(read.age_seconds or 0.0)} old,"
        f" {counted(read.commits_behind, 'commit')} behind. To the shopkeeper it looks as if the change was lost."
        f" The page names it: {named}."
    )
    return read.age_seconds or 0.0


def _cured_by_the_primary(bench: Bench, wrote: Token) -> float:
    product, read = _read(bench, Policy.OWN_WRITES, wrote, NEW_CENTS)
    bench.expect(read.side == "primary", "The far side had the change before it can have arrived.")
    bench.saw(
        f"Cure 1, for a slow link: read “with what I did”. The page waited {span(read.waited_seconds)} for the far side, gave up, and was"
        f" read from the primary: {bench.money(product.price_cents)}, which is right."
    )
    return read.waited_seconds


def _cured_by_waiting(bench: Bench, wrote: Token, product: Product) -> None:
    bench.replication.set_delay(bench.pace_seconds / 4)
    found, read = _read(bench, Policy.OWN_WRITES, wrote, product.price_cents)
    price = bench.money(found.price_cents)
    if read.side == "replica":
        bench.saw(
            f"Cure 2, for a quick link: after another change the page waited {span(read.waited_seconds)}, and then the far side itself"
            f" said {price}."
        )
    else:
        bench.saw(f"Cure 2: after another change the page said {price}, from the primary. {read.fell_back}.")
    bench.wait_until_equal()
    _read(bench, Policy.REPLICA, wrote, product.price_cents)
    bench.saw(f"A moment later everybody reads {price} on the far side, in whatever way: it has caught up.")


def _read(bench: Bench, policy: Policy, wrote: Token, price_cents: int) -> tuple[Product, Reading]:
    product, read = bench.read(policy, _product, wrote=wrote)
    said, right = bench.money(product.price_cents), bench.money(price_cents)
    bench.expect(product.price_cents == price_cents, f"The page should say {right}, and says {said}.")
    return product, read


def _product(unit: ReadUnit) -> Product:
    product = unit.product(PRODUCT_ID)
    assert product is not None  # noqa: S101 - both sides had it when the drill began
    return product


DRILL = Drill(
    name="stale-read",
    title="An old page, and its cure",
    question="Why does the price that I have just changed look unchanged?",
    story=(
        "Reading from the replica takes work off the primary, and is quick for whoever is near it. But the replica lags: it shows the"
        " shop as it was some seconds ago.",
        "This drill changes a price and reads it back at once from the far side: first just as it is, then under a promise that one's own"
        " change is seen.",
    ),
    others="Nobody notices. Other people's writes cross some seconds later than usual.",
    seconds=5,
    needs=(Part.LABORATORY, Part.READS),
    carry_out=carry_out,
)
