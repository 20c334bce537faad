"""How amounts and moments read on a page."""

import re
from datetime import UTC, datetime

from flask import Flask
from markupsafe import Markup, escape

from shop.money import format_money, plain_amount
from shop.web.services import services

FEW_LEFT = 5  # this many and fewer are counted out to the customer
_LONG_FRACTION = re.compile(r"(\.\d{3})\d+")
PLACEHOLDER = "placeholder.svg"  # below /static, for a product without a picture


def money(cents: int, currency: str = "") -> str:
    """*cents* as `€12.50`, in the shop's currency or the one given."""
    return format_money(cents, currency or services().config.currency)


def when(timestamp: str | None) -> Markup:
    """A record's time for people, in UTC, inside `<time>`; "" for None."""
    if not timestamp:
        return Markup("")
    moment = datetime.fromisoformat(timestamp).astimezone(UTC)
    words = f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    return Markup(f'<time datetime="{escape(exact(timestamp))}">{words}</time>')  # noqa: S704 - escaped where it could matter


def exact(timestamp: str) -> str:
    """A record's time as `datetime=` takes it: of a second, three digits at most."""
    return _LONG_FRACTION.sub(r"\1", timestamp)


def register(app: Flask) -> None:
    app.add_template_filter(money)
    app.add_template_filter(when)
    app.add_template_filter(exact)
    app.add_template_filter(plain_amount)
    app.jinja_env.globals["FEW_LEFT"] = FEW_LEFT
    app.jinja_env.globals["PLACEHOLDER"] = PLACEHOLDER
