"""`flask --app app shop …`, with and without a running server."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app import create_app
from shop.lock import FolderLock, read_note
from tests.e2e import shop_files
from tests.e2e.shop_process import ADMIN_PASSWORD, ROOT, ShopProcess, wait_until

SLUG = "enamel-mug-two-peaks"
Ended = subprocess.CompletedProcess[str]


def flask_shop(instance: Path, *arguments: str, typed: str = "", folder: Path = ROOT) -> Ended:
    environment = {"PATH": os.environ["PATH"], "SHOP_INSTANCE": str(instance)}
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "shop", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input=typed, capture_output=True, text=True, timeout=60, check=False
    )


def assert_done(ended: Ended) -> str:
    assert ended.returncode == 0, ended
    assert ended.stderr == ""
    return ended.stdout


def assert_refused(ended: Ended, *words: str) -> None:
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


@pytest.fixture
def shop(start_shop: Callable[..., ShopProcess]) -> ShopProcess:
    """A running shop whose replica is far behind."""
    return start_shop(SHOP_REPLICATION_DELAY="600")


@pytest.fixture(scope="module", params=["running", "stopped"])
def any_shop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ShopProcess]:
    """One for all tests that take it: they find it, and leave it, in a state of which they know nothing more."""
    shop = ShopProcess(tmp_path_factory.mktemp(request.param), SHOP_REPLICATION_DELAY="600").start()
    if request.param == "stopped":
        shop.terminate()
    yield shop
    shop.close()


def products(path: Path) -> int:
    return len(json.loads(path.read_text())["products"])


# ---- with and without a server


def test_status_tells_both_sides_to_people_and_to_programs(any_shop):
    text = assert_done(flask_shop(any_shop.instance, "status"))
    status = status_of(any_shop)

    assert re.search(r"primary +db\.json +commit \d+ on timeline 1: .*36 products", text)
    assert re.search(r"replica +db_async\.json +commit \d+ on timeline 1", text)
    assert "at risk" in text
    behind = status["primary"]["position"]["lsn"] - status["replica"]["position"]["lsn"]
    assert status["lag"]["commits"] == behind
    assert status["primary"]["position"]["lsn"] >= 2


def test_resync_makes_the_replica_a_copy_that_verify_finds_in_sync(any_shop):
    assert_done(flask_shop(any_shop.instance, "reset-admin-password"))
    assert status_of(any_shop)["lag"]["commits"] > 0

    said = assert_done(flask_shop(any_shop.instance, "resync"))

    assert "db_async.json is a fresh copy" in said
    assert products(any_shop.instance / "db_async.json") == 36
    assert status_of(any_shop)["lag"]["commits"] == 0
    assert "same on both sides" in assert_done(flask_shop(any_shop.instance, "verify"))


def status_of(shop: ShopProcess) -> dict[str, Any]:
    return json.loads(assert_done(flask_shop(shop.instance, "status", "--json")))


def test_a_backup_is_a_whole_shop_that_only_its_owner_can_read(any_shop, tmp_path):
    said = assert_done(flask_shop(any_shop.instance, "backup", "today.json", folder=tmp_path))

    backup = tmp_path / "today.json"
    assert str(backup) in said
    assert products(backup) == 36
    assert backup.stat().st_mode & 0o777 == 0o600
    assert_refused(flask_shop(any_shop.instance, "backup", str(backup)), "exists already", "--overwrite")
    assert_done(flask_shop(any_shop.instance, "backup", str(backup), "--overwrite"))


@pytest.mark.parametrize("name", ["db.json", "db_async.json", "shop.lock", "secret_key"])
def test_a_backup_never_replaces_a_file_of_the_shop(any_shop, name):
    target = any_shop.instance / name

    ended = flask_shop(any_shop.instance, "backup", str(target), "--overwrite")

    assert_refused(ended, "one of the shop's own files")


def test_a_backup_to_nowhere_is_one_line(any_shop, tmp_path):
    assert_refused(flask_shop(any_shop.instance, "backup", str(tmp_path / "no" / "file")), "There is no folder")
    assert_refused(flask_shop(any_shop.instance, "backup", str(tmp_path)), "is a folder")


def test_seed_leaves_a_shop_that_has_goods_as_it_is(any_shop):
    before = (any_shop.instance / "db.json").read_bytes()

    said = assert_done(flask_shop(any_shop.instance, "seed"))

    assert "nothing was changed" in said
    assert json.loads(before)["products"] == json.loads((any_shop.instance / "db.json").read_bytes())["products"]


def test_a_new_password_is_shown_once_and_lets_the_admin_in(any_shop, new_shopper):
    said = assert_done(flask_shop(any_shop.instance, "reset-admin-password"))

    shown = re.search(r"password (\S+) +\(shown only now\)", said)
    assert shown
    was_running = any_shop.is_running()
    if not was_running:
        any_shop.settings["SHOP_ADMIN_PASSWORD"] = ""  # or it would win
        any_shop.start()
    shopper = new_shopper(any_shop.url)
    assert shopper.log_in(ADMIN_PASSWORD).status != 303
    assert shopper.log_in(shown[1]).status == 303
    if not was_running:
        any_shop.terminate()


def test_a_password_can_be_given_on_stdin_and_is_never_shown(any_shop):
    password = "seven unrelated words and a comma"

    said = assert_done(flask_shop(any_shop.instance, "reset-admin-password", "--password-stdin", typed=f"{password}\n"))

    assert password not in said
    assert "shown" not in said
    weak = flask_shop(any_shop.instance, "reset-admin-password", "--password-stdin", typed="short\n")
    assert_refused(weak, "at least 12 characters")


# ---- the door


@pytest.mark.parametrize("token", ["", "wrong", "é" * 10])
def test_the_door_does_not_exist_without_the_token(shop, token):
    request = urllib.request.Request(
        f"{shop.url}/_control/status", b"{}", {"X-Shop-Token": token.encode().decode("latin-1")}
    )

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)

    assert refused.value.status == 404
    refused.value.close()


def test_a_token_of_an_earlier_start_is_worth_nothing(shop):
    note = read_note(shop.instance)
    assert note
    shop.terminate()
    shop.start()
    request = urllib.request.Request(f"{shop.url}/_control/status", b"{}", {"X-Shop-Token": note.token})

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)

    assert refused.value.status == 404
    refused.value.close()


# ---- only without a server


def test_a_backup_is_restored_with_its_orders_and_without_those_after_it(shop, new_shopper, tmp_path):
    backup = tmp_path / "backup.json"
    kept = new_shopper(shop.url).buy(SLUG)
    assert_done(flask_shop(shop.instance, "backup", str(backup)))
    lost = new_shopper(shop.url).buy(SLUG)
    assert_refused(flask_shop(shop.instance, "restore", str(backup), "--yes"), "Stop the server first", shop.url)
    shop.terminate()
    assert_refused(flask_shop(shop.instance, "restore", str(backup)), "add --yes")

    said = assert_done(flask_shop(shop.instance, "restore", str(backup), "--yes"))

    assert noted_last(shop.instance) == ("command line", "restore backup.json", said.strip())
    aside = re.search(r"kept as \*(\S+)\.$", said.strip())
    assert aside
    assert lost in json.loads((shop.instance / f"db.json{aside[1]}").read_text())["orders"]
    assert (shop.instance / f"db.journal{aside[1]}").exists()
    shop.settings["SHOP_REPLICATION_DELAY"] = "0"
    shop.start()
    primary = shop_files.primary(shop.instance)
    assert list(primary["orders"]) == [kept]
    assert primary["timeline"] == 3
    number = new_shopper(shop.url).buy(SLUG)
    assert number.startswith("A3-")
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="the new replica follows")


def test_a_backup_moves_a_shop_to_a_new_folder(shop, new_shopper, tmp_path):
    number = new_shopper(shop.url).buy(SLUG)
    assert_done(flask_shop(shop.instance, "backup", str(tmp_path / "backup.json")))

    assert_done(flask_shop(tmp_path / "new", "restore", str(tmp_path / "backup.json"), "--yes"))

    assert number in shop_files.primary(tmp_path / "new")["orders"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "absent"])
def test_a_damaged_backup_is_refused_before_anything_is_touched(shop, tmp_path, damage):
    backup = tmp_path / "backup.json"
    assert_done(flask_shop(shop.instance, "backup", str(backup)))
    shop.terminate()
    data = backup.read_bytes()
    half = len(data) // 2
    broken = {
        "cut": data[:half],
        "flipped": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
        "empty": b"",
        "absent": None,
    }[damage]
    backup.unlink() if broken is None else backup.write_bytes(broken)
    before = files_of(shop.instance)

    assert_refused(flask_shop(shop.instance, "restore", str(backup), "--yes"), "backup.json")

    assert noted_last(shop.instance)[2].startswith("refused: ")
    (shop.instance / "audit.jsonl").unlink()
    assert files_of(shop.instance) == before


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_resync_from_rebuilds_a_lost_primary_from_its_replica(start_shop, new_shopper):
    shop = start_shop(SHOP_REPLICATION_DELAY="0")
    number = new_shopper(shop.url).buy(SLUG)
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=10, what="the replica has it")
    assert_refused(flask_shop(shop.instance, "resync", "--from", "db_async.json"), "Stop the server first")
    shop.terminate()
    (shop.instance / "db.json").unlink()
    (shop.instance / "db.journal").unlink()

    said = assert_done(flask_shop(shop.instance, "resync", "--from", "db_async.json"))

    assert "timeline 3" in said
    assert noted_last(shop.instance) == ("command line", "resync --from db_async.json", said.strip())
    shop.start()
    assert number in shop_files.primary(shop.instance)["orders"]


def noted_last(instance: Path) -> tuple[str, str, str]:
    """The newest line of the audit list."""
    action = json.loads((instance / "audit.jsonl").read_text().splitlines()[-1])
    return action["who"], action["what"], action["result"]


def test_verify_repairs_nothing_where_nothing_differs(any_shop):
    assert_done(flask_shop(any_shop.instance, "resync"))

    said = assert_done(flask_shop(any_shop.instance, "verify", "--repair"))

    assert said.startswith("In sync. All ") and said.endswith("There is nothing to repair.\n")
    assert noted_last(any_shop.instance)[:2] == ("command line", "verify")


def test_a_folder_without_a_shop_is_left_without_one(tmp_path):
    for command in (["status"], ["verify"], ["resync"], ["backup", str(tmp_path / "file")]):
        assert_refused(flask_shop(tmp_path / "none", *command), "There is no shop in", "SHOP_INSTANCE=")
    assert not (tmp_path / "none").exists()


def test_seed_fills_a_new_folder(tmp_path):
    assert "36 products" in assert_done(flask_shop(tmp_path / "new", "seed"))
    assert products(tmp_path / "new" / "db.json") == 36


def test_a_command_waits_for_nobody_who_holds_the_folder_without_serving(tmp_path):
    assert_done(flask_shop(tmp_path / "new", "seed"))
    with FolderLock(tmp_path / "new"):
        assert_refused(flask_shop(tmp_path / "new", "status"), "in use by another process", f"pid {os.getpid()}")


def test_each_command_explains_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_INSTANCE", str(tmp_path))
    shop = create_app().cli.commands["shop"]

    def help_of(*command: str) -> str:
        shown = CliRunner().invoke(shop, [*command, "--help"])
        assert shown.exit_code == 0
        return shown.output

    for name in ("seed", "status", "verify", "resync", "promote", "backup", "restore", "reset-admin-password"):
        assert re.search(rf"^  {name} +\S", help_of(), re.MULTILINE), f"{name} has no line in --help"
        assert len(help_of(name).splitlines()) > 4
    assert list(tmp_path.iterdir()) == [], "asking for help opens nothing"


def test_a_bad_setting_is_one_line(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "shop", "status"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SHOP_INSTANCE": str(tmp_path), "PORT": "http"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert_refused(ended, "PORT")


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "killed"])
def test_promote_prints_what_is_lost_and_the_shop_goes_on_from_the_other_side(shop, new_shopper, is_running):
    assert_done(flask_shop(shop.instance, "resync"))
    shopper = new_shopper(shop.url)
    numbers = [shopper.buy(SLUG) for _ in range(2)]
    if not is_running:
        shop.kill()

    assert_refused(flask_shop(shop.instance, "promote"), "add --yes")
    said = assert_done(flask_shop(shop.instance, "promote", "--yes"))

    for number in numbers:
        assert said.count(f"order {number}") == 1
    assert "2 orders" in said
    assert "db_async.json is the primary now, on timeline 2" in said
    assert len(list((shop.instance / "lost").glob("*.jsonl"))) == said.count("\n  1-") == 4  # two carts, two orders
    status = json.loads(assert_done(flask_shop(shop.instance, "status", "--json")))
    assert (status["primary"]["file"], status["replica"]["file"]) == ("db_async.json", "db.json")
    assert assert_done(flask_shop(shop.instance, "verify")).startswith("In sync. All ")
    if not is_running:
        shop.start()
    assert new_shopper(shop.url).buy(SLUG).startswith("A2-")
