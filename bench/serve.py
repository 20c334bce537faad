"""A server process for the benchmark: `python -m bench.serve hello`, or `shop`, `unshown` or `commits` with `FOLDER PRODUCTS`.

All run behind the same server with the same settings. It prints its address and serves until it is killed.
"""

import sys
from pathlib import Path

from flask import Flask

from shop.clock import SystemClock
from shop.config import Config
from shop.ids import new_checkout_key, new_id
from shop.memory import look_for_garbage_seldom
from shop.models import Cart, Category, Product, timestamp
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import Pair, open_pair
from shop.replication.schedule import Schedule
from shop.repository.embedded import EmbeddedRepository
from shop.server import Server, bind, url_of
from shop.store.store import Store
from shop.web import factory
from shop.web.services import Services

WORDS = (
    "brass copper linen wool oak cedar slate amber ivory indigo quiet bright narrow little northern southern folding"
    " winter summer morning evening travel pocket garden kitchen mountain river harbour island meadow"
    " lantern compass kettle blanket notebook teapot basket map globe mug lamp knife bottle bag box clock tray bowl"
).split()


def hello() -> Flask:
    app = Flask("hello")

    @app.get("/")
    def index() -> str:
        return "hello"

    return app


def product(number: int) -> Product:
    first, second, third = (WORDS[(number * step + shift) % len(WORDS)] for step, shift in ((1, 0), (7, 3), (13, 5)))
    now = timestamp(SystemClock().now())
    return Product(
        id=f"p{number}",
        sku=f"SKU-{number}",
        slug=f"product-{number}",
        name=f"{first} {second} {third} {number}".title(),
        description=f"A {first} {third} for those who like it {second}.",
        category_id=f"c{number % 10}",
        price_cents=100 + number % 9000,
        stock=1_000_000,
        created_at=now,
        updated_at=now,
    )


def open_shop(folder: Path, products: int) -> tuple[Pair, EmbeddedRepository]:
    """A new shop with goods in ten categories."""
    pair = open_pair(folder, SystemClock())
    repository = EmbeddedRepository(pair.primary)
    with repository.update() as unit:
        for number in range(10):
            unit.put_category(Category(id=f"c{number}", slug=f"c{number}", name=f"Category {number}"))
        for number in range(products):
            unit.put_product(product(number))
    return pair, repository


def shop(folder: Path, products: int) -> Flask:
    clock = SystemClock()
    pair, repository = open_shop(folder, products)
    replication = EmbeddedReplication(pair, clock=clock, delay_seconds=0.2, currency="EUR")
    pair.start()
    Schedule(replication, clock).start()
    services = Services(Config(instance=folder), clock, repository, replication)
    return factory.create_app(services, secret_key="x" * 32)


def unshown(folder: Path, products: int) -> Flask:
    """The shop, but no answer waits for db.json, which the store's own thread writes at its leisure: as if the file cost nothing."""
    Store.wait_shown = lambda store, lsn: None  # type: ignore[method-assign]
    return shop(folder, products)


def commits(folder: Path, products: int) -> Flask:
    """A bare Flask whose one view keeps a cart as the shop does, durable and shown, and does nothing else: no order can be cheaper.

    The file is as long as that of a shop with a thousand orders.
    """
    app = Flask("commits")
    _, repository = open_shop(folder, products)
    now = timestamp(SystemClock().now())
    with repository.update() as unit:
        for number in range(2000):
            unit.put_cart(Cart(id=f"cart-{number}", checkout_key=new_checkout_key(), updated_at=now))

    @app.get("/")
    def commit() -> str:
        with repository.update() as unit:
            unit.put_cart(Cart(id=new_id(), checkout_key=new_checkout_key(), updated_at=now))
        return "kept"

    return app


def main(what: str, *more: str) -> None:
    listener = bind("127.0.0.1", 0)
    if what == "hello":
        app = hello()
    else:
        app = {"shop": shop, "unshown": unshown, "commits": commits}[what](Path(more[0]), int(more[1]))
    look_for_garbage_seldom()
    print(url_of(listener), flush=True)
    Server(app, listener).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
