"""Moving house: from the embedded store to a real PostgreSQL pair, and back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shop import admins
from shop.assembly import moving
from shop.assembly.moving import House, open_house
from shop.clock import ManualClock
from shop.cluster.machine import Machine
from shop.config import Config
from shop.demo.seed import seed
from shop.errors import SettingError
from shop.replication.losing import Left, LostFolder
from shop.replication.pair import open_pair
from shop.repository.embedded import EmbeddedRepository
from shop.repository.postgres.bulk import Bulk
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.repository import PostgresRepository
from shop.units import ReadUnit
from tests.builders import NOW, a_category, a_product, keep, keep_cart, keep_products, order_of, product_in
from tests.e2e.shop_process import ROOT


@pytest.fixture
def instance(postgres_machine: Machine) -> Path:
    """The folder of a cluster that runs."""
    return postgres_machine.ground.folder.parent


@pytest.fixture
def database(instance: Path, postgres_machine: Machine) -> Iterator[PostgresRepository]:
    with open_repository(instance, postgres_machine.urls()) as repository:
        yield repository


@pytest.fixture
def house(instance: Path, database: PostgresRepository, clock: ManualClock) -> Iterator[House]:
    with open_house(Config(instance=instance), clock) as house:
        yield house


def fill(instance: Path, clock: ManualClock) -> dict[str, int]:
    """An embedded shop that has sold something; how much of what it holds."""
    pair = open_pair(instance, clock)
    shop = EmbeddedRepository(pair.primary)
    seed(shop, clock)
    with shop.update() as unit:
        admins.set_password_hash(unit, "a hash", now=NOW)
    with shop.view() as unit:
        products = list(unit.admin_products(words="", archived=False, page=1, size=3).items)
    for product in products:
        order_of(shop, (product, 2))
    keep_cart(shop)
    with shop.view() as unit:
        counts = dict(unit.counts())
    pair.close()
    return counts


def everything(unit: ReadUnit) -> dict[str, list[object]]:
    return {
        "categories": list(unit.categories()),
        "products": list(unit.admin_products(words="", archived=False, page=1, size=1000).items),
        "orders": list(unit.orders(words="", status="", page=1, size=1000).items),
        "admin": [unit.admin(admins.ADMIN_ID)],
    }


def embedded(instance: Path, clock: ManualClock) -> dict[str, list[object]]:
    pair = open_pair(instance, clock)
    try:
        with EmbeddedRepository(pair.primary).view() as unit:
            return everything(unit)
    finally:
        pair.close()


def files(instance: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in instance.glob("db*.json*")}


def no(question: str) -> None:
    raise SettingError(f"asked: {question}")


def yes(question: str) -> None:
    return None


def quiet(done: int, total: int) -> None:
    return None


def test_a_shop_moves_with_all_it_has_and_issues_no_number_twice(instance, clock, house, database):
    counts = fill(instance, clock)
    shown: list[tuple[int, int]] = []

    sentence = house.move(lambda *progress: shown.append(progress), no)

    with database.view() as unit:
        there = everything(unit)
        assert {name: unit.counts()[name] for name in ("products", "carts", "orders", "admins")} == {
            name: counts[name] for name in ("products", "carts", "orders", "admins")
        }
    assert there == embedded(instance, clock)
    assert "The standby has them too" in sentence
    assert shown[-1][0] == shown[-1][1] == 2 * sum(count for name, count in counts.items() if name != "counters")
    with database.update() as unit:
        assert unit.next_order_number() == "A1-10004"


def test_a_database_that_has_sold_something_is_not_written_over(instance, clock, house, database):
    fill(instance, clock)
    product = a_product(category_id="c")
    with database.update() as unit:
        unit.put_category(a_category(id="c"))
        unit.put_product(product)
    order_of(database, (product, 1))

    with pytest.raises(SettingError, match="a shop with 1 orders"):
        house.move(quiet, yes)

    assert product_in(database, product).stock == 9


def test_demo_goods_give_way_only_to_a_yes(instance, clock, house, database):
    fill(instance, clock)
    seed(database, clock)
    with database.view() as unit:
        before = everything(unit)

    with pytest.raises(SettingError, match=r"asked: The database holds \d+ products and no order"):
        house.move(quiet, no)

    with database.view() as unit:
        assert everything(unit) == before
    house.move(quiet, yes)
    with database.view() as unit:
        assert len(everything(unit)["orders"]) == 3


def test_a_record_that_the_database_refuses_leaves_it_as_it_was(instance, clock, house, database):
    fill(instance, clock)
    pair = open_pair(instance, clock)
    keep(EmbeddedRepository(pair.primary), a_product(stock=-1))  # no files of ours have that; damaged by hand they may
    pair.close()
    seed(database, clock)
    before = files(instance)

    with pytest.raises(SettingError, match="refused, and nothing was changed"):
        house.move(quiet, yes)

    assert files(instance) == before
    with database.view() as unit:
        assert not everything(unit)["orders"]
        assert unit.counts()["products"] > 0


@pytest.mark.parametrize("back", [False, True])
def test_a_copy_that_differs_does_not_count(instance, clock, house, database, monkeypatch, back):
    fill(instance, clock)
    if back:
        house.move(quiet, no)
    scan, calls = Bulk.scan, {"products": 0}

    def forgetful(self, collection):
        """The last look at the products shows one of them too few: the comparison's."""
        calls["products"] += collection == "products"
        found = list(scan(self, collection))
        yield from found[1:] if collection == "products" and calls["products"] == (2 if back else 1) else found

    monkeypatch.setattr(Bulk, "scan", forgetful)
    before = files(instance)

    with pytest.raises(SettingError, match="nothing was changed"):
        house.move_back(quiet, yes) if back else house.move(quiet, no)

    assert files(instance) == before
    with database.view() as unit:
        assert bool(unit.counts()["orders"]) == back


