"""Who is looking: a visitor without a name, known by the id of a cart in a signed cookie.

The cookie is first sent when something is put in a cart, or with a form that needs a CSRF token; looking around sets none.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from flask import Flask, get_flashed_messages, session
from markupsafe import Markup
from msgspec import Struct

from shop.errors import Unavailable
from shop.models import Category
from shop.replication.contract import Alert
from shop.units import ReadUnit
from shop.web import farside, fragments
from shop.web.admin_auth import current_admin
from shop.web.services import services

CART_KEY = "cart"
MESSAGES_KEY = "_flashes"  # where Flask keeps what the next page is to say


def cart_id() -> str:
    """The id of this visitor's cart, "" for one who has none."""
    value = session.get(CART_KEY, "")
    return value if isinstance(value, str) else ""


def remember_cart(new_cart_id: str) -> None:
    """Have the visitor come back to this cart, also after the browser was closed."""
    if cart_id() != new_cart_id:
        session[CART_KEY] = new_cart_id
        session.permanent = True


def common_frame(unit: ReadUnit, *, words: str = "", menu_slug: str | None = None) -> fragments.Frame | None:
    """What stands around a page for everybody with as many pieces in the cart, both as *unit* has them.

    None for a visitor who has chosen a side, and while nothing can be changed: then the frame is drawn for this page alone.
    """
    parts = services()
    if farside.policy() is not None or parts.repository.why_read_only():
        return None
    return fragments.Frame(
        tuple([fragments.MenuEntry(category.slug, category.name) for category in unit.categories()]),
        _pieces(unit),
        parts.config.public_stage,
        parts.reads is not None,
        words,
        menu_slug,
    )


def has_messages() -> bool:
    return MESSAGES_KEY in session


class MessagesShown(Struct, frozen=True):
    """Sentences with their categories."""

    messages: tuple[tuple[str, str], ...]

    template = "components/messages.html"
    line_count = 0

    def variables(self) -> dict[str, Any]:
        return {"messages": self.messages}


def messages() -> Markup:
    """What was left to be said on this visitor's next page; said once."""
    if not has_messages():
        return Markup("")
    left = cast(list[tuple[str, str]], get_flashed_messages(with_categories=True))
    return fragments.part(MessagesShown(tuple([(category, sentence) for category, sentence in left])))


def pieces_in_cart() -> int:
    """Without a cart nothing is read. What is in a cart is always the primary's."""
    if not cart_id():
        return 0
    with services().repository.view() as unit:
        return _pieces(unit)


def _pieces(unit: ReadUnit) -> int:
    mine = cart_id()
    cart = unit.cart(mine) if mine else None
    return sum([line.quantity for line in cart.lines]) if cart else 0


class Frame:
    """What the frame around every page asks, only when it is drawn. It is `shop` in the templates."""

    def categories(self) -> Sequence[Category]:
        """The menu, from the side that the page is read from."""
        chosen = farside.unit_of_page()
        if chosen is not None:
            return chosen.categories()
        with services().repository.view() as unit:
            return unit.categories()

    def cart_quantity(self) -> int:
        return pieces_in_cart()

    def why_read_only(self) -> str:
        """One sentence while nothing can be changed, "" otherwise."""
        return services().repository.why_read_only()

    def messages(self) -> Markup:
        return messages()

    def has_public_stage(self) -> bool:
        return services().config.public_stage

    def alerts(self) -> Sequence[Alert]:
        """What is wrong with replication now; nothing for who is not logged in as the admin."""
        alerts = services().alerts
        with suppress(Unavailable):  # a refusal inside the admin's frame may be that nobody can be known
            return () if alerts is None or current_admin() is None else alerts.raised()
        return ()


def register(app: Flask) -> None:
    app.jinja_env.globals["shop"] = Frame()
