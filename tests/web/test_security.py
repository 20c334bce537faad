"""What every response says to the browser, whom the shop answers to, and how cookies and files are sent."""

import re

import pytest

from shop.web import headers
from shop.web.headers import trusted_hosts
from tests.builders import a_category, a_product, keep

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, TEA, POT)


def addresses(app):
    """One address of every route that can be looked at."""
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()):
            yield re.sub(r"<[^>]+>", "css/base.css" if rule.endpoint == "static" else "pot", rule.rule)


def test_every_response_has_the_headers_whatever_its_status(app, client):
    answers = [client.get(address, buffered=True) for address in addresses(app)]  # read and closed, files too
    answers += [
        client.get("/nope"),
        client.post("/cart/lines"),
        client.delete("/"),
        client.get("/", headers={"Host": "evil.example"}),
    ]

    assert {answer.status_code for answer in answers} >= {200, 400, 404, 405}
    for answer in answers:
        assert answer.headers["Content-Security-Policy"] == POLICY, answer.request.path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Server" not in answer.headers
        assert "Strict-Transport-Security" not in answer.headers


def test_no_page_has_a_script_or_style_inside(visitor, client):
    visitor.add("pot")
    for address in ("/", "/products/pot", "/cart", "/checkout", "/nope"):
        page = visitor.get(address)
        for node in page.tree.all():
            assert not [name for name in node.attributes if name == "style" or name.startswith("on")]
            assert node.tag != "style"
            assert node.tag != "script" or node["src"].startswith("/static/")
        for node in page.tree.all("link"):
            assert node["href"].startswith("/static/")


@pytest.mark.parametrize("address", ["/products/pot", "/cart", "/checkout", "/nope", "/admin/login"])
def test_what_may_show_a_cart_or_an_address_is_kept_by_no_cache(client, address):
    assert client.get(address).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1234", "[::1]:8000"])
def test_the_shop_answers_to_its_own_names(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "a b", "[::2]"]
)
def test_the_shop_does_not_answer_to_another_name(client, host):
    answer = client.get("/", headers={"Host": host})

    assert answer.status_code == 400
    assert host not in answer.text


def test_a_configured_host_is_one_of_the_names_and_every_address_is_any_name():
    assert "shop.example" in (trusted_hosts("shop.example") or [])
    assert "[fd00::1]" in (trusted_hosts("fd00::1") or [])
    assert trusted_hosts("0.0.0.0") is None


def test_cookies_are_plain_on_http_and_bound_to_the_host_on_https(client):
    plain = client.get("/products/pot").headers["Set-Cookie"]
    secure = client.get("/products/pot", base_url="https://localhost").headers["Set-Cookie"]

    assert plain.startswith("session=")
    assert "Secure" not in plain
    assert secure.startswith("__Host-session=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in secure
    assert "Domain" not in secure


def test_on_https_the_browser_is_told_to_stay_there(client):
    answer = client.get("/", base_url="https://localhost")

    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_purchase_works_on_https(client):
    page = client.get("/products/pot", base_url="https://localhost")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)

    answer = client.post(
        "/cart/lines",
        base_url="https://localhost",
        headers={"Referer": "https://localhost/products/pot"},
        data={"csrf_token": token[1], "product_id": POT.id, "quantity": "1"},
    )

    assert answer.status_code == 303


def test_a_file_named_by_its_content_is_kept_for_a_year_and_any_other_asked_for_again(client):
    address = re.search(r'href="(/static/css/base\.css\?v=[0-9a-f]{12})"', client.get("/").text)[1]

    def kept(address):
        with client.get(address) as answer:
            return answer.headers["Cache-Control"]

    assert kept(address) == "public, max-age=31536000, immutable"
    assert kept("/static/css/base.css") == "no-cache"
    assert kept("/static/css/base.css?v=000000000000") == "no-cache"


@pytest.mark.parametrize("path", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "css/../../app.py", "etc/passwd"])
def test_nothing_outside_the_static_folder_is_served(client, path):
    assert client.get(f"/static/{path}").status_code == 404


def test_every_route_that_changes_something_wants_a_token(app, client):
    exempt = {"control"}
    for rule in app.url_map.iter_rules():
        if "POST" not in (rule.methods or ()) or rule.endpoint.partition(".")[0] in exempt:
            continue
        address = re.sub(r"<[^>]+>", "1", rule.rule)
        assert client.post(address).status_code == 400, rule.rule


def test_the_headers_module_says_what_this_test_expects():
    assert headers.POLICY == POLICY
