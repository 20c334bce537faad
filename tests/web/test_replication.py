"""The replication page over a real store and a replication that stands in any state a test wants."""

import dataclasses
import re

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shop import admins
from shop.errors import Conflict
from shop.passwords import hash_password
from shop.replication.contract import Change, Outcome, State, Verdict
from shop.repository.embedded import EmbeddedRepository
from tests.builders import NOW
from tests.web.replication_fakes import (
    FakeReplication,
    a_commit,
    a_difference,
    a_side,
    a_status,
    a_status_behind,
)

PAGE = "/admin/replication"
LIVE = "/admin/replication/live"
WATCH = "/admin/replication/watch"
KNOBS = ("delay", "pause", "resume", "sync", "verify", "resync", "test-write")
PASSWORD = "a password for tests"
PASSWORD_HASH = hash_password(PASSWORD)
EACH_STATE = {
    "in sync": a_status(),
    "behind": a_status_behind(),
    "paused": a_status_behind(State.PAUSED),
    "failing": a_status_behind(
        State.FAILING,
        retry=msgspec.structs.replace(a_status().retry, attempts=4, error="Disk full.", next_in_seconds=6.4),
    ),
    "refused": a_status_behind(State.REFUSED, sentence="The replica is ahead of the primary."),
    "snapshot needed": a_status_behind(State.SNAPSHOT_NEEDED, sentence="The journal was cut.", in_flight=()),
    "read-only": a_status(primary=a_side("primary", 1042, is_writable=False, problem="The last fsync failed.")),
    "nothing ever": a_status(recent=(), primary=a_side("primary", 0), replica=a_side("replica", 0)),
}


@pytest.fixture
def fake(app: Flask) -> FakeReplication:
    """In place of the real replication, wherever a test asks for it."""
    fake = FakeReplication()
    app.extensions["antipode"] = dataclasses.replace(app.extensions["antipode"], replication=fake)
    return fake


@pytest.fixture
def stranger(client: FlaskClient, repository: EmbeddedRepository) -> FlaskClient:
    """Somebody who is not logged in."""
    with repository.update() as unit:
        admins.set_password_hash(unit, PASSWORD_HASH, now=NOW)
    return client


@pytest.fixture
def keeper(stranger: FlaskClient) -> FlaskClient:
    """The shopkeeper, logged in."""
    return logged_in(stranger)


def logged_in(client: FlaskClient) -> FlaskClient:
    form = {"password": PASSWORD, "csrf_token": token_on(client.get("/admin/login"))}
    assert client.post("/admin/login", data=form).status_code in (302, 303)
    return client


