"""Pages that are kept: never an old price, never another visitor's cart, message, token or side."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader, UndefinedError
from markupsafe import escape
from msgspec import Struct
from msgspec.structs import replace

from shop.repository.embedded import EmbeddedRepository
from shop.web import cart, catalog, checkout, fragments, orders, visitor
from shop.web.extensions import tokens
from tests.builders import a_category, a_product, customer_form, keep
from tests.web.visitor import Visitor

READERS = 100
EDITS = 25
VISITORS = 6
ROUNDS = 8

TEA = a_category(id="tea", slug="tea", name="Tea 0")
POT = a_product(id="pot", slug="pot", name="Pot 0", price_cents=10_000, stock=1, category_id="tea", picture="p0.svg")
CUP = a_product(id="cup", slug="cup", name="Cup", category_id="tea")

OF_THE_CART = ("/cart", "/checkout")
ADDRESSES = ("/", "/?q=pot", "/?category=tea", "/products/pot", "/products/cup", *OF_THE_CART)


@pytest.fixture(autouse=True)
def goods(repository: EmbeddedRepository) -> None:
    keep(repository, TEA, POT, CUP)


def edit(repository: EmbeddedRepository, number: int) -> None:
    """All that a page shows of the pot, at once, each with the number in it."""
    with repository.update() as unit:
        unit.put_category(replace(TEA, name=f"Tea {number}"))
        unit.put_product(
            replace(
                POT,
                name=f"Pot {number}",
                price_cents=10_000 + number,
                stock=number % 5 + 1,
                picture=f"p{number}.svg",
                description=f"Made {number}",
            )
        )


def with_a_pot(app: Flask) -> Visitor:
    """A visitor who has put a pot in the cart when it cost what it costs now."""
    visitor = Visitor(app.test_client())
    assert visitor.add("pot").follow().notices
    return visitor


def numbers_on(page: str, address: str) -> dict[str, int]:
    """What the page says of the pot and of the menu, as the numbers of the edits they come from."""
    price = re.search(r"€(10\d)\.(\d\d)", page)
    patterns = {"name": r"Pot (\d+)", "picture": r"/p(\d+)\.svg", "menu": r">Tea (\d+)</a>"}
    found = {name: {int(one) for one in re.findall(pattern, page)} for name, pattern in patterns.items()}
    assert price is not None, page
    found["price"] = {int(price[1] + price[2]) - 10_000}
    assert all(len(numbers) == 1 for numbers in found.values()), found
    numbers = {name: next(iter(values)) for name, values in found.items()}
    if address in OF_THE_CART:
        amounts = set(re.findall(r"€(\d+\.\d\d)", page))
        assert amounts <= {"100.00", f"{price[1]}.{price[2]}"}, (
            amounts
        )  # what it was, what it is; and the same as the sum
        return numbers
    left = re.search(r"Only (\d) left", page)
    assert left is not None, page
    assert int(left[1]) == numbers["price"] % 5 + 1
    return numbers


def together(works: list[Callable[[], None]]) -> None:
    """Do all at the same time; raises the first that failed."""
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def test_no_reader_who_starts_after_an_edit_was_answered_sees_what_was_before(
    app: Flask, repository: EmbeddedRepository
) -> None:
    """A hundred read while one edits; each page is of one moment, and of none before the last answer when it was asked for."""
    answered = 0  # number of the last edit that was answered
    read = threading.Semaphore(0)
    is_over = threading.Event()
    seen: set[int] = set()

    def reader(number: int) -> Callable[[], None]:
        address = ADDRESSES[number % len(ADDRESSES)]
        client = with_a_pot(app).client if address in OF_THE_CART else app.test_client()

        def look() -> None:
            try:
                while not is_over.is_set():
                    before = answered
                    numbers = numbers_on(client.get(address).text, address)
                    assert len(set(numbers.values())) == 1, f"{address} is of several moments: {numbers}"
                    assert numbers["price"] >= before, f"{address} is of edit {numbers['price']}, after {before}"
                    seen.add(numbers["price"])
                    read.release()
            finally:
                read.release(READERS * EDITS)  # nobody waits for who has failed

        return look

    def edits() -> None:
        nonlocal answered
        try:
            for number in range(1, EDITS + 1):
                edit(repository, number)
                answered = number
                for _ in range(READERS // 10):
                    read.acquire()
        finally:
            is_over.set()

    edit(repository, 0)
    together([*(reader(number) for number in range(READERS)), edits])

    assert len(seen) > EDITS // 2  # they did read in between


@pytest.mark.parametrize(
    ("fields", "shows_in_cart"),
    [
        ({"price_cents": 4321}, True),
        ({"name": "Kettle"}, True),
        ({"stock": 3}, False),
        ({"stock": 0}, True),
        ({"picture": "pictures/kettle.svg"}, True),
        ({"category_id": "cups"}, False),
        ({"is_archived": True}, True),
    ],
    ids=["price", "name", "stock", "sold out", "picture", "category", "archived"],
)
def test_each_field_that_shows_changes_the_pages_with_the_edit(
    app: Flask, repository: EmbeddedRepository, fields: dict[str, Any], shows_in_cart: bool
) -> None:
    """What is drawn from what was kept is what a shop that has kept nothing draws."""
    cups = a_category(id="cups", slug="cups", name="Cups")
    keep(repository, cups)
    client = with_a_pot(app).client
    before = [client.get(address).text for address in ADDRESSES]

    keep(repository, replace(POT, **fields))

    after = [client.get(address).text for address in ADDRESSES]
    fragments.register(app, token=tokens.token, messages=visitor.messages)  # keeps nothing yet
    anew = [client.get(address).text for address in ADDRESSES]
    without_tokens = [re.sub(r'"csrf_token" value="[^"]+"', "", page) for page in after]
    assert without_tokens == [re.sub(r'"csrf_token" value="[^"]+"', "", page) for page in anew]
    assert before[3] != after[3]
    assert [one != other for one, other in zip(before[-2:], after[-2:], strict=True)] == [shows_in_cart] * 2


def test_visitors_at_the_same_time_each_have_their_own_cart_token_and_messages(
    app: Flask, repository: EmbeddedRepository, replication: Any
) -> None:
    mugs = [
        a_product(id=f"mug-{n}", slug=f"mug-{n}", name=f"Mug of {n}", category_id="tea", stock=900)
        for n in range(VISITORS)
    ]
    keep(repository, *mugs)
    replication.sync_now()
    tokens: dict[int, str] = {}

    def shopping(number: int) -> Callable[[], None]:
        visitor = Visitor(app.test_client())
        is_far = number % 3 == 2

        def look(address: str, pieces: int) -> str:
            """A page, on which everything that is a visitor's is this one's."""
            page = visitor.get(address)
            html = page.response.text
            assert re.findall(r'class="cart-link__count">(\d+)', html) == ([str(pieces)] if pieces else [])
            assert page.notices == [] or is_far, page.notices
            assert bool(list(page.tree.all(class_="badge--there"))) == is_far
            for field in page.tree.all("input", name="csrf_token"):
                secret = field["value"].partition(".")[0]  # what the token signs; behind it stands when
                assert tokens.setdefault(number, secret) == secret
            return html

        def shop() -> None:
            if is_far:
                visitor.get("/far-side").send("/far-side", policy="replica")
            pieces = 0
            for _ in range(ROUNDS):
                look("/", pieces)
                look("/products/cup", pieces)
                visitor.add(f"mug-{number}", str(number + 1))
                pieces += number + 1
                told = visitor.get("/").notices
                assert [notice for notice in told if "in your cart" in notice] == [f"Mug of {number} is in your cart."]
            look("/", pieces)

        return shop

    together([shopping(number) for number in range(VISITORS)])

    assert len(set(tokens.values())) == VISITORS


def test_customers_who_buy_the_same_each_have_their_own_checkout_and_order(app: Flask) -> None:
    """All that the pages show of the goods is the same for both; all that is somebody's own is that one's."""
    own: list[set[str]] = []
    pages: list[str] = []
    for name in ("Anna <b>", "Bert & Co"):
        customer = Visitor(app.test_client())
        customer.add("cup")
        customer.get("/cart")
        form = customer.get("/checkout")
        typed = customer_form() | {"name": name, "street": f"{name} street", "note": f"{name} bell"}
        order = form.send("/checkout", **typed)
        page = order.follow()
        number, _, token = (order.location or "").removeprefix("/orders/").partition("?token=")
        assert page.main.text.count(name) == 3
        own.append({number, token, escape(name), form.fields("/checkout")["checkout_key"]})
        pages.append(form.response.text + page.response.text)

    assert not own[0] & own[1]
    for mine, others, text in ((own[0], own[1], pages[0]), (own[1], own[0], pages[1])):
        assert all(one in text for one in mine)
        assert not any(one in text for one in others)


def test_a_long_cart_and_its_order_are_drawn_each_time_and_not_kept(app: Flask, repository: EmbeddedRepository) -> None:
    goods = [a_product(slug=f"thing-{number}", name=f"Thing {number}") for number in range(fragments.LINES_MAX + 1)]
    keep(repository, *goods)
    visitor = Visitor(app.test_client())
    for product in goods:
        visitor.add(product.slug)
    before = kept_pages(app)

    assert f"Thing {fragments.LINES_MAX}" in visitor.get("/cart").main.text
    placed = visitor.get("/checkout").send("/checkout", **customer_form()).follow()

    assert placed.heading == "Thank you, your order is placed"
    assert kept_pages(app) == before


def test_a_short_cart_and_its_order_are_kept(app: Flask) -> None:
    visitor = with_a_pot(app)
    before = kept_pages(app)

    visitor.get("/cart")
    visitor.get("/checkout").send("/checkout", **customer_form()).follow()

    assert kept_pages(app) >= before + 2  # the cart has perhaps been seen


def kept_pages(app: Flask) -> int:
    return int(app.extensions["antipode.fragments"].blocks.cache_info().currsize)


class _Shown(Struct, frozen=True):
    number: int
    template = "page.html"
    line_count = 0

    def variables(self) -> dict[str, Any]:
        return {"number": self.number}


@pytest.fixture
def frame() -> fragments.Frame:
    return fragments.Frame((), 0, False, False)


@pytest.fixture
def draw(app: Flask, frame: fragments.Frame) -> Iterator[Callable[[str], str]]:
    """A page with that main part, as it is kept, for a visitor whose token is "mine"."""
    templates = app.jinja_env.loader
    assert templates is not None

    def draw(main: str, macros: str = "") -> str:
        source = "{% extends layout %}{% block main %}" + main + "{% endblock %}"
        app.jinja_env.loader = ChoiceLoader([DictLoader({"page.html": source, "macros.html": macros}), templates])
        return fragments.page(_Shown(1), frame).body(csrf_token="mine").decode()

    with app.test_request_context():
        yield draw


@pytest.mark.parametrize(
    "asked", ["session.cart", "request.path", "g.user", "config.SECRET_KEY", "shop.alerts()", "get_flashed_messages()"]
)
def test_a_template_of_a_kept_page_is_refused_what_the_page_is_not_kept_under(
    draw: Callable[[str], str], asked: str
) -> None:
    with pytest.raises(UndefinedError):
        draw("{{ " + asked + " }}")
    with pytest.raises(UndefinedError):  # a macro sees the globals, whatever its page is given
        draw(
            '{% from "macros.html" import asks %}{{ asks() }}',
            macros="{% macro asks() %}{{ " + asked + " }}{% endmacro %}",
        )


def test_a_token_is_filled_in_for_each_visitor_and_never_kept(
    draw: Callable[[str], str], frame: fragments.Frame
) -> None:
    assert "<mine|1|mine>" in draw("<{{ csrf_token() }}|{{ number }}|{{ csrf_token() }}>")
    assert b"<yours|1|yours>" in fragments.page(_Shown(1), frame).body(csrf_token="yours")


def test_a_page_put_together_of_its_frame_and_what_it_shows_is_the_page_as_it_is_drawn_whole(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = with_a_pot(app).get("/checkout").send("/checkout", **customer_form())
    addresses = [*ADDRESSES, "/?q=nothing", "/?q=cup&category=tea&in_stock=1&sort=price", order.location or ""]
    visitor = Visitor(app.test_client())
    visitor.add("cup", "2")

    def pages() -> list[str]:
        return [re.sub(r'"csrf_token" value="[^"]+"', "", visitor.get(address).response.text) for address in addresses]

    visitor.get("/cart")  # where it is told what was put in it
    kept = pages()
    for module in (cart, catalog, checkout, orders):
        monkeypatch.setattr(module, "common_frame", lambda *_args, **_more: None)

    assert kept == pages()
