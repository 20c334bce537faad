"""An order for its customer: reached by a signed link, from the checkout on."""

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from msgspec import Struct

from shop.errors import NotFound
from shop.models import Order, OrderLine, OrderStatus
from shop.orders import COUNTRIES
from shop.replication.contract import LostCommit, State
from shop.web import fragments
from shop.web.filters import when
from shop.web.links import address_with, is_order_token
from shop.web.services import services
from shop.web.visitor import common_frame

bp = Blueprint("orders", __name__)

MINE = "number placed address site crossing name street postcode city country note".split()


class OrderShown(Struct, frozen=True, kw_only=True):
    """What the page of an order shows that another order may show as well, with gaps for what is of this one alone: `MINE`."""

    lines: tuple[OrderLine, ...]
    subtotal_cents: int
    shipping_cents: int
    total_cents: int
    currency: str
    status: OrderStatus
    sent_at: str | None
    cancelled_at: str | None
    has_note: bool

    template = "orders/show.html"

    @property
    def line_count(self) -> int:
        return len(self.lines)

    def variables(self) -> dict[str, Any]:
        return {"order": self, "mine": {name: fragments.gap(name) for name in MINE}}


@bp.get("/orders/<number>")
def show(number: str) -> ResponseReturnValue:
    """One order. A wrong token and an order that never was are told apart by nobody.

    A good token whose order is not here is another matter: the shop made that link, so it owes an explanation.
    """
    token = request.args.get("token", "")
    if not is_order_token(number, token):
        raise NotFound("There is no such page. If you followed the link to an order, check that all of it was copied.")
    with services().repository.view() as unit:
        order, frame = unit.order(number), common_frame(unit)
    if order is None:
        return render_template("orders/missing.html", number=number, lost=_lost(number)), 404
    return Response(fragments.page(_shown(order), frame).body(**_mine(order, token)))


def _shown(order: Order) -> OrderShown:
    return OrderShown(
        lines=order.lines,
        subtotal_cents=order.subtotal_cents,
        shipping_cents=order.shipping_cents,
        total_cents=order.total_cents,
        currency=order.currency,
        status=order.status,
        sent_at=order.sent_at,
        cancelled_at=order.cancelled_at,
        has_note=bool(order.customer.note),
    )


def _mine(order: Order, token: str) -> dict[str, str]:
    customer = order.customer
    return {
        "number": order.number,
        "placed": when(order.placed_at),
        "address": address_with(order.number, token),
        "site": f"{request.scheme}://{request.host}",
        "crossing": _crossing_sentence(order),
        "name": customer.name,
        "street": customer.street,
        "postcode": customer.postcode,
        "city": customer.city,
        "country": COUNTRIES.get(customer.country, customer.country),
        "note": customer.note,
    }


def _lost(number: str) -> LostCommit | None:
    """What is known of an order that a failover left behind."""
    failover = services().failover
    return failover.lost_order(number) if failover else None


def _crossing_sentence(order: Order) -> str:
    """Where the order is between the two sides of the Earth, in plain words."""
    parts = services()
    crossing = parts.replication.passage()
    if crossing.state is State.IN_SYNC:
        return "Your order is safe on both sides of the Earth."
    age_seconds = (parts.clock.now() - datetime.fromisoformat(order.placed_at)).total_seconds()
    left_seconds = round(crossing.delay_seconds - age_seconds)
    if crossing.state is State.BEHIND and left_seconds >= 1:
        seconds = "a second" if left_seconds == 1 else f"{left_seconds} seconds"
        return f"Your order is safe on this side; in about {seconds} it will be on the far side."
    return "Your order is safe on this side; it reaches the far side as soon as the link lets it."
