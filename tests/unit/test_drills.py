"""Each drill ends in the state that it promises and leaves everything as it was: also when it breaks, is stopped or loses its server."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shop.drills import bench as bench_module
from shop.drills import runner
from shop.drills.bench import Bench
from shop.drills.catalog import BY_NAME, DRILLS
from shop.drills.goods import PRODUCT_ID, SKU, Goods
from shop.drills.records import Kind, Run, RunState
from shop.errors import Conflict, NotFound, WritesUnavailable
from shop.replication.contract import Mode, Outcome, Promotion, State
from tests.builders import a_cart, a_line, a_product, keep, order_of
from tests.drillkit import POT, LiveShop, live_shop
from tests.e2e.shop_process import wait_until

NAMES = [drill.name for drill in DRILLS]
CHANGING = [drill.name for drill in DRILLS if drill.changes_primary]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[LiveShop]:
    folder = tmp_path / "shop"
    folder.mkdir()
    with live_shop(folder) as shop:
        yield shop


def assert_as_before(shop: LiveShop, before: dict[str, Any]) -> None:
    assert shop.picture() == before
    assert shop.far_records() == before["records"]
    assert shop.replication.verify().outcome is Outcome.IN_SYNC
    assert shop.replication.status().state in (State.IN_SYNC, State.PAUSED, State.OUTAGE)
    assert shop.drills.left_over() == ""
    assert shop.drills.running() is None
    assert shop.replication._replicator.on_arrival is None  # nothing is damaged on its way any more
    assert not [commit for invoice in shop.failover.invoices() for commit in invoice.commits if not commit.decision]


# ---- to its end


@pytest.mark.parametrize("name", NAMES)
def test_a_drill_keeps_its_promise_and_puts_everything_back(shop: LiveShop, name: str) -> None:
    before = shop.picture()

    run = shop.drill(name)

    assert run.state is RunState.PASSED, run
    assert {step.kind for step in run.steps} == {Kind.DID, Kind.SAW, Kind.BACK}
    assert len(run.figures) >= 3 and run.sentence
    assert [step.after_seconds for step in run.steps] == sorted(step.after_seconds for step in run.steps)
    assert_as_before(shop, before)
    assert [(one.who, one.what) for one in shop.audit.actions()] == [("admin", f"drill {name}")]


def test_all_seven_after_one_another_under_awkward_knobs(shop: LiveShop) -> None:
    laboratory = shop.replication.laboratory
    shop.replication.set_delay(3600)
    laboratory.set_jitter(2)
    laboratory.set_bandwidth(500)
    laboratory.set_loss(50)
    laboratory.set_timeout(7)
    laboratory.set_mode(Mode.SEMI_SYNC)
    laboratory.cut(1000)
    shop.replication.pause()
    before = shop.picture()

    for name in NAMES:
        assert shop.drill(name).state is RunState.PASSED, shop.drills.last_run(name)

    assert_as_before(shop, before)
    assert 900 < shop.replication.status().link.out_for_seconds <= 1000


def test_roles_that_were_exchanged_before_are_so_afterwards(shop: LiveShop) -> None:
    shop.failover.switch_over(by="admin")
    before = shop.picture()
    assert before["roles"] == ("db_async.json", "db.json")

    for name in CHANGING:
        assert shop.drill(name).state is RunState.PASSED

    assert_as_before(shop, before)


def test_the_numbers_of_a_drill_are_those_of_the_shop(shop: LiveShop) -> None:
    run = shop.drill("primary-lost")

    figures = {figure.name: figure.value for figure in run.figures}
    assert figures["Orders lost"] == "2, €79.90"  # 25.00 + 4.90, and 50.00 sent for nothing
    invoice = shop.failover.invoices()[0]
    assert (invoice.orders, invoice.order_cents) == (2, 7990)
    assert [commit.decision and commit.decision.kind for commit in invoice.commits] == ["re-entered", "discarded"]
    with shop.repository.view() as unit:
        assert unit.orders(words="", status="", page=1, size=10).total == 1


# ---- among people


def test_nobody_loses_a_confirmed_order_to_a_drill_that_loses_the_primary(shop: LiveShop) -> None:
    confirmed: list[str] = []
    is_over = threading.Event()

    def buy() -> None:
        while not is_over.is_set():
            with suppress(WritesUnavailable, Conflict):  # told to try again, as any customer
                confirmed.append(order_of(shop.repository, (POT, 1)).number)
            is_over.wait(0.005)

    keep(shop.repository, a_product(**{**_fields(POT), "stock": 100_000}))
    buyer = threading.Thread(target=buy)
    buyer.start()
    try:
        for name in (*CHANGING, "outage", "poison"):
            run = shop.drill(name)
            assert run.state is RunState.PASSED, run
    finally:
        is_over.set()
        buyer.join()

    assert len(confirmed) > 20
    shop.replication.sync_now()
    with shop.repository.view() as unit:
        assert all(unit.order(number) is not None for number in confirmed)
        pot = unit.product(POT.id)
        sold = sum(unit.order(number).lines[0].quantity for number in confirmed)  # type: ignore[union-attr]
    assert pot is not None and pot.stock == 100_000 - sold
    assert len(set(confirmed)) == len(confirmed)
    assert shop.replication.verify().outcome is Outcome.IN_SYNC


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_the_product_of_a_drill_is_never_for_sale(shop: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    say = Bench.did

    def look(bench: Bench, words: str) -> None:
        with shop.repository.view() as unit:
            product = unit.product(PRODUCT_ID)
            assert product is not None
            seen.append((product.is_archived, unit.counts()["products"]))
        say(bench, words)

    monkeypatch.setattr(Bench, "did", look)
    assert shop.drill("outage").state is RunState.PASSED
    assert len(seen) >= 3 and set(seen) == {(True, 2)}


def test_an_order_of_somebody_who_calls_himself_a_drill_is_left_alone(shop: LiveShop) -> None:
    goods = Goods(shop.repository, shop.clock, "EUR")
    goods.stock_up()
    drills_own = goods.order(1)
    with shop.repository.view() as unit:
        real = unit.orders(words="", status="", page=1, size=10).items[1]
    keep(shop.repository, _with_customer(real, drills_own))

    assert goods.found() == [drills_own.number]
    assert goods.sweep() == 3
    with shop.repository.view() as unit:
        assert unit.order(real.number) is not None
        assert unit.product_by_sku(SKU) is None


def _with_customer(order: Any, other: Any) -> Any:
    return type(order)(**{**_fields(order), "customer": other.customer})


# ---- when it breaks


class Fault(Exception):
    pass


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [2, 5])
def test_a_drill_that_breaks_in_the_middle_puts_everything_back(
    shop: LiveShop, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.picture()
    steps = iter(range(1, 100))
    monkeypatch.setattr(Bench, "_pause_to_look", lambda bench: _break_at(next(steps), number))

    run = shop.drill(name)

    broke = any(step.kind is Kind.WRONG for step in run.steps)
    assert run.state is (RunState.FAILED if broke else RunState.PASSED)
    assert broke or next(steps) <= number
    assert_as_before(shop, before)


def _break_at(step: int, number: int) -> None:
    if step == number:
        raise Fault("in the middle")


@pytest.mark.parametrize("name", ["damage", "primary-lost", "modes"])
def test_a_drill_that_is_stopped_puts_everything_back(
    shop: LiveShop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.picture()
    say = Bench.did

    def stop_at_the_second(bench: Bench, words: str) -> None:
        say(bench, words)
        if "product on the shelf" not in words:
            assert shop.drills.stop()

    monkeypatch.setattr(Bench, "did", stop_at_the_second)

    run = shop.drill(name)

    assert run.state is RunState.STOPPED
    assert_as_before(shop, before)
    monkeypatch.undo()
    assert shop.drill(name).state is RunState.PASSED  # it is not stopped by what was asked of the one before


def test_a_promise_that_is_not_kept_is_told(shop: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.picture()
    monkeypatch.setattr(shop.replication.sabotage, "damage_replica", lambda product_id: None)

    run = shop.drill("damage")

    assert run.state is RunState.FAILED
    assert "Verifying did not find the damage" in run.sentence
    assert_as_before(shop, before)


def test_a_second_promotion_may_be_refused_or_answered_as_the_first(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a change of roles is still being completed when the button is pressed again."""
    real = shop.failover.promote
    answers: list[Promotion] = []

    def answered(**asked: Any) -> Promotion:
        answers.append(answers[0] if answers else real(**asked))
        return answers[-1]

    monkeypatch.setattr(shop.failover, "promote", answered)

    run = shop.drill("two-admins")

    assert len(answers) == 2
    assert run.state is RunState.PASSED, run
    assert any("Nothing was done a second time" in step.words for step in run.steps)


