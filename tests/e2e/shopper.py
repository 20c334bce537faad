"""A shopper without a browser: one connection, cookies, and forms filled in as the page offers them."""

import http.client
from collections.abc import Mapping
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

CUSTOMER = {
    "name": "Test Customer",
    "email": "customer@example.com",
    "street": "1 Example Street",
    "postcode": "10115",
    "city": "Berlin",
    "country": "DE",
}


class Form(NamedTuple):
    action: str  # a path
    method: str
    fields: dict[str, str]  # as they would be sent untouched


class Reply(NamedTuple):
    status: int
    path: str  # what was asked
    location: str  # a path, "" unless this is a redirect
    headers: Mapping[str, str]
    text: str

    def forms(self) -> list[Form]:
        """The POST forms of the page."""
        return [form for form in _forms(self.text, self.path) if form.method == "post"]

    def form(self, action: str) -> Form:
        """The first POST form of the page that goes to *action*."""
        forms = self.forms()
        for form in forms:
            if urlsplit(form.action).path == action:
                return form
        raise AssertionError(
            f"{self.status} {self.path} has no form for {action}, only {[form.action for form in forms]}"
        )


class Shopper:
    """Raises `OSError` or `http.client.HTTPException` when the server goes away in the middle."""

    def __init__(self, url: str) -> None:
        self.cookies: dict[str, str] = {}
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def move(self, url: str) -> None:
        """The same visitor on a server that was started again elsewhere."""
        self._connection.close()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, fields: Mapping[str, str]) -> Reply:
        return self.request("POST", path, urlencode(fields).encode())

    def send(self, form: Form, **changes: str) -> Reply:
        return self.post(form.action, {**form.fields, **changes})

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            text = response.read().decode()
        except BaseException:
            self._connection.close()
            raise
        self._keep_cookies(response.headers.get_all("Set-Cookie") or [])
        location = urljoin(path, response.headers.get("Location", "")) if response.headers.get("Location") else ""
        parts = urlsplit(location)
        location = parts.path + (f"?{parts.query}" if parts.query else "")
        return Reply(response.status, path, location, dict(response.headers), text)

    def follow(self, reply: Reply) -> Reply:
        assert reply.location, f"{reply.status} {reply.path} is no redirect:\n{reply.text[:2000]}"
        return self.get(reply.location)

    def add_to_cart(self, slug: str, quantity: int = 1) -> Reply:
        return self.send(self.get(f"/products/{slug}").form("/cart/lines"), quantity=str(quantity))

    def checkout_form(self, **customer: str) -> Form:
        """The checkout of the cart, filled in."""
        form = self.get("/checkout").form("/checkout")
        return form._replace(fields={**form.fields, **CUSTOMER, **customer})

    def buy(self, slug: str, quantity: int = 1, **customer: str) -> str:
        """One order of one product; returns its number."""
        added = self.add_to_cart(slug, quantity)
        assert added.status == 303, f"{added.status}\n{added.text[:2000]}"
        return number_of(self.send(self.checkout_form(**customer)))

    def log_in(self, password: str) -> Reply:
        return self.send(self.get("/admin/login").form("/admin/login"), password=password)

    def _keep_cookies(self, lines: list[str]) -> None:
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or morsel.value == "":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


def number_of(reply: Reply) -> str:
    """The number of the order that *reply* confirms: a redirect to its page."""
    assert reply.status == 303, f"{reply.status} {reply.path}\n{reply.text[:3000]}"
    assert reply.location.startswith("/orders/"), reply.location
    assert "token=" in reply.location
    return urlsplit(reply.location).path.removeprefix("/orders/")


def _forms(text: str, path: str) -> list[Form]:
    parser = _FormParser(path)
    parser.feed(text)
    return parser.forms


class _FormParser(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._path = path
        self._form: Form | None = None
        self._select = ""
        self._textarea = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        attrs = {name: value or "" for name, value in attributes}
        if tag == "form":
            action = urljoin(self._path, attrs.get("action", "")) if attrs.get("action") else self._path
            self._form = Form(action, attrs.get("method", "get").lower(), {})
            self.forms.append(self._form)
        elif self._form is None:
            return
        elif tag == "input" and attrs.get("name"):
            is_choice = attrs.get("type") in ("checkbox", "radio")
            if attrs.get("type") not in ("submit", "image", "button") and (not is_choice or "checked" in attrs):
                self._form.fields[attrs["name"]] = attrs.get("value", "on" if is_choice else "")
        elif tag == "textarea":
            self._textarea = attrs.get("name", "")
            self._form.fields[self._textarea] = ""
        elif tag == "select":
            self._select = attrs.get("name", "")
        elif tag == "option" and self._select and ("selected" in attrs or self._select not in self._form.fields):
            self._form.fields[self._select] = attrs.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._textarea and self._form is not None:
            self._form.fields[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""
