"""A template is translated once, and before a visitor asks for it where there is time."""

from typing import Any, NoReturn

import pytest
from flask import Flask

from shop.web import templates
from tests.builders import a_product, customer_form, keep
from tests.web.visitor import Visitor


def test_when_all_templates_are_compiled_no_page_of_a_purchase_has_to_be(
    app: Flask, repository: Any, shopkeeper: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(repository, a_product(slug="pot"))
    app.jinja_env.cache.clear()  # type: ignore[union-attr]
    templates.compile_all(app)

    def compile_late(*_args: Any, **_more: Any) -> NoReturn:
        raise AssertionError("compiled while a visitor waits")

    monkeypatch.setattr(app.jinja_env, "compile", compile_late)
    customer = Visitor(app.test_client())
    customer.get("/")
    customer.add("pot").follow()
    order = customer.get("/checkout").send("/checkout", **customer_form()).follow()

    assert order.heading == "Thank you, your order is placed"
    assert [shopkeeper.get(page).status for page in ("/admin/", "/admin/orders", "/admin/replication")] == [200] * 3
