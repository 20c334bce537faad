"""The shop on servers that somebody else runs: one process, two addresses, nobody to ask for a rewind."""

import html
import re
from collections.abc import Callable

import psycopg

from shop.cluster.pair import Pair
from tests.e2e.conftest import StartShop
from tests.e2e.shop_process import ADMIN_PASSWORD, wait_until
from tests.e2e.shopper import Shopper

SLUG = "enamel-mug-two-peaks"
REPLICATION = "/admin/replication"
SECONDS = 20


def orders_of(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {number for (number,) in connection.execute("SELECT number FROM orders")}


def words_of(shopper: Shopper, path: str) -> str:
    reply = shopper.get(path)
    assert reply.status == 200, f"{reply.status} {path} {reply.location}"
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", reply.text)))


def test_an_old_primary_started_by_hand_takes_nothing_of_the_shop_and_tells_what_only_it_has(
    postgres_pair: Pair, start_shop: StartShop, new_shopper: Callable[[str], Shopper]
) -> None:
    a, b = postgres_pair.servers
    shop = start_shop(SHOP_PRIMARY_URL=a.url(), SHOP_REPLICA_URL=b.url())
    admin, buyer = new_shopper(shop.url), new_shopper(shop.url)
    assert admin.log_in(ADMIN_PASSWORD).status == 303
    crossed = buyer.buy(SLUG)
    wait_until(lambda: crossed in orders_of(b.url()), seconds=SECONDS, what="it has crossed", every=0.02)
    b.stop()
    lost = buyer.buy(SLUG)
    a.kill()
    b.start()

    promoted = admin.send(admin.get(f"{REPLICATION}/failover").form(f"{REPLICATION}/failover/promote"))

    assert promoted.location.startswith(f"{REPLICATION}/lost"), promoted.location
    told = words_of(admin, f"{REPLICATION}/lost")
    assert "not yet known" in told and "What to do" in told
    assert not re.search("Invoice of losses, timeline 1 Lost", told)
    after = [new_shopper(shop.url).buy(SLUG) for _ in range(2)]
    a.start()  # by hand, as it was: PostgreSQL itself has nothing against writing to it
    with psycopg.connect(a.url(), autocommit=True) as past_the_shop:
        past_the_shop.execute("UPDATE products SET stock = stock + 1")
    wait_until(lambda: lost in words_of(admin, f"{REPLICATION}/lost"), seconds=SECONDS, what="it is asked", every=0.1)
    after += [new_shopper(shop.url).buy(SLUG) for _ in range(3)]

    assert all(number.startswith("A2-") for number in after)
    assert orders_of(b.url()) == {crossed, *after}
    assert orders_of(a.url()) == {crossed, lost}
    page = words_of(admin, REPLICATION)
    assert "was the primary before and follows nobody: the shop writes nothing to it" in page
    assert "connects again by itself" not in page
    reentered = admin.send(
        next(form for form in admin.get(f"{REPLICATION}/lost").forms() if form.action.endswith("/reenter"))
    )
    assert reentered.status == 303
