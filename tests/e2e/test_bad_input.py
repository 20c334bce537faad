"""Bad input to the real server: a clear answer, and nothing changed."""

import pytest

from shop.demo.goods import GOODS
from tests.e2e import shop_files
from tests.e2e.shop_process import ShopProcess
from tests.e2e.shopper import Shopper

SLUG = "enamel-mug-two-peaks"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = ShopProcess(tmp_path_factory.mktemp("shop")).start()
    yield shop
    shop.close()


@pytest.fixture
def shopper(shop):
    shopper = Shopper(shop.url)
    yield shopper
    shopper.close()


@pytest.fixture
def unchanged(shop):
    """Fails the test if it changed a record."""
    before = shop_files.collections(shop_files.primary(shop.instance))
    yield
    assert shop_files.collections(shop_files.primary(shop.instance)) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("quantity", ["0", "-1", "1000000000", "", "abc", "1.5", "1e3", "NaN", "٣", "9" * 5000])
def test_a_quantity_that_cannot_be_is_refused_beside_its_field(shopper, quantity):
    form = shopper.get(f"/products/{SLUG}").form("/cart/lines")

    reply = shopper.send(form, quantity=quantity)

    assert reply.status == 400
    assert "quantity" in reply.text.lower()
    assert 'aria-invalid="true"' in reply.text


@pytest.mark.parametrize("quantity", ["-1", "1000000000", "abc", ""])
def test_a_quantity_changed_in_the_cart_is_refused_and_the_cart_stays(shop, shopper, quantity):
    shopper.add_to_cart(SLUG, 2)
    form = next(form for form in shopper.get("/cart").forms() if "quantity" in form.fields)
    before = shop_files.primary(shop.instance)["carts"]

    reply = shopper.send(form, quantity=quantity)

    assert reply.status == 400
    assert shop_files.primary(shop.instance)["carts"] == before


@pytest.mark.usefixtures("unchanged")
def test_more_than_there_is_is_refused(shopper):
    scarce = next(good for good in GOODS if good.stock == 3)

    reply = shopper.add_to_cart(scarce.slug, 4)

    assert reply.status == 400
    assert "Only 3" in reply.text


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_a_form_without_its_csrf_token_is_refused(shopper, token):
    form = shopper.get(f"/products/{SLUG}").form("/cart/lines")
    fields = {name: value for name, value in form.fields.items() if name != "csrf_token"}

    reply = shopper.post(form.action, fields if token is None else {**fields, "csrf_token": token})

    assert reply.status == 400
    assert "<h1" in reply.text, "a page, not a bare line"


@pytest.mark.usefixtures("unchanged")
def test_the_csrf_token_of_another_visitor_is_refused(shop, shopper):
    other = Shopper(shop.url)
    foreign = other.get(f"/products/{SLUG}").form("/cart/lines").fields["csrf_token"]
    other.close()

    reply = shopper.send(shopper.get(f"/products/{SLUG}").form("/cart/lines"), csrf_token=foreign)

    assert reply.status == 400


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["/cart/lines", "/checkout", "/admin/login"])
def test_a_body_of_two_megabytes_is_refused_with_a_page(shopper, path):
    form = shopper.get(f"/products/{SLUG}").form("/cart/lines")

    reply = shopper.post(path, {**form.fields, "note": "x" * 2 * 1024 * 1024})

    assert reply.status == 413
    assert "<h1" in reply.text


@pytest.mark.usefixtures("unchanged")
def test_a_wrong_password_is_refused_and_not_repeated(shopper):
    reply = shopper.log_in("wrong horse battery staple")

    assert reply.status in (400, 401, 403)
    assert "wrong horse" not in reply.text
    assert shopper.get("/admin/").status in (302, 303)


def test_an_order_with_bad_fields_keeps_what_was_typed_and_makes_nothing(shop, shopper):
    shopper.add_to_cart(SLUG)
    form = shopper.checkout_form(email="nowhere", name="", city="Kept City")
    before = shop_files.collections(shop_files.primary(shop.instance))

    reply = shopper.send(form)

    assert reply.status == 400
    assert "Kept City" in reply.text
    assert "nowhere" in reply.text
    assert reply.text.count('aria-invalid="true"') == 2
    assert shop_files.collections(shop_files.primary(shop.instance)) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["/products/nothing", "/orders/A1-99999", "/orders/A1-10001?token=forged", "/nowhere"])
def test_what_is_not_there_is_a_page_that_says_so(shopper, path):
    reply = shopper.get(path)

    assert reply.status == 404
    assert "<h1" in reply.text


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "path", ["/static/../instance/db.json", "/static/%2e%2e/app.py", "/instance/db.json", "/.git/config"]
)
def test_files_of_the_shop_are_not_served(shopper, path):
    assert shopper.get(path).status == 404
