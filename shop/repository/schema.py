"""What the embedded store holds for the shop: the collections, in the order of the file, and the unique keys among them."""

from shop.models import Admin, Cart, Category, Counter, Order, Product
from shop.store import Index, Schema

SCHEMA: Schema = {
    "categories": Category,
    "products": Product,
    "carts": Cart,
    "orders": Order,
    "counters": Counter,
    "admins": Admin,
}

PRODUCT_SLUG = "product_slug"
PRODUCT_SKU = "product_sku"
CATEGORY_SLUG = "category_slug"
ORDER_CHECKOUT_KEY = "order_checkout_key"


def _product_slug(product: Product) -> str:
    return product.slug


def _product_sku(product: Product) -> str:
    return product.sku


def _category_slug(category: Category) -> str:
    return category.slug


def _order_checkout_key(order: Order) -> str:
    return order.checkout_key


INDEXES = (
    Index(PRODUCT_SLUG, "products", _product_slug),
    Index(PRODUCT_SKU, "products", _product_sku),
    Index(CATEGORY_SLUG, "categories", _category_slug),
    Index(ORDER_CHECKOUT_KEY, "orders", _order_checkout_key),
)
