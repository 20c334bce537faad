"""What the cart and the checkout show of a cart, and no more: the pages are kept under it, see `fragments`."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from shop.cart import CartView, LineView
from shop.web.forms import LineForm


class LineShown(Struct, frozen=True, kw_only=True):
    """One line, as `cart.LineView` has it."""

    product_id: str
    slug: str
    name: str
    picture: str
    price_cents: int
    price_seen_cents: int
    quantity: int
    total_cents: int
    available: int  # no more than the quantity: what is left beyond it does not show, so that a sale does not draw the page anew
    is_price_changed: bool
    is_unavailable: bool
    exceeds_stock: bool
    is_in_the_way: bool


class CartShown(Struct, frozen=True, kw_only=True):
    """The cart's page for a visitor who has typed nothing into it yet, and what the checkout shows of the cart."""

    lines: tuple[LineShown, ...]
    subtotal_cents: int
    shipping_cents: int
    total_cents: int
    free_shipping_missing_cents: int
    has_changed_prices: bool
    can_check_out: bool

    template = "cart/show.html"

    @property
    def line_count(self) -> int:
        return len(self.lines)

    @property
    def is_empty(self) -> bool:
        return not self.lines

    def variables(self, refused_id: str = "", form: LineForm | None = None) -> dict[str, Any]:
        """*form* is what was typed for the line of *refused_id* and refused."""
        return {"cart": self, "refused_id": refused_id, "form": form}


def shown(cart: CartView) -> CartShown:
    return CartShown(
        lines=_lines(cart.lines),
        subtotal_cents=cart.subtotal_cents,
        shipping_cents=cart.shipping_cents,
        total_cents=cart.total_cents,
        free_shipping_missing_cents=cart.free_shipping_missing_cents,
        has_changed_prices=cart.has_changed_prices,
        can_check_out=cart.can_check_out,
    )


def _lines(lines: Sequence[LineView]) -> tuple[LineShown, ...]:
    return tuple(
        [
            LineShown(
                product_id=line.product.id,
                slug=line.product.slug,
                name=line.product.name,
                picture=line.product.picture,
                price_cents=line.product.price_cents,
                price_seen_cents=line.price_seen_cents,
                quantity=line.quantity,
                total_cents=line.total_cents,
                available=min(line.available, line.quantity),
                is_price_changed=line.is_price_changed,
                is_unavailable=line.is_unavailable,
                exceeds_stock=line.exceeds_stock,
                is_in_the_way=line.is_in_the_way,
            )
            for line in lines
        ]
    )
