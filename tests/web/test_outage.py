"""The pages of a shop on two real servers, while one of them is gone, or both."""

import time
from dataclasses import replace

import pytest

from shop.replication.alerts import Alerts
from shop.repository.postgres.opening import open_repository
from shop.web.extensions import limiter
from tests.builders import a_product, keep_products
from tests.web.admin import keep_admin, log_in

BANNER = "you see is from the copy"


@pytest.fixture
def repository(postgres_pair, tmp_path):
    with open_repository(tmp_path, (postgres_pair.a.url(), postgres_pair.b.url())) as repository:
        yield repository


@pytest.fixture(autouse=True)
def _watched(app, replication, clock):
    """Somebody watches, as in the real shop: the admin's frame asks for it."""
    app.extensions["antipode"] = replace(app.extensions["antipode"], alerts=Alerts(replication.status, clock))


@pytest.fixture
def product(repository):
    product = a_product(name="Cup", stock=5)
    keep_products(repository, product)
    keep_admin(repository)
    return product


def await_crossing(repository, product):
    deadline = time.monotonic() + 20
    while True:
        with repository.view_on(repository.servers.standby) as unit:
            if unit.product(product.id) and unit.admin("admin"):
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_the_primary_goods_are_shown_and_nothing_is_sold(postgres_pair, repository, visitor, product):
    await_crossing(repository, product)
    form = visitor.get(f"/products/{product.slug}")
    assert BANNER not in form.response.text

    postgres_pair.a.kill()

    for address in ("/", f"/products/{product.slug}", "/cart", "/?q=cup&in_stock=1"):
        page = visitor.get(address)
        assert page.status == 200, address
        assert BANNER in page.response.text, address
    refused = form.send("/cart/lines", quantity="1")
    assert refused.status == 503
    assert int(refused.response.headers["Retry-After"]) > 0
    assert "Nothing was changed" in refused.main.text
    assert visitor.client.get("/readyz").status_code == 503
    assert visitor.client.get("/healthz").status_code == 200


def test_without_the_primary_the_shopkeeper_can_still_log_in(postgres_pair, repository, visitor, product):
    """That is when somebody has to promote the other side."""
    await_crossing(repository, product)
    postgres_pair.a.kill()

    log_in(visitor)

    assert visitor.get("/admin/").status == 200
    assert BANNER in visitor.get("/admin/products").response.text


def test_without_both_every_page_says_so_and_when_to_come_back(postgres_pair, repository, visitor, product):
    log_in(visitor)
    form = visitor.get(f"/products/{product.slug}")
    postgres_pair.b.kill()
    postgres_pair.a.kill()

    for address in ("/", f"/products/{product.slug}", "/checkout", "/admin/", "/admin/products"):
        page = visitor.get(address)
        assert page.status == 503, address
        assert int(page.response.headers["Retry-After"]) > 0
        assert page.main.one("h1").text == "Not just now"
    assert form.send("/cart/lines", quantity="1").status == 503
    assert visitor.client.get("/healthz").status_code == 200

    postgres_pair.a.start()
    deadline = time.monotonic() + 20
    while visitor.get("/").status != 200:
        assert time.monotonic() < deadline
    assert form.send("/cart/lines", quantity="1").status == 303
    limiter.reset()