def test_a_second_promotion_that_is_carried_out_is_told(shop: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shop.failover.promote
    monkeypatch.setattr(shop.failover, "promote", lambda *, by, **_: real(by=by))

    run = shop.drill("two-admins")

    assert run.state is RunState.FAILED
    assert "changed the roles back" in run.sentence


def test_a_drill_that_takes_too_long_is_ended(shop: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.picture()
    monkeypatch.setattr(runner, "SECONDS_MAX", 0.2)

    run = shop.drill("stale-read")

    assert run.state is RunState.FAILED
    assert "took longer than 0.2 s" in run.sentence
    assert_as_before(shop, before)


def test_what_never_happens_is_not_waited_for_without_end(shop: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "WAIT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(shop.replication.sabotage, "poison_next_commit", lambda: None)

    run = shop.drill("poison")

    assert run.state is RunState.FAILED
    assert "The replica took the damaged commit." in run.sentence


def test_what_cannot_be_put_back_is_told_and_tried_again_by_the_next_drill(
    shop: LiveShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.picture()
    monkeypatch.setattr(Goods, "sweep", lambda goods: _raise(Conflict("the disk is full")))
    run = shop.drill("outage")
    assert run.state is RunState.FAILED
    assert "The goods could not be put back: the disk is full." in run.sentence
    assert shop.drills.left_over() != ""
    assert shop.picture()["knobs"] == before["knobs"]

    monkeypatch.undo()
    assert shop.drill("damage").state is RunState.PASSED
    assert_as_before(shop, before)


def _raise(error: Exception) -> None:
    raise error


# ---- when its server is killed


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("outage", 3),
        ("damage", 2),
        ("poison", 4),
        *(("primary-lost", number) for number in (3, 4, 6)),
        ("two-admins", 6),
    ],
)
def test_what_a_killed_server_leaves_of_a_drill_is_taken_out_by_the_next(
    shop: LiveShop, tmp_path: Path, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files as they are at that moment, copied to where the old server cannot touch them."""
    before = shop.picture()
    steps = iter(range(1, 100))
    crashed = tmp_path / "crashed"

    def copy_at(bench: Bench) -> None:
        if next(steps) == number:
            shutil.copytree(shop.folder, crashed)

    monkeypatch.setattr(Bench, "_pause_to_look", copy_at)
    assert shop.drill(name).state is RunState.PASSED
    monkeypatch.undo()

    again = LiveShop(crashed)
    try:
        cut_short = again.drills.last_run(name)
        assert cut_short is not None and cut_short.state is RunState.CUT_SHORT
        assert BY_NAME[name].title in again.drills.left_over()
        assert again.repository.is_writable()
        assert again.drills.running() is None

        run = again.drill("outage")

        assert run.state is RunState.PASSED, run
        assert_as_before(again, before)
    finally:
        again.close()


def test_damage_that_a_killed_drill_left_is_taken_out_also_after_it_was_found(
    shop: LiveShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.picture()
    crashed = tmp_path / "crashed"
    say = Bench.did

    def copy_when_damaged(bench: Bench, words: str) -> None:
        if words.startswith("Damaged"):
            shutil.copytree(shop.folder, crashed)
        say(bench, words)

    monkeypatch.setattr(Bench, "did", copy_when_damaged)
    shop.drill("damage")
    monkeypatch.undo()
    again = LiveShop(crashed)
    try:
        assert again.replication.verify().outcome is Outcome.DIVERGED

        assert "is taken out" in again.drills.clean_up()

        assert_as_before(again, before)
        assert again.drills.clean_up() == "Nothing was left."
    finally:
        again.close()


# ---- one at a time, and only when it is the time


def test_only_one_drill_runs_at_a_time_also_among_several_processes(shop: LiveShop) -> None:
    other = runner.Drills(shop.parts, shop.folder)  # as another worker has it
    shop.drills.start("stale-read", who="admin")

    for drills in (shop.drills, other):
        with pytest.raises(Conflict, match="An old page"):
            drills.start("outage", who="admin")
        running = drills.running()
        assert running is not None and running.drill == "stale-read"
    wait_until(lambda: _steps(other, "stale-read"), seconds=10, what="the other worker sees a step")
    assert other.stop()
    run = shop.ended("stale-read")
    assert run.state is RunState.STOPPED
    assert other.last_run("stale-read") == run


def _steps(drills: runner.Drills, name: str) -> int:
    run = drills.last_run(name)
    return len(run.steps) if run else 0


def test_a_drill_that_changes_the_primary_wants_to_be_meant(shop: LiveShop) -> None:
    with pytest.raises(Conflict, match="say that you mean it"):
        shop.drills.start("primary-lost", who="admin")
    assert shop.drills.last_run("primary-lost") is None
    assert shop.drills.running() is None


def test_no_drill_begins_on_a_pair_that_is_not_well(shop: LiveShop) -> None:
    shop.replication.sabotage.damage_replica("pot")
    shop.replication.verify()
    with pytest.raises(Conflict, match="repair the replica"):
        shop.drills.start("outage", who="admin")

    shop.replication.resync()
    shop.pair.primary.refuse_writes("an operator forbids it")
    with pytest.raises(Conflict, match="takes no writes now"):
        shop.drills.start("outage", who="admin")
    shop.pair.primary.allow_writes()
    assert shop.drill("damage").state is RunState.PASSED


def test_a_drill_that_a_back_end_cannot_run_says_why(shop: LiveShop) -> None:
    class Unable:
        def why_no_damage(self) -> str:
            return "This replica copies whole disks."

        why_no_poison = why_no_damage

    parts = runner.Parts(shop.clock, shop.repository, shop.replication, "EUR", sabotage=Unable())  # type: ignore[arg-type]
    drills = runner.Drills(parts, shop.folder)

    reasons = {name: drills.why_not(name) for name in NAMES}

    assert all(reasons.values())
    assert reasons["damage"] == reasons["poison"] == "This replica copies whole disks."
    with pytest.raises(Conflict, match="whole disks"):
        drills.start("damage", who="admin")
    with pytest.raises(NotFound, match="There are: outage, "):
        drills.start("unknown", who="admin")
    assert not any(shop.drills.why_not(name) for name in NAMES)


def test_a_shop_without_a_category_is_told_what_a_drill_needs(tmp_path: Path) -> None:
    shop = LiveShop(tmp_path)
    try:
        run = shop.drill("outage")
    finally:
        shop.close()
    assert run.state is RunState.FAILED
    assert "no category yet" in run.sentence


def test_the_end_of_the_server_ends_a_drill_in_order(tmp_path: Path) -> None:
    shop = LiveShop(tmp_path)
    shop.stock()
    shop.replication.sync_now()
    before = shop.picture()
    shop.drills.start("stale-read", who="admin")

    shop.close()

    again = LiveShop(tmp_path)
    try:
        run = again.drills.last_run("stale-read")
        assert run is not None and run.state is RunState.STOPPED
        assert_as_before(again, before)
    finally:
        again.close()


def test_what_was_kept_by_another_version_of_the_shop_is_passed_over(shop: LiveShop) -> None:
    shop.drill("damage")
    (shop.folder / "drills" / "damage.json").write_text('{"something": "else"}')
    assert shop.drills.last_run("damage") is None


def test_the_files_are_closed_to_other_users(shop: LiveShop) -> None:
    shop.drill("damage")
    folder = shop.folder / "drills"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {"lock", "damage.json"}


def test_every_drill_explains_itself() -> None:
    assert len(DRILLS) == 7
    for drill in DRILLS:
        assert re.fullmatch(r"[a-z-]+", drill.name)
        assert drill.question.endswith("?") and len(drill.story) >= 2 and drill.others
        assert 0 < drill.seconds < 60


def test_a_run_is_kept_whole(shop: LiveShop) -> None:
    run = shop.drill("damage")
    assert isinstance(run, Run)
    assert shop.drills.last_run("damage") == run
    keep(shop.repository, a_cart(a_line(POT, 1)))
