"""The knobs of the link and of the writers, one commit followed, and the past, as the shopkeeper sees them."""

import re

import pytest

from shop.clock import ManualClock
from shop.models import Cart
from shop.replication.contract import Mode
from shop.replication.embedded import EmbeddedReplication
from shop.replication.history import SPACING_SECONDS
from shop.repository.embedded import EmbeddedRepository
from tests.builders import a_product, keep_products, order_of
from tests.web.test_replication import PAGE, token_on, turn, words_of

BAD = ("abc", "-1", "1e9", "NaN", "", "inf", "5 5", "9" * 30, "<b>")
KNOBS = ("jitter", "bandwidth", "loss", "outage", "timeout")


@pytest.fixture
def keeper(shopkeeper):
    """The shopkeeper's browser, bare."""
    return shopkeeper.client


def write(repository: EmbeddedRepository, cart_id: str = "c1") -> None:
    with repository.update() as unit:
        unit.put_cart(Cart(id=cart_id, checkout_key=f"key-{cart_id}", updated_at="2026-01-01T12:00:00Z"))


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("typed", BAD)
def test_what_is_no_number_for_a_knob_is_said_beside_it_and_changes_nothing(keeper, replication, knob, typed) -> None:
    before = replication.status()

    page = turn(keeper, knob, **{knob: typed})

    assert page.status_code == 400
    assert f'id="error-{knob}"' in page.text
    assert 'value="<b>"' not in page.text
    after = replication.status()
    assert (after.link, after.modes.timeout_seconds) == (before.link, before.modes.timeout_seconds)


@pytest.mark.parametrize(
    ("knob", "typed", "field", "number"),
    [
        ("jitter", "0.5", "jitter_seconds", 0.5),
        ("jitter", "1,5", "jitter_seconds", 1.5),
        ("bandwidth", "2000", "bandwidth", 2000),
        ("bandwidth", "0", "bandwidth", 0),
        ("loss", "25", "loss_percent", 25),
        ("outage", "30", "is_out", True),
    ],
)
def test_a_knob_turns_the_link(keeper, replication, knob, typed, field, number) -> None:
    assert turn(keeper, knob, **{knob: typed}).status_code == 303

    assert getattr(replication.status().link, field) == number


def test_the_page_says_what_the_link_does_now(keeper, replication) -> None:
    for knob, typed in (("jitter", "0.5"), ("bandwidth", "2000"), ("loss", "25")):
        turn(keeper, knob, **{knob: typed})

    words = words_of(keeper.get(PAGE))

    assert "up to 0.5 s longer by chance, 2.0 kB a second, 25 % of the tries lost" in words


def test_an_outage_is_told_and_mended(keeper, replication) -> None:
    turn(keeper, "outage", outage="30")
    assert "The cable is broken for 30 s more" in words_of(keeper.get(PAGE))

    assert turn(keeper, "mend").status_code == 303

    assert not replication.status().link.is_out
    assert "The cable is broken for" not in words_of(keeper.get(PAGE))


@pytest.mark.parametrize("mode", list(Mode))
def test_the_mode_is_switched_live(keeper, replication, mode) -> None:
    assert turn(keeper, "mode", mode=mode.value).status_code == 303

    assert replication.status().modes.mode is mode


@pytest.mark.parametrize("mode", ["", "fast", "SYNC"])
def test_a_mode_there_is_not_changes_nothing(keeper, replication, mode) -> None:
    assert turn(keeper, "mode", mode=mode).status_code == 400

    assert replication.status().modes.mode is Mode.ASYNC


def test_the_three_modes_stand_side_by_side_with_what_they_cost(keeper, repository, replication) -> None:
    repository.gate = replication.gate
    write(repository)

    words = words_of(keeper.get(PAGE))

    for name in ("Async in force", "Semi-sync", "Sync mirror", "half within 0.0 ms", "(1 write)", "(none yet)"):
        assert name in words, name


@pytest.mark.parametrize("knob", [*KNOBS, "mend", "mode"])
def test_the_knobs_are_for_the_shopkeeper_and_only_with_a_token(keeper, app, replication, knob) -> None:
    fields = {knob: "1", "mode": "sync"}
    assert keeper.post(f"{PAGE}/{knob}", data=fields).status_code == 400
    stranger = app.test_client()
    token = token_on(stranger.get("/admin/login"))
    before = replication.status().link

    assert stranger.post(f"{PAGE}/{knob}", data={**fields, "csrf_token": token}).status_code in (302, 303, 403)

    assert replication.status().link == before
    assert replication.status().modes.mode is Mode.ASYNC


