"""An update that another one broke off is made again, and the visitor hears of it only when it will not go through."""

from contextlib import contextmanager

import pytest

from shop.errors import Crossed
from shop.web.updates import TRIES
from tests.builders import a_product, keep_products


@pytest.fixture
def product(repository):
    product = a_product(name="Cup", stock=5)
    keep_products(repository, product)
    return product


def break_off(repository, monkeypatch, *, times):
    """The next *times* updates are discarded when their block is left, as after a deadlock."""
    update, left = repository.update, [times]

    @contextmanager
    def crossed():
        with update() as unit:
            yield unit
            if left[0]:
                left[0] -= 1
                raise Crossed

    monkeypatch.setattr(repository, "update", crossed)


def test_what_was_broken_off_is_made_again_and_counts_once(repository, visitor, product, monkeypatch):
    page = visitor.get(f"/products/{product.slug}")
    break_off(repository, monkeypatch, times=TRIES - 1)

    cart = page.send("/cart/lines", quantity="2").follow()

    assert cart.status == 200
    assert cart.notices == ["Cup is in your cart."]
    assert cart.tree.one(id=f"quantity-{product.id}")["value"] == "2"


def test_what_is_broken_off_again_and_again_is_a_refusal_with_a_hint(repository, visitor, product, monkeypatch):
    page = visitor.get(f"/products/{product.slug}")
    break_off(repository, monkeypatch, times=TRIES)

    refused = page.send("/cart/lines", quantity="2")

    assert refused.status == 503
    assert refused.response.headers["Retry-After"] == "1"
    assert "Nothing was changed" in refused.main.text
    assert visitor.get("/cart").status == 200
