"""Stopping and starting the real server while commits are on their way."""

import os
import time

import pytest

from tests.e2e import shop_files
from tests.e2e.shop_process import wait_until

SLUG = "enamel-mug-two-peaks"


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_commits_in_flight_arrive_after_a_restart(start_shop, new_shopper, end):
    shop = start_shop(SHOP_REPLICATION_DELAY="3")
    number = new_shopper(shop.url).buy(SLUG)
    confirmed_at = time.monotonic()

    getattr(shop, end)()
    assert number in shop_files.primary(shop.instance)["orders"]
    assert number not in shop_files.replica(shop.instance)["orders"], "it was to be in flight still"
    shop.start()

    assert number not in shop_files.replica(shop.instance)["orders"] or time.monotonic() - confirmed_at > 2.9
    wait_until(lambda: number in shop_files.replica(shop.instance)["orders"], seconds=5, what="the order arrives")
    assert time.monotonic() - confirmed_at > 2.9, "it arrived before the delay"
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=5, what="both sides are equal")


def test_sigterm_ends_the_server_in_order_and_leaves_no_half_files(start_shop, new_shopper):
    shop = start_shop()
    new_shopper(shop.url).buy(SLUG)

    assert shop.terminate() == 0

    left = sorted(path.name for path in shop.instance.iterdir())
    assert not [name for name in left if name.endswith(".tmp")], left
    for name in ("db.json", "db.journal", "db_async.json", "db_async.journal", "secret_key", "shop.lock"):
        assert (shop.instance / name).stat().st_mode & 0o777 == 0o600, name
    assert shop.instance.stat().st_mode & 0o777 == 0o700


def test_a_second_server_on_the_same_folder_ends_with_one_clear_line(start_shop, new_shopper):
    shop = start_shop()

    second = shop.run_second()

    assert second.returncode != 0
    said = (second.stdout + second.stderr).strip().splitlines()
    assert len(said) == 1, said
    assert shop.url in said[0]
    assert "already running" in said[0]
    assert new_shopper(shop.url).buy(SLUG), "the first one goes on"


def test_the_queue_survives_two_restarts_and_obeys_the_delay_of_the_last_start(start_shop, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="600")
    number = new_shopper(shop.url).buy(SLUG)
    for _ in range(2):
        shop.kill()
        shop.start()
        assert number in shop_files.primary(shop.instance)["orders"]
        assert number not in shop_files.replica(shop.instance)["orders"]

    shop.terminate()
    shop.settings["SHOP_REPLICATION_DELAY"] = "0"
    shop.start()

    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=3, what="both sides are equal")


def test_a_visitor_keeps_cart_session_and_order_link_over_a_restart(start_shop, new_shopper):
    shop = start_shop()
    shopper = new_shopper(shop.url)
    shopper.add_to_cart(SLUG)
    link = shopper.send(shopper.checkout_form()).location
    shopper.add_to_cart(SLUG, 3)

    shop.kill()
    shop.start()
    shopper.move(shop.url)

    assert shopper.get(link).status == 200
    assert shopper.send(shopper.checkout_form()).status == 303


def test_the_shop_is_not_seeded_again(start_shop):
    shop = start_shop()
    first = shop_files.collections(shop_files.primary(shop.instance))

    shop.terminate()
    shop.start()

    again = shop_files.collections(shop_files.primary(shop.instance))
    assert again["products"] == first["products"]
    assert len(again["products"]) >= 30


def test_the_password_is_kept_only_as_a_hash(start_shop):
    shop = start_shop()
    password = shop.settings["SHOP_ADMIN_PASSWORD"].encode()
    shop.terminate()

    for folder, _, names in os.walk(shop.folder):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert password not in file.read(), name