@pytest.mark.parametrize("place", ["commits/1-1", "history"])
def test_looking_is_for_the_shopkeeper_too(app, repository, place) -> None:
    write(repository)

    assert app.test_client().get(f"{PAGE}/{place}").status_code in (302, 303, 401, 403)


def test_one_commit_is_followed_end_to_end(keeper, repository, replication, clock: ManualClock) -> None:
    write(repository)
    lsn = replication.status().primary.position.lsn
    place = f"{PAGE}/commits/1-{lsn}"
    clock.advance(2)
    words = words_of(keeper.get(place))
    assert "In flight" in words
    assert "Arrived expected after 5.00 s" in words
    assert "Applied not yet" in words

    clock.advance(3.1)
    replication.sync_once(clock.monotonic())
    words = words_of(keeper.get(place))
    assert "Arrived after 5.10 s" in words
    assert "Applied after 5.10 s" in words
    assert "Verified not yet" in words

    replication.verify()
    assert "Verified after 5.10 s" in words_of(keeper.get(place))


@pytest.mark.parametrize("place", ["1-0", "1-999999", "7-1", "0-0", "1-" + "9" * 40])
def test_a_commit_that_was_never_made_is_not_found(keeper, repository, place) -> None:
    write(repository)

    assert keeper.get(f"{PAGE}/commits/{place}").status_code == 404


def test_each_commit_on_its_way_leads_to_its_page(keeper, repository, replication) -> None:
    write(repository)
    lsn = replication.status().primary.position.lsn

    assert f'href="/admin/replication/commits/1-{lsn}"' in keeper.get(PAGE).text


def test_both_sides_are_seen_as_they_were(keeper, repository, replication, clock: ManualClock) -> None:
    keep_products(repository, a_product())
    clock.advance(6)
    replication.sync_once(clock.monotonic())
    moments = replication.laboratory.past().last

    now = words_of(keeper.get(f"{PAGE}/history"))
    then = words_of(keeper.get(f"{PAGE}/history?at={moments - 1}"))

    assert "Both sides held the same." in now
    assert re.search(r"The replica was \d+ commits? behind\.", then)
    assert "What differed then Nothing." in now
    assert "What differed then Record and field" in then


@pytest.mark.parametrize("at", ["abc", "-1", "1e9", "NaN", "", "0", "99999999999", "1" * 50])
def test_a_moment_there_is_not_shows_the_nearest(keeper, repository, at) -> None:
    write(repository)

    assert keeper.get(f"{PAGE}/history?at={at}").status_code == 200


def test_who_is_caught_midway_is_told_what_is_true_on_the_next_page(keeper, repository, replication, clock) -> None:
    repository.gate = replication.gate
    replication.gate.set_mode("sync")
    replication.gate._told.notice = ""
    replication.gate._wait = lambda committed, since: (Mode.SYNC, False)  # the link went down meanwhile

    page = keeper.post(f"{PAGE}/test-write", data={"csrf_token": token_on(keeper.get(PAGE))}, follow_redirects=True)

    assert "Recorded here, not yet at the far side" in words_of(page)
    assert "failed" not in words_of(page).lower().split("what is happening")[0]
    assert "Recorded here" not in words_of(keeper.get(PAGE))


def test_who_comes_while_the_link_is_down_in_sync_mode_is_refused_with_a_time_to_come_back(
    keeper, repository, replication
) -> None:
    repository.gate = replication.gate
    replication.gate.set_mode("sync")
    replication.pause()
    before = replication.status().primary.position.lsn

    page = turn(keeper, "test-write")

    assert page.status_code == 303  # the replication page says it itself
    assert "Nothing is written at the moment" in words_of(keeper.get(PAGE))
    assert replication.status().primary.position.lsn == before


def test_the_past_is_bounded(repository, replication: EmbeddedReplication, clock: ManualClock) -> None:
    for number in range(250):
        write(repository, f"c{number % 7}")
        clock.advance(2 * SPACING_SECONDS)  # in a stream, commits of one moment are one

    past = replication.laboratory.past()
    assert past.last - past.first == 199


def test_an_order_in_the_admin_leads_to_its_commit(keeper, repository, replication) -> None:
    product = a_product(stock=5)
    keep_products(repository, product)
    order = order_of(repository, (product, 1))
    lsn = replication.status().primary.position.lsn
    write(repository)

    page = keeper.get(f"/admin/orders/{order.number}")

    assert f'href="/admin/replication/commits/1-{lsn}"' in page.text
    assert f"Order {order.number}, " in words_of(keeper.get(f"{PAGE}/commits/1-{lsn}"))


def test_the_commit_of_a_record_that_nobody_touched_is_not_known(replication) -> None:
    assert replication.laboratory.commit_of("orders", "A1-1") is None
