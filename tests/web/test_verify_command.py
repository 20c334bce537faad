"""`flask --app app shop verify`: how far it is, what was found, and what a repair proves. Asked as a server is asked, by name."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.cli import AppGroup

from shop.errors import Conflict
from shop.replication import verify as verification
from shop.replication.contract import Progress
from shop.web import verify_command
from shop.web.operations import Operations
from shop.web.verify_command import Ask, add_verify, follow, shown
from tests.builders import a_product

RECORDS = 12


class Desk:
    """Asks the operations of a test's application."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    @contextmanager
    def visit(self, *, needs_shop: bool, crosses: bool) -> Iterator[Ask]:
        assert needs_shop and not crosses
        yield self._operations.perform


@pytest.fixture
def ask(app) -> Ask:
    return Operations(app.extensions["antipode"], lambda path: None).perform


@pytest.fixture
def verify(app, pair, replication) -> Callable[..., Result]:
    """Runs the command over a shop with some products, all of which have crossed."""
    for number in range(RECORDS):
        with pair.primary.update() as unit:
            unit.put("products", f"p{number}", a_product(id=f"p{number}", price_cents=1000))
    replication.sync_now()
    group = AppGroup("shop")
    add_verify(group, Desk(Operations(app.extensions["antipode"], lambda path: None)))
    return lambda *options: CliRunner().invoke(group, ["verify", *options])


def test_in_sync_is_said_in_one_line(verify):
    ended = verify()

    assert ended.exit_code == 0
    assert ended.output == f"In sync. All {RECORDS} records are the same on both sides at commit {RECORDS}.\n"


def test_a_difference_is_told_with_both_values(verify, replication):
    replication.sabotage.damage_replica("p3")

    ended = verify()

    assert ended.exit_code == 1
    first, difference = ended.output.splitlines()
    assert first.startswith("Diverged. 1 record differs")
    assert "products p3" in difference
    assert "€10.00 on the primary, €10.01 on the replica" in difference


def test_what_cannot_be_told_says_why_and_is_not_repaired(verify, pair, monkeypatch):
    monkeypatch.setattr(verification, "IN_FLIGHT_MAX", 0)
    with pair.primary.update() as unit:
        unit.put("products", "p1", a_product(id="p1"))
    before = pair.replica.state

    ended = verify("--repair")

    assert ended.exit_code == 3
    assert ended.output.startswith(
        "Inconclusive. The sides cannot be compared at one position. 1 commits are on their way"
    )
    assert "Not repaired" in ended.output
    assert pair.replica.state is before


def test_a_repair_prints_both_verifications(verify, replication):
    replication.sabotage.damage_replica("p3")

    ended = verify("--repair")

    assert ended.exit_code == 0
    lines = ended.output.splitlines()
    assert lines[0].startswith("Diverged.")
    assert "is a fresh copy of the primary" in lines[-2]
    assert lines[-1].startswith("In sync.")


def test_there_is_nothing_to_repair_where_nothing_differs(verify, pair):
    before = pair.replica.state

    ended = verify("--repair")

    assert ended.exit_code == 0
    assert ended.output.endswith("There is nothing to repair.\n")
    assert pair.replica.state is before


# ---- how far it is


def test_a_verification_tells_how_far_it_is(verify, replication, ask, monkeypatch):
    monkeypatch.setattr(verification, "REPORT_RECORDS", 5)
    told: list[Progress | None] = []
    compare = verification.differing_keys

    def watched(snapshots, report):
        def and_look(done: int) -> None:
            report(done)
            told.append(replication.verifying())
            assert ask("verify-progress", {})["done"] == done

        return compare(snapshots, and_look)

    monkeypatch.setattr(verification, "differing_keys", watched)
    assert replication.verifying() is None

    replication.verify()

    assert told == [Progress(5, RECORDS), Progress(10, RECORDS)]
    assert replication.verifying() is None


def test_whoever_waits_is_shown_what_the_shop_tells(monkeypatch):
    monkeypatch.setattr(verify_command, "LOOK_SECONDS", 0.01)
    seen: list[tuple[int, int]] = []

    def ask(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if name == "verify":
            while len(seen) < 3:
                pass
            return {"outcome": "in-sync", "records": 500}
        return {"done": 100 * (len(seen) + 1), "total": 500}

    assert follow(ask, lambda done, total: seen.append((done, total)))["records"] == 500

    assert seen[:3] == [(100, 500), (200, 500), (300, 500)]
    assert seen[-1] == (500, 500)


def test_a_refusal_reaches_whoever_waits():
    def ask(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Conflict("Not now.")

    with pytest.raises(Conflict, match="Not now"):
        follow(ask, lambda done, total: None)


def test_a_pipe_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(verify_command, "LINE_SECONDS", 0.0)
    with shown() as show:
        show(0, 0)
        show(1000, 20000)
        show(20000, 20000)

    assert capsys.readouterr().out == "1,000 of 20,000 records compared\n20,000 of 20,000 records compared\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with shown() as show:
        show(0, 0)
        show(1000, 20000)
        show(20000, 20000)

    assert "Comparing" in terminal.getvalue()
    assert "1000/20000" in terminal.getvalue()
    assert "20000/20000" in terminal.getvalue()
