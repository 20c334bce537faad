"""Money and quantities: read strictly from what people type, written the way people read them.

An amount is always an integer of cents; there is no float anywhere on the way. The parsers raise `ValueError` whose text is
the sentence to show beside the field.
"""

import re
from decimal import Decimal
from functools import lru_cache

from babel.numbers import format_currency, get_currency_symbol

from shop.models import PRICE_CENTS_MAX, QUANTITY_MAX, STOCK_MAX

LOCALE = "en"

_AMOUNT = re.compile(r"([0-9]+)(?:[.,]([0-9]+))?")  # not \d, which also takes Arabic and full-width digits
_WHOLE = re.compile(r"[0-9]+")
_DIGITS_MAX = 12  # longer is refused unread: int() of a very long text is slow, and the sentence is the same


def parse_price(text: str) -> int:
    """The cents of a price typed as `12`, `12.5`, `12.50` or `12,50`; raises `ValueError` with a sentence for anything else."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise ValueError("Enter a price in digits, like 12.50.")
    units, cents = found.group(1).lstrip("0"), found.group(2) or ""
    if len(cents) > 2:
        raise ValueError("Enter a price with at most two decimals, like 12.50.")
    if len(units) > _DIGITS_MAX:
        raise ValueError(_price_too_high())
    total = int(units or "0") * 100 + int(cents.ljust(2, "0"))
    if total > PRICE_CENTS_MAX:
        raise ValueError(_price_too_high())
    return total


def parse_quantity(text: str) -> int:
    """How many of a product to buy, 1 to `QUANTITY_MAX`; raises `ValueError` with a sentence."""
    return _parse_whole(text, lowest=1, highest=QUANTITY_MAX, name="quantity")


def parse_stock(text: str) -> int:
    """How many can be sold, 0 to `STOCK_MAX`; raises `ValueError` with a sentence."""
    return _parse_whole(text, lowest=0, highest=STOCK_MAX, name="stock")


@lru_cache(maxsize=8192)
def format_money(cents: int, currency: str) -> str:
    """*cents* for people: `€12.50`. Cached, because a page of products asks for the same few amounts again and again."""
    return format_currency(
        Decimal(cents) / 100, currency, format=_pattern(currency), locale=LOCALE, currency_digits=False
    )


def plain_amount(cents: int) -> str:
    """*cents* as `parse_price` reads them back: `12.50`, what stands in a price field."""
    return f"{cents // 100}.{cents % 100:02d}"


def _parse_whole(text: str, *, lowest: int, highest: int, name: str) -> int:
    sentence = f"Enter a {name} from {lowest} to {highest:,}, in digits."
    if not _WHOLE.fullmatch(text) or len(text.lstrip("0")) > _DIGITS_MAX:
        raise ValueError(sentence)
    value = int(text)
    if not lowest <= value <= highest:
        raise ValueError(sentence)
    return value


def _price_too_high() -> str:
    return f"Enter a price of at most {PRICE_CENTS_MAX // 100:,}.00."


@lru_cache(maxsize=64)
def _pattern(currency: str) -> str:
    """Two decimals in every currency, since the records are in hundredths; `CHF` stands apart from the digits, `€` does not."""
    gap = "\u00a0" if get_currency_symbol(currency, locale=LOCALE)[-1].isalpha() else ""
    return f"¤{gap}#,##0.00"
