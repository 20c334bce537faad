"""Signatures that are remembered: what is remembered is only what was good, and nobody else's."""

import time
from types import SimpleNamespace

import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface, SessionInterface
from flask.testing import FlaskClient
from markupsafe import Markup

from shop.web import cookies
from tests.builders import a_product, keep
from tests.web.visitor import Visitor

POT = a_product(slug="pot", name="Teapot")


@pytest.fixture(autouse=True)
def goods(repository):
    keep(repository, POT)


def token_of(visitor: Visitor) -> str:
    return visitor.get("/products/pot").tree.one("input", name="csrf_token")["value"]


def session_of(client: FlaskClient, value: str) -> str:
    """What the shop says in a cart link to a browser that sends this cookie: "" for nothing in the cart."""
    client.set_cookie("session", value)
    page = Visitor(client).get("/")
    return " ".join(node.text for node in page.tree.all(class_="cart-link__count"))


def test_a_cookie_that_was_good_is_read_again_and_a_changed_one_never(app: Flask, visitor: Visitor) -> None:
    visitor.add("pot")
    cookie = visitor.client.get_cookie("session")
    assert cookie is not None
    for _ in range(3):
        assert session_of(app.test_client(), cookie.value) == "1 piece"

    forged = [cookie.value[:-1], cookie.value + "A", cookie.value.swapcase(), "A" + cookie.value[1:], cookie.value[:40]]

    for value in (*forged, *forged):
        assert session_of(app.test_client(), value) == "", value


def test_a_remembered_cookie_grows_too_old_like_any_other(
    app: Flask, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.add("pot")
    cookie = visitor.client.get_cookie("session")
    assert cookie is not None
    assert session_of(app.test_client(), cookie.value) == "1 piece"

    def at(days: float) -> str:
        monkeypatch.setattr(cookies, "time", SimpleNamespace(time=lambda: time.time() + days * 86_400))
        return session_of(app.test_client(), cookie.value)

    assert at(29) == "1 piece"
    assert at(31) == ""
    assert at(-1) == ""  # signed tomorrow: no clock of ours


def test_what_a_request_does_to_its_session_stays_with_it(app: Flask) -> None:
    """A list in a session can be changed in place; the next reader of the same cookie must not see that."""
    reader = cookies.Sessions(app)
    with app.test_request_context():
        session["seen"] = [1, 2]
        answer = app.make_response("")
        reader.save_session(app, session._get_current_object(), answer)  # type: ignore[attr-defined]
    value = answer.headers["Set-Cookie"].split("=", 1)[1].split(";")[0]

    def opened() -> list[int]:
        with app.test_request_context(headers={"Cookie": f"session={value}"}) as context:
            found: list[int] = reader.open_session(app, context.request)["seen"]
            return found

    opened().append(3)

    assert opened() == [1, 2]


def test_what_is_remembered_of_a_cookie_that_was_sent_is_what_it_says(app: Flask, visitor: Visitor) -> None:
    """After each kind of thing that is put in a session: a cart, a token, sentences, a line to put back, a way to read."""
    sent = []
    for send in (
        lambda: visitor.add("pot"),
        lambda: visitor.get("/cart").send(f"/cart/lines/{POT.id}/removal"),
        lambda: visitor.get("/far-side").send("/far-side", policy="monotonic"),
        lambda: visitor.get("/"),
    ):
        send()
        cookie = visitor.client.get_cookie("session")
        assert cookie is not None
        sent.append(cookie.value)

    def opened(reader: SessionInterface, value: str) -> dict[str, object]:
        with app.test_request_context(headers={"Cookie": f"session={value}"}) as context:
            return dict(reader.open_session(app, context.request) or {})

    remembered = [opened(app.session_interface, value) for value in sent]
    assert remembered == [opened(cookies.Sessions(app), value) for value in sent]  # which has to read them
    assert [sorted(said) for said in remembered][1:3] == [
        ["_flashes", "_permanent", "cart", "csrf_token", "removed", "wrote"],
        ["_permanent", "cart", "csrf_token", "far", "removed", "wrote"],
    ]


def test_a_cookie_of_an_older_release_is_read(app: Flask, visitor: Visitor) -> None:
    """It was written in Flask's own way, where a sentence to be said is a tuple with a mark of its own."""
    visitor.add("pot")
    with visitor.client.session_transaction() as kept:
        said = {**kept, "_flashes": [("message", "Said by the release before.")]}
    value = SecureCookieSessionInterface().get_signing_serializer(app).dumps(said)  # type: ignore[union-attr]
    client = app.test_client()
    client.set_cookie("session", value)

    page = Visitor(client).get("/cart")

    assert page.notices == ["Said by the release before."]
    assert "Teapot" in page.main.text


def test_each_visitor_has_a_token_of_their_own(app: Flask) -> None:
    one, other = Visitor(app.test_client()), Visitor(app.test_client())

    tokens = {token_of(one), token_of(other)}

    assert len(tokens) == 2
    assert token_of(one) in tokens
    fields = {"product_id": POT.id, "quantity": "1"}
    assert one.post("/cart/lines", fields | {"csrf_token": token_of(one)}).status == 303
    assert one.post("/cart/lines", fields | {"csrf_token": token_of(other)}).status == 400


@pytest.mark.parametrize("cookie", ["other=caf\xe9; session=abc", "session=\xff\xfe", "session=.\x00", '"', "=;;="])
def test_bytes_that_are_no_text_in_any_cookie_of_this_host_are_no_session(app: Flask, cookie: str) -> None:
    client = app.test_client(use_cookies=False)
    for address in ("/", "/cart", "/static/css/base.css"):
        with client.get(address, environ_overrides={"HTTP_COOKIE": cookie}) as response:
            assert response.status_code == 200
            assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_cookie_that_says_what_a_session_cannot_is_no_session(app: Flask) -> None:
    flask_s = SecureCookieSessionInterface().get_signing_serializer(app)
    assert flask_s is not None
    client = app.test_client(use_cookies=False)
    for said in ({"cart": Markup("<b>")}, {"cart": "\ud800"}, ["a list"], "a text"):
        cookie = f"session={flask_s.dumps(said)}"
        assert client.get("/cart", environ_overrides={"HTTP_COOKIE": cookie}).status_code == 200
