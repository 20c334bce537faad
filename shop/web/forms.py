"""What people type, as WTForms reads it; the rules themselves are the domain's. Flask-WTF has checked the CSRF token before.

A form keeps what was typed and has a sentence per refused field in `problems`, for the macros in `components/field.html`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from wtforms import Field, Form, StringField, ValidationError

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


def parsed_by(parse: Callable[[str], object]) -> Callable[[Any, Field], None]:
    """A validator out of a parser that raises `ValueError` with a sentence."""

    def validate(form: Any, field: Field) -> None:
        try:
            parse((field.data or "").strip())
        except ValueError as refusal:
            raise ValidationError(str(refusal)) from None

    return validate


class LineForm(ShopForm):
    """A product and how many of it."""

    product_id = StringField()
    quantity = StringField(validators=[parsed_by(parse_quantity)])

    def wanted(self) -> int:
        return parse_quantity(self.typed("quantity").strip())


class CheckoutForm(ShopForm):
    """Who orders and where it goes; and, hidden, which cart at which total was looked at."""

    name = StringField()
    email = StringField()
    street = StringField()
    postcode = StringField()
    city = StringField()
    country = StringField()
    note = StringField()
    checkout_key = StringField()
    expected_total_cents = StringField()
    settle = StringField()  # the id of a product whose line is to be put right instead of ordering

    def customer(self) -> Customer | None:
        """The customer, or None with the fields marked."""
        try:
            return orders.validate_customer({name: self.typed(name) for name in self.data})
        except Invalid as refusal:
            self.refuse(refusal.fields)
            return None

    def expected_total(self) -> int:
        """The total the customer was shown; -1, which no cart costs, for anything that is not one."""
        text = self.typed("expected_total_cents")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else -1
