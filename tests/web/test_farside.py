"""Shopping from the far side: what the pages say, and what they keep apart."""

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from shop.clock import ManualClock
from shop.replication.embedded import EmbeddedReplication
from shop.replication.failover import EmbeddedFailover
from shop.repository.embedded import EmbeddedRepository
from tests.builders import a_category, a_product
from tests.web.visitor import Page, Visitor

MUG = "/products/mug"


@pytest.fixture(autouse=True)
def goods(repository: EmbeddedRepository, replication: EmbeddedReplication) -> None:
    """A mug that both sides know."""
    with repository.update() as unit:
        unit.put_category(a_category(id="cups", slug="cups", name="Cups"))
        unit.put_product(a_product(id="mug", slug="mug", name="Mug", price_cents=1250, stock=30, category_id="cups"))
    replication.sync_now()


def edit(repository: EmbeddedRepository, **fields: object) -> None:
    with repository.update() as unit:
        mug = unit.product("mug")
        assert mug is not None
        unit.put_product(replace(mug, **fields))


def choose(visitor: Visitor, policy: str) -> Page:
    return visitor.get("/far-side").send("/far-side", policy=policy)


def test_without_a_choice_nothing_is_said_and_no_cookie_is_set(client: FlaskClient, visitor: Visitor) -> None:
    page = visitor.get("/")
    assert "Set-Cookie" not in page.response.headers
    assert page.notices == []
    assert page.tree.one("a", href="/far-side").text == "Shop from the far side"
    assert "-db" not in page.response.headers["ETag"]


def test_a_stale_page_says_how_old_it_is(visitor: Visitor, repository: EmbeddedRepository, clock: ManualClock) -> None:
    choose(visitor, "replica")
    for price in (1300, 1400, 1500):
        edit(repository, price_cents=price)
    clock.advance(4.2)
    for path in (MUG, "/"):
        page = visitor.get(path)
        assert "This page is 4.2 s old: 3 commits behind." in page.text
        assert "€12.50" in page.main.text
        assert "€15.00" not in page.main.text


def test_a_page_of_the_far_side_is_all_from_there(visitor: Visitor, repository: EmbeddedRepository) -> None:
    choose(visitor, "replica")
    with repository.update() as unit:
        unit.put_category(a_category(slug="lamps", name="Lamps"))
        unit.put_product(a_product(slug="jug", name="Jug", category_id="cups"))
    assert "Lamps" not in visitor.get("/").text
    assert "Jug" not in visitor.get(MUG).text
    missing = visitor.get("/products/jug")
    assert missing.status == 404
    assert "You are looking from the far side" in missing.text
    assert "Lamps" in visitor.get("/cart").text


def test_the_own_write_is_missed_as_it_is_and_found_under_the_policy(
    visitor: Visitor, repository: EmbeddedRepository, replication: EmbeddedReplication
) -> None:
    choose(visitor, "replica")
    visitor.add("mug")
    assert "Missed own write." in visitor.get(MUG).text
    choose(visitor, "read-your-writes")
    page = visitor.get(MUG)
    assert "Missed own write." not in page.text
    assert "The far side did not have it in time (waited 1.0 s), so this page was read from the primary." in page.text
    replication.sync_now()
    page = visitor.get(MUG)
    assert "This page was read from the far side, which has everything." in page.text


def test_going_back_in_time_is_named_and_monotonic_reads_prevent_it(
    visitor: Visitor, repository: EmbeddedRepository
) -> None:
    choose(visitor, "primary")
    edit(repository, name="Big mug")
    assert visitor.get(MUG).heading == "Big mug"
    choose(visitor, "replica")
    page = visitor.get(MUG)
    assert page.heading == "Mug"
    assert "Time went backwards." in page.text
    choose(visitor, "monotonic")
    page = visitor.get(MUG)
    assert page.heading == "Big mug"
    assert "Time went backwards." not in page.text


def test_a_write_that_a_failover_lost_is_told_once(visitor: Visitor, failover: EmbeddedFailover) -> None:
    choose(visitor, "read-your-writes")
    visitor.add("mug")
    failover.promote(by="admin")
    assert "Lost write. Your last change was lost" in visitor.get(MUG).text
    assert "Lost write." not in visitor.get(MUG).text


