"""Put the demo goods on the shelves of a new shop, once."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from shop.clock import Clock
from shop.demo.goods import GOODS, SHELVES, Good, Shelf
from shop.models import Category, Product, timestamp
from shop.repository.contract import Repository


def seed(repository: Repository, clock: Clock) -> int:
    """Fill an empty shop with the demo goods in one commit; returns how many products were created.

    A shop that has any product or category is left as it is: 0. Nothing is ever deleted from either (a product is
    archived), so a shop once seeded stays as its shopkeeper made it.
    """
    now = clock.now()
    with repository.view() as snapshot:
        if _has_goods(snapshot.counts()):
            return 0
    with repository.update() as unit:
        if _has_goods(unit.counts()):  # somebody was faster
            return 0
        for rank, shelf in enumerate(SHELVES, start=1):
            unit.put_category(_category(shelf, rank))
        for place, good in enumerate(GOODS):
            unit.put_product(_product(good, now - timedelta(minutes=len(GOODS) - place)))
    return len(GOODS)


def _has_goods(counts: Mapping[str, int]) -> bool:
    return any(counts.get(collection, 0) for collection in ("products", "categories"))


def _category(shelf: Shelf, rank: int) -> Category:
    return Category(id=f"c-{shelf.slug}", slug=shelf.slug, name=shelf.name, rank=rank)


def _product(good: Good, created_at: datetime) -> Product:
    """Put on its shelf a minute after the one before, so that "newest" has an order."""
    return Product(
        id=f"p-{good.sku.lower()}",
        sku=good.sku,
        slug=good.slug,
        name=good.name,
        description=good.description,
        category_id=f"c-{good.shelf}",
        price_cents=good.price_cents,
        stock=good.stock,
        picture=f"pictures/{good.sku.lower()}.svg",
        created_at=timestamp(created_at),
        updated_at=timestamp(created_at),
    )
