"""What people type, as WTForms reads it; the rules themselves are the domain's. Flask-WTF has checked the CSRF token before.

A form keeps what was typed and has a sentence per refused field in `problems`, for the macros in `components/field.html`.
"""

from collections.abc import Mapping

from wtforms import Form

from shop import orders
from shop.errors import Invalid
from shop.models import Customer
from shop.money import parse_quantity

QUANTITY_TYPED_LENGTH_MAX = 100  # what is shown again of a quantity that cannot be one


class ShopForm(Form):
    """A form with one sentence for each field that was refused."""

    @property
    def problems(self) -> dict[str, str]:
        return {field.name: str(field.errors[0]) for field in self if field.errors}

    def typed(self, name: str) -> str:
        """What stands in the field, as it was typed."""
        return self[name].data or ""

    def refuse(self, problems: Mapping[str, str]) -> None:
        """Mark the fields that a rule refused."""
        for name, sentence in problems.items():
            if name in self:
                self[name].errors = [sentence]


class PlainForm:
    """The same for the forms of the shop's customers, whose rules are all the domain's: WTForms would only hold the texts, and it is
    dear to make for each request.
    """

    names: tuple[str, ...] = ()

    def __init__(self, fields: Mapping[str, str] | None = None, **typed: str) -> None:
        self._typed = typed if fields is None else fields
        self._problems: Mapping[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        return {name: self._problems[name] for name in self.names if name in self._problems}

    def typed(self, name: str) -> str:
        """What stands in the field, as it was typed."""
        return self._typed.get(name) or ""

    def refuse(self, problems: Mapping[str, str]) -> None:
        """Mark the fields that a rule refused."""
        self._problems = problems


class LineForm(PlainForm):
    """A product and how many of it."""

    names = ("product_id", "quantity")

    def validate(self) -> bool:
        try:
            self.wanted()
        except ValueError as refusal:
            self.refuse({"quantity": str(refusal)})
        return not self.problems

    def wanted(self) -> int:
        return parse_quantity(self.typed("quantity").strip())


class CheckoutForm(PlainForm):
    """Who orders and where it goes; and, hidden, which cart at which total was looked at.

    `settle` is the id of a product whose line is to be put right instead of ordering.
    """

    names = (
        *("name", "email", "street", "postcode", "city", "country", "note"),
        *("checkout_key", "expected_total_cents", "settle"),
    )

    @property
    def is_untouched(self) -> bool:
        return not self._typed and not self._problems

    def customer(self) -> Customer | None:
        """The customer, or None with the fields marked."""
        try:
            return orders.validate_customer({name: self.typed(name) for name in self.names})
        except Invalid as refusal:
            self.refuse(refusal.fields)
            return None

    def expected_total(self) -> int:
        """The total the customer was shown; -1, which no cart costs, for anything that is not one."""
        text = self.typed("expected_total_cents")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else -1
