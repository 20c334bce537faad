"""The same write under the three modes, with the link up and with the link down."""

from collections.abc import Mapping
from typing import NamedTuple

from shop.drills.bench import Bench, span
from shop.drills.goods import CART_ID
from shop.drills.records import Drill, Part
from shop.errors import WritesUnavailable
from shop.replication.contract import Mode

NAMES = {Mode.ASYNC: "Async", Mode.SEMI_SYNC: "Semi-sync", Mode.SYNC: "Sync mirror"}
UP = {
    Mode.ASYNC: "the customer had the answer at once, whether the far side has the write or not",
    Mode.SEMI_SYNC: "the answer came when the write was safe on the far side",
    Mode.SYNC: "the answer came when readers of the far side saw the write",
}


class Outcome(NamedTuple):
    """One write, as its customer saw it."""

    seconds: float
    is_there: bool  # on the far side, when the answer came
    has_fallen_back: bool  # the shop announced that it does not wait any more
    refusal: str  # "" when it was written


def carry_out(bench: Bench) -> str:
    bench.begin()
    bench.replication.set_delay(bench.pace_seconds / 2)
    bench.did(
        f"Gave the link a delay of {span(bench.pace_seconds / 2)}, and made the same small write under each mode."
    )
    up = {mode: _write(bench, mode) for mode in Mode}
    for mode, outcome in up.items():
        bench.saw(f"{NAMES[mode]}: {span(outcome.seconds)}; {UP[mode]}.")
    bench.expect(
        up[Mode.SEMI_SYNC].is_there and up[Mode.SYNC].is_there, "A write was answered before the far side had it."
    )

    bench.laboratory.cut(60)
    bench.laboratory.set_timeout(max(0.1, bench.pace_seconds / 2))
    bench.did("Broke the cable, and made the same write again under each mode.")
    down = {mode: _write(bench, mode) for mode in Mode}
    _tell_down(bench, down)
    bench.laboratory.mend()
    bench.wait_until_equal()
    bench.saw("Mended the cable: everything that was accepted is on the far side.")

    for mode in Mode:
        bench.figure(f"{NAMES[mode]}: the answer took", span(up[mode].seconds), _cell(down[mode]))
    return (
        "Quick, safe, and open whatever happens: no mode is all three. Async is quick and stays open, and may lose the last writes. Sync"
        " loses nothing, but is slow, and closes when the far side is away. Semi-sync is slow and safe until it gives up waiting; then it"
        " says so, and is like async."
    )


def _write(bench: Bench, mode: Mode) -> Outcome:
    """One write, and whether the far side had it when it was answered. In the end the mode is async again: others do not wait."""
    bench.laboratory.set_mode(mode)
    refusal, key = "", ""
    began = bench.clock.monotonic()
    try:
        key = bench.goods.write()
    except WritesUnavailable as error:
        refusal = error.message
    seconds = bench.clock.monotonic() - began
    has_fallen_back = _has_fallen_back(bench)
    cart = bench.far(lambda unit: unit.cart(CART_ID))
    bench.laboratory.take_notice()  # it is told in the story
    bench.laboratory.set_mode(Mode.ASYNC)
    return Outcome(seconds, bool(key) and cart is not None and cart.checkout_key == key, has_fallen_back, refusal)


def _has_fallen_back(bench: Bench) -> bool:
    modes = bench.replication.status().modes
    return modes is not None and modes.is_fallen_back


def _tell_down(bench: Bench, down: Mapping[Mode, Outcome]) -> None:
    bench.expect(
        not any(outcome.is_there for outcome in down.values()), "A write crossed although the cable is broken."
    )
    bench.expect(not down[Mode.ASYNC].refusal, "Async refused a write because the link is down.")
    bench.saw(
        f"Async: {span(down[Mode.ASYNC].seconds)}, as if nothing had happened. The write is at risk until the cable is whole."
    )
    bench.expect(not down[Mode.SEMI_SYNC].refusal, "Semi-sync refused a write because the link is down.")
    bench.expect(down[Mode.SEMI_SYNC].has_fallen_back, "Semi-sync went on without the far side, and did not say so.")
    bench.saw(
        f"Semi-sync: {span(down[Mode.SEMI_SYNC].seconds)}. It waited for its timeout, then announced that it goes on without the far side."
        " From there on writes are at risk as with async."
    )
    bench.expect(bool(down[Mode.SYNC].refusal), "Sync accepted a write that cannot reach the far side.")
    bench.saw(f"Sync mirror: nothing was written. “{down[Mode.SYNC].refusal}”")


def _cell(outcome: Outcome) -> str:
    if outcome.refusal:
        return "with the cable broken: refused, nothing is written"
    return f"with the cable broken: {span(outcome.seconds)}, and at risk"


DRILL = Drill(
    name="modes",
    title="One write, three modes",
    question="What does it cost a customer if nothing may ever be lost?",
    story=(
        "When should a customer read “confirmed”: when the order is safe here (async), when it is safe on the far side as well"
        " (semi-sync), or when it can be read there (sync)? The later, the longer they wait, and the less can be lost.",
        "This drill makes the same write under each of the three, first on a link that works, then on one that is broken.",
    ),
    others=(
        "For about two seconds other people's writes wait for the far side, too; for a fraction of one, with the cable broken under sync,"
        " they are refused and asked to try again."
    ),
    seconds=7,
    needs=(Part.LABORATORY, Part.READS),
    carry_out=carry_out,
)