def token_on(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found, page.text
    return found.group(1)


def turn(client: FlaskClient, knob: str, **fields: str) -> TestResponse:
    """Send the form of one knob as the page has it."""
    return client.post(f"{PAGE}/{knob}", data={"csrf_token": token_on(client.get(PAGE)), **fields})


def words_of(page: TestResponse) -> str:
    """What a person reads: no tags, single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def test_the_first_html_holds_everything_there_is_to_see(keeper, fake):
    fake.now = a_status_behind()
    fake.differing = (a_difference(),)

    words = words_of(keeper.get(PAGE))

    for piece in (
        "3 writes are crossing to the replica; the next arrives in 0.7 s.",
        "If the primary died this second: 2 orders, €123.40 and 1 edit would be lost.",
        "db.json",
        "db_async.json",
        "timeline 1, LSN 1,045",
        "timeline 1, LSN 1,042",
        fake.now.primary.position.checksum[:8],
        fake.now.replica.position.checksum[:8],
        "48.2 kB",
        "9.9 kB",
        "Orders 9 2 more".lower(),
        "Orders 7 2 fewer".lower(),
        "Order A1-10007 · €45.90 0.7 s to go",
        "Commits behind 3",
        "Oldest waiting for 4.3 s",
        "No progress for 0 s",
        "Enamel Teapot 2 fields differ on its way price €29.00 €24.00 stock 496 498",
        "Order A1-10006 · €123.40",
        "What am I looking at?",
    ):
        assert piece.lower() in words.lower(), piece


@pytest.mark.parametrize("status", EACH_STATE.values(), ids=EACH_STATE.keys())
@pytest.mark.parametrize("address", [PAGE, LIVE, WATCH])
def test_each_state_has_its_page(keeper, fake, address, status):
    fake.now = status

    page = keeper.get(address)

    assert page.status_code == 200
    assert f'data-state="{status.state}"' in page.text
    assert "None" not in words_of(page)


def test_a_primary_without_writes_is_told_at_the_top(keeper, fake):
    fake.now = EACH_STATE["read-only"]

    assert "The primary takes no writes. The last fsync failed." in words_of(keeper.get(PAGE))


def test_nothing_inline_that_the_policy_would_block(keeper, fake):
    fake.now = a_status_behind()

    for address in (PAGE, LIVE, WATCH):
        text = keeper.get(address).text
        assert " style=" not in text
        assert not re.search(r"\son[a-z]+=", text)
        assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_what_people_typed_is_escaped(keeper, fake):
    bad = "<script>alert(1)</script>"
    fake.now = a_status_behind(in_flight=(a_commit(summary=f"product {bad}", changes=(Change("products", bad),)),))
    fake.differing = (a_difference(label=bad, fields=(("name", bad, f"{bad}2"),)),)

    for address in (PAGE, LIVE, WATCH):
        text = keeper.get(address).text
        assert bad not in text
        assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4


def test_the_watching_page_reloads_itself_and_has_no_form_to_lose(keeper, fake):
    page = keeper.get(WATCH)

    assert '<meta http-equiv="refresh" content="2">' in page.text
    assert "csrf_token" not in page.text.split("<main", 1)[1]


def test_the_page_with_the_forms_never_reloads_itself(keeper, fake):
    page = keeper.get(PAGE)

    assert "http-equiv" not in page.text
    assert f'href="{WATCH}"' in page.text


def test_a_second_look_at_something_that_stands_still_is_told_so_in_no_words(keeper, fake):
    first = keeper.get(LIVE)

    second = keeper.get(LIVE, headers={"If-None-Match": first.headers["ETag"]})

    assert (second.status_code, second.data) == (304, b"")
    assert second.headers["ETag"] == first.headers["ETag"]


def test_the_page_carries_the_tag_of_its_moving_part(keeper, fake):
    etag = re.search(r'data-etag="([^"]+)"', keeper.get(PAGE).text).group(1).replace("&#34;", '"')

    assert keeper.get(LIVE, headers={"If-None-Match": etag}).status_code == 304


def test_another_version_is_another_page(keeper, fake):
    etag = keeper.get(LIVE).headers["ETag"]
    fake.now = a_status(version="version-2")

    assert keeper.get(LIVE, headers={"If-None-Match": etag}).status_code == 200


def test_while_something_travels_each_moment_is_another_page(keeper, fake):
    fake.now = a_status_behind(at="2026-01-01T12:00:10.000000Z")
    etag = keeper.get(LIVE).headers["ETag"]
    fake.now = a_status_behind(at="2026-01-01T12:00:10.500000Z")

    assert keeper.get(LIVE, headers={"If-None-Match": etag}).status_code == 200


def test_the_moving_part_holds_no_field_and_no_token(keeper, fake):
    fake.now = a_status_behind()

    text = keeper.get(LIVE).text

    assert "<input" not in text
    assert "<form" not in text
    assert 'id="controls"' in text


@pytest.mark.parametrize(
    ("knob", "fields", "done", "words"),
    [
        ("delay", {"delay": "2.5"}, ["delay 2.5"], "The delay is 2.5 s now"),
        ("delay", {"delay": " 2,5 "}, ["delay 2.5"], "The delay is 2.5 s now"),
        ("delay", {"delay": "0"}, ["delay 0"], "The delay is off now"),
        ("delay", {"delay": "3600"}, ["delay 3600"], "The delay is 3600 s now"),
        ("pause", {}, ["pause"], "The link is paused."),
        ("resume", {}, ["resume"], "The link is open again."),
        ("sync", {}, ["sync"], "Nothing was waiting"),
        ("verify", {}, ["verify"], "Both sides are equal: 63 records compared."),
        ("resync", {"confirmed": "yes"}, ["resync", "verify"], "Verified again: Both sides are equal"),
    ],
)
def test_a_knob_does_its_work_and_comes_back_to_the_page(keeper, fake, knob, fields, done, words):
    answer = turn(keeper, knob, **fields)

    assert answer.status_code == 303
    assert answer.headers["Location"].split("#")[0] == PAGE
    assert fake.done == done
    assert words in words_of(keeper.get(PAGE))


def test_syncing_tells_how_many_writes_were_brought_across(keeper, fake):
    fake.now = a_status_behind()

    turn(keeper, "sync")

    assert "3 writes brought to the replica at once" in words_of(keeper.get(PAGE))


@pytest.mark.parametrize("typed", ["abc", "-1", "1e9", "NaN", "inf", "", "3601", "1_0", "٣", "5 s", "1" * 5000])
def test_a_bad_delay_is_told_beside_the_field_and_changes_nothing(keeper, fake, typed):
    page = turn(keeper, "delay", delay=typed)

    assert page.status_code == 400
    assert fake.done == []
    field = re.search(r'<input id="field-delay"[^>]*>', page.text).group()
    assert f'value="{typed[:40]}"' in field
    assert 'aria-invalid="true"' in field
    assert "error-delay" in field
    assert re.search(r'id="error-delay".*?seconds', page.text, re.DOTALL)


def test_rebuilding_asks_first(keeper, fake):
    assert turn(keeper, "resync").status_code == 303

    assert fake.done == []
    assert "tick the box first" in words_of(keeper.get(PAGE))


def test_a_knob_that_is_refused_says_why(keeper, fake):
    fake.refusal = Conflict("Not everything arrived: the disk is full.")

    assert turn(keeper, "sync").status_code == 303

    assert "Not everything arrived: the disk is full." in words_of(keeper.get(PAGE))


def test_the_last_verification_stands_on_the_page_with_what_it_found(keeper, fake):
    first = keeper.get(LIVE)
    assert "Not verified since the start" in words_of(first)
    etag = first.headers["ETag"]
    fake.verdict = Verdict(
        Outcome.DIVERGED, "1 record differs.", None, 63, (a_difference(is_explained=False, label="Broken Teapot"),)
    )

    turn(keeper, "verify")

    live = keeper.get(LIVE, headers={"If-None-Match": etag})
    assert live.status_code == 200
    assert "Diverged 1 record differs." in words_of(live)
    assert "Broken Teapot 2 fields differ diverged" in words_of(live)
    assert 'href="#rebuild"' in live.text and 'id="rebuild"' in keeper.get(PAGE).text


def test_a_test_write_is_one_small_commit_of_always_the_same_record(keeper, fake, repository):
    with repository.view() as unit:
        before = unit.position().lsn

    turn(keeper, "test-write")
    turn(keeper, "test-write")

    with repository.view() as unit:
        assert unit.position().lsn == before + 2
        assert unit.counts()["carts"] == 1


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_without_its_token_is_refused(keeper, fake, knob):
    answer = keeper.post(f"{PAGE}/{knob}", data={"delay": "1", "confirmed": "yes"})

    assert answer.status_code == 400
    assert fake.done == []


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_is_refused_to_a_stranger(stranger, fake, knob):
    token = token_on(stranger.get("/admin/login"))

    answer = stranger.post(f"{PAGE}/{knob}", data={"delay": "1", "confirmed": "yes", "csrf_token": token})

    assert answer.status_code in (302, 303, 401, 403)
    assert fake.done == []


@pytest.mark.parametrize("address", [PAGE, LIVE, WATCH])
def test_a_stranger_sees_nothing(stranger, fake, address):
    fake.now = a_status_behind()

    answer = stranger.get(address)

    assert answer.status_code in (302, 303, 401, 403)
    assert "A1-10007" not in answer.text


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_is_not_turned_by_looking(keeper, fake, knob):
    assert keeper.get(f"{PAGE}/{knob}").status_code == 405
    assert fake.done == []


def test_a_commit_is_followed_over_the_embedded_pair(keeper, replication, clock):
    replication.sync_now()
    clock.advance(60)
    idle = keeper.get(LIVE)
    assert keeper.get(LIVE, headers={"If-None-Match": idle.headers["ETag"]}).status_code == 304

    turn(keeper, "test-write")
    clock.advance(2)
    crossing = keeper.get(LIVE, headers={"If-None-Match": idle.headers["ETag"]})
    clock.advance(3)
    replication.sync_once(clock.monotonic())
    landed = keeper.get(LIVE)

    assert crossing.status_code == 200
    assert "1 write is crossing to the replica; it arrives in 3.0 s." in words_of(crossing)
    assert "at-16" in crossing.text
    assert "only on the primary on its way" in words_of(crossing)
    assert "Both sides hold the same data." in words_of(landed)
    assert "Cart arrived" in words_of(landed)
