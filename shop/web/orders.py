"""An order for its customer: reached by a signed link, from the checkout on."""

from datetime import datetime

from flask import Blueprint, get_template_attribute, render_template, request
from flask.typing import ResponseReturnValue

from shop.errors import NotFound
from shop.models import Order
from shop.orders import COUNTRIES
from shop.replication.contract import LostCommit, State
from shop.web import fragments
from shop.web.links import is_order_token, order_address
from shop.web.services import services
from shop.web.visitor import common_frame

bp = Blueprint("orders", __name__)


@bp.get("/orders/<number>")
def show(number: str) -> ResponseReturnValue:
    """One order. A wrong token and an order that never was are told apart by nobody.

    A good token whose order is not here is another matter: the shop made that link, so it owes an explanation.
    """
    if not is_order_token(number, request.args.get("token", "")):
        raise NotFound("There is no such page. If you followed the link to an order, check that all of it was copied.")
    with services().repository.view() as unit:
        order, frame = unit.order(number), common_frame(unit)
    if order is None:
        return render_template("orders/missing.html", number=number, lost=_lost(number)), 404
    draw = get_template_attribute("orders/_main.html", "main")
    main = draw(order, order_address(number), request.host_url.rstrip("/"), _crossing_sentence(order), COUNTRIES)
    return fragments.framed("orders/show.html", frame, number=number, main=main)


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
