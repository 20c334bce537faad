"""A visitor without a browser: reads pages as a tree, follows redirects, fills in the forms that a page offers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.markup import faults

VOID = frozenset("area base br col embed hr img input link meta source track wbr path circle".split())


@dataclass
class Node:
    """One element, or the text "" of one."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Node | str"] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> Iterator["Node"]:
        """The elements below of that tag and with those attributes; `class_` is one of the classes."""
        for child in self.children:
            if isinstance(child, Node):
                if child._is(tag, wanted):
                    yield child
                yield from child.all(tag, **wanted)

    def one(self, tag: str = "", **wanted: str) -> "Node":
        found = list(self.all(tag, **wanted))
        assert len(found) == 1, f"{len(found)} of <{tag} {wanted}> in: {self.text[:2000]}"
        return found[0]

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join(self._raw().split())

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]

    def _raw(self) -> str:
        if self.tag in ("script", "style"):
            return ""
        return "".join(child if isinstance(child, str) else f" {child._raw()}" for child in self.children)

    def _is(self, tag: str, wanted: Mapping[str, str]) -> bool:
        if tag and self.tag != tag:
            return False
        return all(
            value in self.attributes.get("class", "").split()
            if name == "class_"
            else self.attributes.get(name.replace("_", "-")) == value
            for name, value in wanted.items()
        )


class Page:
    """One answer. A page has to be proper HTML."""

    def __init__(self, visitor: "Visitor", response: TestResponse) -> None:
        self.visitor = visitor
        self.response = response
        self.status = response.status_code
        self.location = response.headers.get("Location", "")
        if response.mimetype == "text/html" and not self.location:
            assert not (wrong := faults(response.text)), f"{response.request.path}: {wrong}"
        self.tree = _tree(response.text)

    @property
    def text(self) -> str:
        return self.tree.text

    @property
    def main(self) -> Node:
        return self.tree.one("main")

    @property
    def heading(self) -> str:
        return self.tree.one("h1").text

    @property
    def notices(self) -> list[str]:
        return [notice.text for notice in self.tree.all(class_="notice")]

    def error_of(self, field_id: str) -> str:
        """The sentence beside a field, found as a screen reader does; "" without one."""
        control = self.tree.one(id=field_id)
        if control.attributes.get("aria-invalid") != "true":
            return ""
        ids = control["aria-describedby"].split()
        error_id = next(id for id in ids if id.startswith("error-"))
        return self.tree.one(id=error_id).text.removeprefix("Error: ")

    def form(self, action: str) -> Node:
        forms = [form for form in self.tree.all("form") if form.attributes.get("action", "") == action]
        assert forms, f"no form for {action}: {[form.attributes for form in self.tree.all('form')]}"
        return forms[0]

    def fields(self, action: str) -> dict[str, str]:
        """What the form would send if nothing were typed."""
        return dict(_fields(self.form(action)))

    def send(self, action: str, **typed: str) -> "Page":
        """The form filled in and sent."""
        form = self.form(action)
        data = self.fields(action) | typed
        if form.attributes.get("method", "get") == "get":
            return self.visitor.get(action, **data)
        return self.visitor.post(action, data)

    def follow(self) -> "Page":
        assert self.location, f"{self.status} is no redirect: {self.text[:1000]}"
        return self.visitor.get(self.location)


class Visitor:
    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **query: str) -> Page:
        return Page(self, self.client.get(path, query_string=query or None))

    def post(self, path: str, data: Mapping[str, Any], **options: Any) -> Page:
        return Page(self, self.client.post(path, data=data, **options))

    def add(self, slug: str, quantity: str = "1") -> Page:
        return self.get(f"/products/{slug}").send("/cart/lines", quantity=quantity)

    def cart_lines(self) -> dict[str, str]:
        """Product name -> what stands in its quantity field, "" for a line that can only be removed."""
        lines = self.get("/cart").tree.all(class_="cart-line")
        return {
            line.one("h2").text: next((i["value"] for i in line.all("input", name="quantity")), "") for line in lines
        }


def _fields(form: Node) -> Iterator[tuple[str, str]]:
    for control in form.all():
        if "name" not in control.attributes:
            continue
        match control.tag, control.attributes.get("type", ""):
            case "input", "checkbox" | "radio":
                if "checked" in control.attributes:
                    yield control["name"], control.attributes.get("value", "on")
            case "input", _:
                yield control["name"], control.attributes.get("value", "")
            case "textarea", _:
                yield control["name"], control._raw().removeprefix("\n")
            case "select", _:
                options = list(control.all("option"))
                chosen = [option for option in options if "selected" in option.attributes] or options[:1]
                yield control["name"], chosen[0]["value"]


def _tree(html: str) -> Node:
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return parser.root


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if any(node.tag == tag for node in self._open[1:]):
            while self._open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
