"""What commits mean in the shop's words."""

from typing import Any

import pytest
from msgspec.structs import replace

from shop import losses
from shop.losses import Ledger, Totals
from shop.models import Admin, Counter, OrderStatus
from tests.builders import a_cart, a_category, a_customer, a_line, a_product, an_order

PRODUCT = a_product(id="p1", name="Teapot", price_cents=1250, stock=5)
ORDER = an_order(PRODUCT, number="A1-10001", total_cents=12_340)
CART = a_cart(id="0123456789abcdef")


def put(collection: str, record: Any, id: str | None = None) -> tuple[str, str, Any]:
    return collection, id or getattr(record, "id", None) or record.number, record


PLACED = [put("orders", ORDER), put("products", PRODUCT), put("carts", CART), put("counters", Counter(id="o", value=1))]


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        (PLACED, "order A1-10001, €123.40"),
        ([put("orders", replace(ORDER, status=OrderStatus.SENT, version=2))], "order A1-10001 sent"),
        (
            [put("orders", replace(ORDER, status=OrderStatus.CANCELLED, version=2)), put("products", PRODUCT)],
            "order A1-10001 cancelled",
        ),
        ([put("orders", ORDER), put("orders", replace(ORDER, number="A1-10002"))], "2 orders, €246.80"),
        ([put("products", PRODUCT)], "product Teapot"),
        (
            [put("products", PRODUCT), put("products", a_product()), put("categories", a_category())],
            "2 products, category ",
        ),
        ([("products", "p1", None)], "product p1 deleted"),
        ([("orders", "A1-10001", None), ("carts", CART.id, None)], "order A1-10001 deleted"),
        ([("orders", "A1-10001", None), ("orders", "A1-10002", None)], "2 orders deleted"),
        ([put("carts", CART)], "cart"),
        ([("carts", CART.id, None)], "cart emptied"),
        ([put("admins", Admin(id="admin", password_hash="secret", changed_at="2026"))], "admin password"),
        ([], "a new timeline"),
    ],
)
def test_a_commit_is_said_in_a_few_words(ops: Any, words: str) -> None:
    assert losses.summary(ops, "EUR").startswith(words)


@pytest.mark.parametrize(
    ("totals", "sentence"),
    [
        (Totals(), "nothing"),
        (Totals(commits=1), "1 write"),
        (Totals(commits=3, orders=2, order_cents=12_340), "3 writes, 2 orders, €123.40"),
        (Totals(commits=1, orders=1, order_cents=123_456_789), "1 write, 1 order, €1,234,567.89"),
        (Totals(commits=5, carts=1, edits=2), "5 writes, 1 cart, 2 edits"),
    ],
)
def test_what_is_at_risk_is_one_sentence(totals: Totals, sentence: str) -> None:
    assert totals.sentence("EUR") == sentence


def test_the_ledger_counts_what_is_added_and_forgets_what_has_crossed() -> None:
    ledger = Ledger(0)
    ledger.add(1, [put("carts", a_cart(id="c1"))])
    ledger.add(2, [put("carts", a_cart(id="c2"))])
    ledger.add(3, PLACED)
    ledger.add(4, [put("products", PRODUCT), put("categories", a_category())])
    ledger.add(5, [put("carts", a_cart(id="c1"))])

    assert ledger.totals() == Totals(commits=5, orders=1, order_cents=12_340, carts=2, edits=2)
    ledger.drop_through(3)
    assert ledger.totals() == Totals(commits=2, carts=1, edits=2)
    ledger.drop_through(5)
    assert ledger.totals() == Totals()


def test_a_cart_that_became_an_order_is_not_lost_twice() -> None:
    ledger = Ledger(0)
    ledger.add(1, [put("carts", CART)])
    assert ledger.totals().carts == 1

    ledger.add(2, PLACED)

    assert (ledger.totals().carts, ledger.totals().orders) == (0, 1)
    ledger.drop_through(1)
    assert ledger.totals() == Totals(commits=1, orders=1, order_cents=12_340)


def test_a_ledger_that_never_heard_of_a_commit_skips_it_with_those_that_crossed() -> None:
    ledger = Ledger(0)

    ledger.drop_through(7)

    assert ledger.lsn == 7


def test_differing_fields_are_named_and_valued_as_a_person_would() -> None:
    changed = replace(PRODUCT, price_cents=1500, is_archived=True, stock=4)

    assert losses.differing_fields("products", PRODUCT, changed, "EUR") == [
        ("price", "€12.50", "€15.00"),
        ("stock", "5", "4"),
        ("archived", "no", "yes"),
    ]


def test_no_secret_is_shown_beside_its_field() -> None:
    one = Admin(id="admin", password_hash="$argon2id$one", changed_at="2026-01-01T00:00:00Z")
    other = replace(one, password_hash="$argon2id$two")

    fields = losses.differing_fields("admins", one, other, "EUR")

    assert fields == [("password hash", losses.HIDDEN, losses.HIDDEN)]


def test_a_record_that_one_side_lacks_is_shown_by_its_headline() -> None:
    fields = {name: one for name, one, other in losses.differing_fields("orders", ORDER, None, "EUR") if not other}

    assert fields["total"] == "€123.40"
    assert fields["lines"] == "1 × Teapot"
    assert fields["customer"].startswith("Test Customer, ")
    assert ORDER.checkout_key not in str(fields)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sent_at", None, "not yet"),
        ("lines", (), "empty"),
        ("lines", (a_line(PRODUCT, 2),), "2 × p1"),
        ("is_archived", False, "no"),
        ("total_cents", 0, "€0.00"),
        ("customer", a_customer(note="ring twice"), "Test Customer, Example Street 1, 12345 Example City, DE"),
        ("status", OrderStatus.SENT, "sent"),
    ],
)
def test_a_value_is_said_as_a_person_would(name: str, value: Any, words: str) -> None:
    assert losses.field_text(name, value, "EUR") == words


@pytest.mark.parametrize(
    ("collection", "id", "record", "words"),
    [
        ("orders", "A1-10001", ORDER, "Order A1-10001"),
        ("products", "p1", PRODUCT, "Teapot"),
        ("products", "p1", None, "Product p1"),
        ("carts", "0123456789abcdef", CART, "Cart 01234567"),
        ("counters", "orders", None, "Counter orders"),
    ],
)
def test_a_record_has_a_name(collection: str, id: str, record: Any, words: str) -> None:
    assert losses.label(collection, id, record) == words
