"""Refusals and faults: each a page in the shop's clothes, with its status, that says what happened and where to go."""

import re

import pytest

from shop.errors import Conflict, NotAllowed, TooManyRequests, WritesUnavailable
from tests.builders import a_category, a_product, keep

TEA = a_category(slug="tea", name="Tea")
POT = a_product(slug="pot", name="Teapot", category_id=TEA.id)


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, TEA, POT)


def raising(app, error):
    """Let the front page raise."""

    def view():
        raise error

    app.view_functions["catalog.index"] = view


def test_nothing_here(visitor):
    page = visitor.get("/nope")

    assert page.status == 404
    assert page.heading == "There is nothing here"
    assert {"/", "/cart"} <= {link["href"] for link in page.main.all("a")}


def test_the_wrong_method_names_the_right_ones(client):
    answer = client.get("/cart/lines")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert "That cannot be done here" in answer.text


def test_a_body_of_two_megabytes_is_refused(visitor, repository):
    fields = visitor.get("/products/pot").fields("/cart/lines")

    page = visitor.post("/cart/lines", fields | {"padding": "x" * 2_000_000})

    assert page.status == 413
    assert page.heading == "That is too large"
    assert visitor.cart_lines() == {}


def test_thirty_thousand_fields_are_refused_or_harmless(visitor):
    fields = visitor.get("/products/pot").fields("/cart/lines")

    page = visitor.post("/cart/lines", fields | {f"f{number}": "1" for number in range(30_000)})

    assert page.status in (303, 413)


@pytest.mark.parametrize(
    ("error", "status", "heading"),
    [
        (NotAllowed("Not for you."), 403, "This is not for visitors"),
        (Conflict("It moved."), 409, "Something changed meanwhile"),
        (TooManyRequests("Too often.", 30), 429, "A moment, please"),
        (WritesUnavailable("The disk is full."), 503, "Not just now"),
    ],
)
def test_a_refusal_is_a_page_with_its_sentence(app, visitor, error, status, heading):
    raising(app, error)

    page = visitor.get("/")

    assert page.status == status
    assert page.heading == heading
    assert error.message in page.text


def test_a_refusal_that_passes_says_when_to_come_back(app, visitor):
    raising(app, TooManyRequests("Too often.", 30))

    page = visitor.get("/")

    assert page.response.headers["Retry-After"] == "30"
    assert "Please try again in 30 seconds." in page.text


def test_a_fault_is_an_apology_with_its_number_in_the_log_and_no_traceback(app, visitor, caplog):
    raising(app, RuntimeError("secret detail"))

    page = visitor.get("/")

    assert page.status == 500
    assert page.heading == "Something went wrong on our side"
    assert re.fullmatch(r"[0-9a-f]{12}", page.main.one("code").text)
    assert "secret detail" not in page.text
    assert "Traceback" not in page.text
    assert "secret detail" in caplog.text


def test_a_fault_of_the_repository_still_has_a_page(monkeypatch, visitor, repository):
    def broken():
        raise OSError("no such disk")

    monkeypatch.setattr(repository, "view", broken)
    monkeypatch.setattr(repository, "why_read_only", broken)

    assert visitor.get("/").heading == "Something went wrong on our side"


def test_the_next_request_after_a_fault_works(app, visitor):
    view = app.view_functions["catalog.index"]
    raising(app, RuntimeError())
    visitor.get("/")
    app.view_functions["catalog.index"] = view

    assert visitor.get("/").status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 5000])
def test_a_form_without_a_good_token_changes_nothing_and_says_what_to_do(visitor, repository, token):
    fields = visitor.get("/products/pot").fields("/cart/lines")
    del fields["csrf_token"]

    page = visitor.post("/cart/lines", fields | ({} if token is None else {"csrf_token": token}))

    assert page.status == 400
    assert page.heading == "Please send that again"
    assert not list(page.main.all("form"))
    with repository.view() as unit:
        assert unit.counts()["carts"] == 0


def test_an_expired_form_of_our_own_page_is_kept_and_sent_with_one_click(visitor):
    fields = visitor.get("/products/pot").fields("/cart/lines") | {"quantity": "3"}
    visitor.client.delete_cookie("session")

    page = visitor.post("/cart/lines", fields, headers={"Sec-Fetch-Site": "same-origin"})

    assert page.status == 400
    assert page.fields("/cart/lines")["quantity"] == "3"
    assert page.send("/cart/lines").status == 303
    assert visitor.cart_lines() == {"Teapot": "3"}


def test_a_password_is_never_put_into_a_page(visitor):
    page = visitor.post(
        "/cart/lines", {"password": "open sesame", "csrf_token": "x"}, headers={"Sec-Fetch-Site": "same-origin"}
    )

    assert "open sesame" not in page.response.text


def test_what_was_asked_is_not_echoed(visitor):
    page = visitor.get("/%3Cscript%3Ealert(1)%3C/script%3E")

    assert page.status == 404
    assert "alert(1)" not in page.response.text