def test_a_lost_write_is_told_at_the_next_one_without_any_choice(visitor: Visitor, failover: EmbeddedFailover) -> None:
    visitor.add("mug")
    failover.promote(by="admin")
    page = visitor.add("mug").follow()
    assert any("An earlier change of yours was lost" in notice for notice in page.notices)
    assert visitor.cart_lines() == {"Mug": "1"}


def test_a_page_of_one_side_is_never_confirmed_as_the_others(visitor: Visitor, client: FlaskClient) -> None:
    plain = visitor.get("/").response.headers["ETag"]
    choose(visitor, "replica")
    far = visitor.get("/").response.headers["ETag"]
    assert far.strip('"').endswith("-db_async.json-1-1")
    assert client.get("/", headers={"If-None-Match": far}).status_code == 304
    assert client.get("/", headers={"If-None-Match": plain}).status_code == 200
    choose(visitor, "primary")
    assert client.get("/", headers={"If-None-Match": far}).status_code == 200


def test_what_is_sent_is_judged_by_the_primary(visitor: Visitor, repository: EmbeddedRepository) -> None:
    choose(visitor, "replica")
    edit(repository, stock=2)
    refused = visitor.add("mug", "20")
    assert refused.status == 400
    assert "Only 2 left" in refused.text
    assert "old:" not in refused.text


def test_choosing_leads_back_and_never_elsewhere(visitor: Visitor) -> None:
    choose(visitor, "replica")
    page = visitor.get(MUG)
    assert page.fields("/far-side")["policy"] == "replica"
    back = page.send("/far-side", policy="monotonic")
    assert (back.status, back.location) == (303, MUG)
    for target in ("//example.com/", "https://example.com/", "/\\example.com", ""):
        assert visitor.get(MUG).send("/far-side", policy="replica", back=target).location == "/"


def test_the_choice_can_be_taken_back(visitor: Visitor) -> None:
    choose(visitor, "replica")
    choose(visitor, "")
    assert visitor.get("/").notices == []


def test_a_choice_there_is_not_is_refused(visitor: Visitor) -> None:
    page = choose(visitor, "newest")
    assert page.status == 400
    assert "There is no such way to read." in page.text


def test_choosing_needs_a_token(client: FlaskClient) -> None:
    assert client.post("/far-side", data={"policy": "replica"}).status_code == 400


def test_one_product_from_both_sides(visitor: Visitor, repository: EmbeddedRepository, clock: ManualClock) -> None:
    edit(repository, price_cents=1400, stock=29)
    clock.advance(1.5)
    page = visitor.get(f"{MUG}/both")
    rows = {row.one("th").text: [cell.text for cell in row.all("td")] for row in page.tree.one("tbody").all("tr")}
    assert rows["Price differs"] == ["€14.00", "€12.50"]
    assert rows["In stock differs"] == ["29", "30"]
    assert rows["Name"] == ["Mug", "Mug"]
    assert "differ in 2 fields" in page.text
    assert "The far side is 1.5 s old: 1 commit behind." in page.text
    assert "Set-Cookie" not in page.response.headers


def test_both_sides_alike(visitor: Visitor) -> None:
    page = visitor.get(f"{MUG}/both")
    assert "Both sides show the same." in page.text
    assert "differs" not in page.main.text


def test_a_product_that_only_one_side_knows(visitor: Visitor, repository: EmbeddedRepository) -> None:
    with repository.update() as unit:
        unit.put_product(a_product(slug="jug", name="Jug", category_id="cups"))
    page = visitor.get("/products/jug/both")
    assert "The far side does not know this product yet." in page.text
    assert visitor.get("/products/none/both").status == 404


def test_a_new_address_is_found_on_both_sides(visitor: Visitor, repository: EmbeddedRepository) -> None:
    edit(repository, slug="big-mug", name="Big mug")
    for slug in ("big-mug", "mug"):
        assert "differ in one field" in visitor.get(f"/products/{slug}/both").text
