"""Prices and quantities are read strictly and written plainly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.models import PRICE_CENTS_MAX, QUANTITY_MAX, STOCK_MAX
from shop.money import format_money, parse_price, parse_quantity, parse_stock, plain_amount

NOT_NUMBERS = [
    "", " ", "abc", "-1", "+1", "1e9", "1e3", "NaN", "nan", "inf", "Infinity", "0x10", "1_000", "1 000", " 1", "1 ", "1\n",
    "١٢", "１２", "²", "1٫5", "--1", "€5", "None", "[1]", "1;2", "\x00", "1\x00", ".5", "5.", ".", ",", "1.2.3", "1,2,3", "1/2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cents"),
    [("12.50", 1250), ("12,50", 1250), ("12", 1200), ("12.5", 1250), ("0.01", 1), ("0", 0), ("007.05", 705),
     ("1000000", PRICE_CENTS_MAX), ("1000000.00", PRICE_CENTS_MAX)],
)  # fmt: skip
def test_a_price_is_read_as_cents(text: str, cents: int) -> None:
    assert parse_price(text) == cents


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "1,000.00", "1.000,00"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Enter a price"):
        parse_price(text)


@pytest.mark.parametrize("text", ["12.505", "0.001", "1,250"])
def test_a_third_decimal_is_refused_rather_than_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="at most two decimals"):
        parse_price(text)


@pytest.mark.parametrize("text", ["1000000.01", "9999999", "1000000000", "9" * 10_000])
def test_a_price_above_the_highest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"at most 1,000,000\.00"):
        parse_price(text)


@given(st.integers(min_value=0, max_value=PRICE_CENTS_MAX))
def test_what_stands_in_a_price_field_is_read_back_as_the_same_amount(cents: int) -> None:
    assert parse_price(plain_amount(cents)) == cents
    assert parse_price(plain_amount(cents).replace(".", ",")) == cents


@given(st.text())
def test_any_text_is_a_price_in_range_or_a_sentence(text: str) -> None:
    sentence = "Enter a price"
    try:
        cents = parse_price(text)
    except ValueError as refusal:
        sentence = str(refusal)
    else:
        assert 0 <= cents <= PRICE_CENTS_MAX
        assert text.isascii()

    assert sentence.startswith("Enter a price")


@pytest.mark.parametrize(("text", "quantity"), [("1", 1), ("01", 1), (str(QUANTITY_MAX), QUANTITY_MAX)])
def test_a_quantity_is_read(text: str, quantity: int) -> None:
    assert parse_quantity(text) == quantity


@pytest.mark.parametrize(
    "text", [*NOT_NUMBERS, "0", str(QUANTITY_MAX + 1), "1000000000", "1.5", "9223372036854775808", "9" * 10_000]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Enter a quantity from 1 to 99"):
        parse_quantity(text)


@pytest.mark.parametrize(("text", "stock"), [("0", 0), (str(STOCK_MAX), STOCK_MAX)])
def test_a_stock_is_read(text: str, stock: int) -> None:
    assert parse_stock(text) == stock


@pytest.mark.parametrize("text", [*NOT_NUMBERS, str(STOCK_MAX + 1)])
def test_what_is_no_stock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Enter a stock from 0 to 1,000,000"):
        parse_stock(text)


@pytest.mark.parametrize(
    ("cents", "currency", "text"),
    [(1250, "EUR", "€12.50"), (5, "EUR", "€0.05"), (0, "EUR", "€0.00"), (123456789, "EUR", "€1,234,567.89"),
     (-50, "EUR", "-€0.50"), (1250, "USD", "$12.50"), (1250, "CHF", "CHF\u00a012.50")],
)  # fmt: skip
def test_money_is_written_for_people(cents: int, currency: str, text: str) -> None:
    assert format_money(cents, currency) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_no_cent_is_lost_in_writing(cents: int) -> None:
    assert int(format_money(cents, "EUR").translate({ord(sign): None for sign in "€,."})) == cents