def test_what_a_failover_left_is_decided_first(instance, clock, house):
    fill(instance, clock)
    (instance / "lost").mkdir()
    pair = open_pair(instance, clock)
    line = next(line for line in (instance / "db.journal").read_bytes().split(b"\n") if b'"orders"' in line)
    pair.close()
    (instance / "lost" / "1-4.jsonl").write_bytes(line + b"\n")

    with pytest.raises(SettingError, match="/admin/replication/lost"):
        house.move(quiet, yes)


def test_a_shop_moves_back_and_its_old_files_are_kept(instance, clock, house, database):
    fill(instance, clock)
    house.move(quiet, no)
    with database.view() as unit:
        product = next(iter(unit.admin_products(words="", archived=False, page=1, size=1).items))
    sold_there = order_of(database, (product, 1))
    with database.view() as unit:
        there = everything(unit)
    old = files(instance)

    sentence = house.move_back(quiet, yes)

    assert embedded(instance, clock) == there
    kept = {path.name.partition(".before")[0]: path.read_bytes() for path in instance.glob("*.before-*")}
    assert kept["db.json"] == old["db.json"]
    assert "what it sells from now on is not in the files" in sentence
    pair = open_pair(instance, clock)
    sold_here = order_of(EmbeddedRepository(pair.primary), (product, 1))
    pair.close()
    assert int(sold_here.number.rpartition("-")[2]) > int(sold_there.number.rpartition("-")[2])


def test_a_shop_that_moved_back_issues_no_number_of_an_order_that_a_failover_left_behind(
    instance, clock, house, database
):
    mug = a_product()
    keep_products(database, mug)
    order = order_of(database, (mug, 1))
    lost = replace(order, number="A3-10700")
    LostFolder(instance).keep_commits([Left("c", 3, 7, "2026-01-01T00:00:00.000000Z", [("orders", lost.number, lost)])])

    house.move_back(quiet, yes)

    pair = open_pair(instance, clock)
    with EmbeddedRepository(pair.primary).update() as unit:
        assert unit.next_order_number() == "A3-10701"
    pair.close()


def test_a_move_waits_for_no_standby(instance, clock, house, postgres_machine, monkeypatch):
    """The last mode stays set in the database; nobody releases who waits there while no shop runs."""
    fill(instance, clock)
    with postgres_machine.pair.a.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
    postgres_machine.stop_server("b")
    monkeypatch.setattr(moving, "STANDBY_SECONDS_MAX", 0)

    assert "has not got all of them yet" in house.move(quiet, no)


def test_the_command_moves_to_the_cluster_that_runs_on_the_folder(instance, clock, database):
    fill(instance, clock)

    done = run_migrate(instance, "--yes")

    assert done.returncode == 0, done.stderr
    assert "compared one by one" in done.stdout
    with database.view() as unit:
        assert unit.counts()["orders"] == 3


def test_without_a_database_the_command_says_how_to_name_one(tmp_path):
    done = run_migrate(tmp_path)

    assert done.returncode == 2
    assert "SHOP_PRIMARY_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def run_migrate(instance: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "shop", "migrate", *options],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SHOP_INSTANCE": str(instance)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
