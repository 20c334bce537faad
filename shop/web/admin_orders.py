"""The orders, for the shopkeeper: what is to be sent, one order, sent, cancelled; and the first page of the admin."""

import re
from urllib.parse import urljoin

import structlog
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from shop import orders
from shop.errors import Conflict, NotFound, ShopError
from shop.models import Order, OrderStatus
from shop.replication.contract import State
from shop.web.admin_auth import current_admin, login_required, refusal
from shop.web.admin_lists import address, page_asked, words_asked
from shop.web.links import order_address
from shop.web.replication_view import STATE_WORDS
from shop.web.services import services
from shop.web.updates import keep

bp = Blueprint("admin_orders", __name__, url_prefix="/admin")
bp.register_error_handler(ShopError, refusal)

ORDERS_PER_PAGE = 25
LATEST_SHOWN = 8
LOW_STOCK_SHOWN = 8
STATUSES = {"": "All", "placed": "To send", "sent": "Sent", "cancelled": "Cancelled"}
STATE_KINDS = {
    State.IN_SYNC: "success",
    State.BEHIND: "there",
    State.PAUSED: "warning",
    State.OUTAGE: "danger",
    State.FAILING: "danger",
    State.REFUSED: "danger",
    State.SNAPSHOT_NEEDED: "danger",
}

_log = structlog.get_logger("admin")


@bp.get("/")
@login_required
def dashboard() -> ResponseReturnValue:
    """What wants attention: parcels, empty shelves, the far side."""
    parts = services()
    with parts.repository.view() as unit:
        latest = unit.orders(words="", status="", page=1, size=LATEST_SHOWN)
        to_send = unit.orders(words="", status=OrderStatus.PLACED, page=1, size=1).total
        low = unit.products_low_in_stock(page=1, size=LOW_STOCK_SHOWN)
        on_sale = unit.admin_products(words="", archived=False, page=1, size=1).total
    replication = parts.replication.status()
    return render_template(
        "admin/dashboard.html",
        latest=latest,
        to_send=to_send,
        low=low,
        on_sale=on_sale,
        replication=replication,
        replication_word=STATE_WORDS[replication.state],
        replication_kind=STATE_KINDS[replication.state],
    )


@bp.get("/orders")
@login_required
def index() -> ResponseReturnValue:
    words, status = words_asked(), request.args.get("status", "")
    status = status if status in STATUSES else ""
    with services().repository.view() as unit:
        page = unit.orders(words=words, status=status, page=page_asked(), size=ORDERS_PER_PAGE)
    path = url_for("admin_orders.index")
    return render_template(
        "admin/orders/index.html",
        page=page,
        words=words,
        status=status,
        tab_entries=[(text, address(path, q=words, status=slug), slug == status) for slug, text in STATUSES.items()],
        address_of_page=lambda number: address(path, q=words, status=status, page=number),
    )


@bp.get("/orders/<number>")
@login_required
def show(number: str) -> ResponseReturnValue:
    return _order_page(number)


@bp.post("/orders/<number>/sent")
@login_required
def mark_sent(number: str) -> ResponseReturnValue:
    """Note that the parcel has left; an order that is not as it was shown is shown again instead."""
    parts = services()
    try:
        keep(lambda unit: orders.mark_sent(unit, number, _version_seen(), parts.clock.now()))
    except Conflict as conflict:
        return _order_page(number, refused=conflict)
    _log.info("order sent", admin=current_admin(), order=number)
    flash(f"Order {number} is marked as sent.")
    return redirect(url_for("admin_orders.show", number=number), 303)


@bp.get("/orders/<number>/cancellation")
@login_required
def ask_cancellation(number: str) -> ResponseReturnValue:
    """Ask before it is done: what a cancellation does cannot be undone."""
    order = _order(number)
    if order.status is not OrderStatus.PLACED:
        flash(f"Order {number} cannot be cancelled: it was {order.status.value} before.", "warning")
        return redirect(url_for("admin_orders.show", number=number), 303)
    return render_template("admin/orders/cancellation.html", order=order, pieces=_pieces(order))


@bp.post("/orders/<number>/cancellation")
@login_required
def cancel(number: str) -> ResponseReturnValue:
    parts = services()
    try:
        order = keep(lambda unit: orders.cancel(unit, number, _version_seen(), parts.clock.now()))
    except Conflict as conflict:
        return _order_page(number, refused=conflict)
    _log.info("order cancelled", admin=current_admin(), order=number)
    pieces = _pieces(order)
    flash(f"Order {number} is cancelled; {pieces} {'piece is' if pieces == 1 else 'pieces are'} back in stock.")
    return redirect(url_for("admin_orders.show", number=number), 303)


def _order_page(number: str, *, refused: Conflict | None = None) -> ResponseReturnValue:
    order = _order(number)
    with services().repository.view() as unit:
        products = unit.products({line.product_id for line in order.lines})
    page = render_template(
        "admin/orders/show.html",
        order=order,
        products=products,
        customer_link=urljoin(request.host_url, order_address(number)),
        country_names=orders.COUNTRIES,
        sentence=refused.message if refused else "",
        commit=_commit_of(order),
    )
    return page, refused.status if refused else 200


def _commit_of(order: Order) -> tuple[int, int] | None:
    """Timeline and LSN of its newest change, while that is known."""
    laboratory = services().laboratory
    return laboratory.commit_of("orders", order.number) if laboratory is not None else None


def _order(number: str) -> Order:
    with services().repository.view() as unit:
        order = unit.order(number)
    if order is None:
        raise NotFound("There is no such order.")
    return order


def _pieces(order: Order) -> int:
    return sum(line.quantity for line in order.lines)


def _version_seen() -> int:
    """The version that was shown; 0, which no order has, for anything that is none."""
    text = request.form.get("version", "")
    return int(text) if re.fullmatch("[0-9]{1,12}", text) else 0
