"""What a visitor and the shopkeeper see when the disk fails: the pages go on, and each says that nothing can be changed."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shop.clock import ManualClock
from shop.replication.pair import Pair, open_pair
from shop.repository.embedded import EmbeddedRepository
from shop.store import Files
from tests.builders import a_product, customer_form, keep, stock_of
from tests.web.visitor import Page, Visitor

UNTIL_RESTART = "The shop can be read but not changed until its operator has restarted it."
FOR_NOW = "The shop can be read but not changed at the moment. Please try again soon."
WRITES = (  # a page, and the form on it that is sent
    ("/products/mug", "/cart/lines"),
    ("/checkout", "/checkout"),
    ("/admin/products/mug", "/admin/products/mug"),
)
NO_PAGES = ("machines.", "static", "replication.live", "replication.watch")  # answers to machines, and a part of a page


@pytest.fixture(autouse=True)
def goods(repository: EmbeddedRepository) -> None:
    keep(repository, a_product(id="mug", slug="mug", name="Mug", stock=10))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, operation: str, error: int) -> Iterator[None]:
    """Every *operation* on the disk fails."""

    def fail(*arguments: object) -> None:
        raise OSError(error, "made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(Files, operation, fail)
        yield


def pages(app: Flask) -> list[str]:
    """Every page without an argument that the shop has, from its own list of routes."""
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments]
    return sorted(rule.rule for rule in rules if not rule.endpoint.startswith(NO_PAGES))


def says(page: Page, sentence: str) -> bool:
    return any(sentence in notice for notice in page.notices)


def test_after_a_failed_fsync_every_page_says_so_and_readiness_is_503(
    app: Flask, shopkeeper: Visitor, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopkeeper.add("mug")
    with failing(monkeypatch, "sync", errno.EIO):
        refused = shopkeeper.add("mug")
    assert refused.status == 503
    assert "It may have been kept, once, or not at all" in refused.text

    found = [(path, shopkeeper.get(path)) for path in [*pages(app), "/products/mug", "/admin/products/mug"]]
    shown = {path: page for path, page in found if page.status == 200}
    assert [path for path, page in shown.items() if not says(page, UNTIL_RESTART)] == []
    assert {"/", "/cart", "/checkout", "/admin/products", "/admin/replication", "/products/mug"} <= set(shown)
    assert shopkeeper.cart_lines() == {"Mug": "1"}
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text.strip()) == (503, f"not ready: {UNTIL_RESTART}")


def test_after_a_failed_fsync_nothing_is_written_though_the_disk_is_well_again(
    shopkeeper: Visitor, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopkeeper.add("mug")
    forms = [(path, shopkeeper.get(path), action) for path, action in WRITES]
    with failing(monkeypatch, "sync", errno.EIO):
        shopkeeper.add("mug")
    before = pair.primary.position

    for path, page, action in forms:
        answer = page.send(action, **(customer_form() if action == "/checkout" else {}))
        assert answer.status == 503, f"{action} on {path}: {answer.status}"
        assert "until its operator has restarted it" in answer.text

    assert pair.primary.position == before


def test_a_restart_after_a_failed_fsync_ends_it(
    shopkeeper: Visitor, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopkeeper.add("mug")
    with failing(monkeypatch, "sync", errno.EIO):
        shopkeeper.add("mug")

    again = open_pair(tmp_path, clock)

    assert again.primary.is_writable
    carts = [cart for _, cart in again.primary.state.items("carts")]
    assert [line.quantity for cart in carts for line in cart.lines] in ([1], [2])  # once, or not at all
    again.close()


def test_on_a_full_disk_writes_are_503_reads_go_on_and_writes_resume_by_themselves(
    shopkeeper: Visitor, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopkeeper.add("mug")
    with failing(monkeypatch, "write", errno.ENOSPC):
        refused = shopkeeper.add("mug")
        assert (refused.status, refused.response.headers["Retry-After"]) == (503, "5")
        assert "its disk takes no more at the moment. Nothing was changed." in refused.text
        assert says(shopkeeper.get("/products/mug"), FOR_NOW)
        assert shopkeeper.cart_lines() == {"Mug": "1"}
        assert client.get("/readyz").status_code == 503

    assert shopkeeper.add("mug").status == 303
    assert shopkeeper.cart_lines() == {"Mug": "2"}
    assert not says(shopkeeper.get("/products/mug"), "can be read but not changed")
    assert client.get("/readyz").status_code == 200


def test_an_order_on_a_full_disk_is_not_taken_and_can_be_sent_again(
    visitor: Visitor, repository: EmbeddedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.add("mug")
    page = visitor.get("/checkout")
    with failing(monkeypatch, "write", errno.ENOSPC):
        refused = page.send("/checkout", **customer_form())
        assert refused.status == 503
    assert stock_of(repository, "mug") == 10

    assert page.send("/checkout", **customer_form()).status == 303
    assert stock_of(repository, "mug") == 9
