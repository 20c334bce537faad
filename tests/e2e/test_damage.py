"""A damaged file: the start refuses in one line with the file, the place and the command that repairs; the command, pasted, repairs."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e import shop_files
from tests.e2e.conftest import StartShop
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until

SLUG = "enamel-mug-two-peaks"
SECONDS_MAX = 20.0


@pytest.fixture
def stopped(start_shop: StartShop, new_shopper) -> tuple[ShopProcess, list[str]]:
    """A shop that was killed when its two orders were across, before its checkpoint had them; and their numbers."""
    shop = start_shop(SHOP_REPLICATION_DELAY="0")
    before = (shop.instance / "db.json").read_bytes()
    orders = [new_shopper(shop.url).buy(SLUG) for _ in range(2)]
    wait_until(lambda: shop_files.are_equal(shop.instance), seconds=SECONDS_MAX, what="both sides are equal")
    shop.kill()
    (shop.instance / "db.json").write_bytes(before)
    return shop, orders


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)


def refusal(shop: ShopProcess) -> str:
    ended = shop.run_second()
    assert ended.returncode != 0
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


def paste(text: str, shop: ShopProcess) -> str:
    """Run the command in *text* as an operator does: in a shell, where the shop is started."""
    found = re.search(r"(?:SHOP_INSTANCE=\S+ )?\S*flask --app app shop resync --from \w+\.json", text)
    assert found, text
    ended = subprocess.run(
        found[0],
        shell=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended
    return ended.stdout


@pytest.mark.parametrize("name", ["db.json", "db.journal", "db_async.json"])
def test_a_damaged_file_is_refused_in_one_line_and_the_printed_command_repairs_it(stopped, new_shopper, name):
    shop, orders = stopped
    path = shop.instance / name
    damaged = damage(path)

    said = refusal(shop)

    assert str(path) in said
    assert re.search(r" at byte [0-9]+: ", said), said
    assert path.read_bytes() == damaged, "a start that refuses leaves the file alone"
    paste(said, shop)
    kept = [file for file in shop.instance.iterdir() if file.name.startswith(f"{name}.corrupt-")]
    assert [file.read_bytes() for file in kept] == [damaged]

    shop.start()
    assert set(orders) <= set(shop_files.primary(shop.instance)["orders"])
    new_shopper(shop.url).buy(SLUG)


def damage(path: Path) -> bytes:
    """In the middle of a checkpoint; or in the line of a journal that follows the checkpoint, and has others behind it."""
    at = path.stat().st_size // 2
    if path.suffix == ".journal":
        lsn = shop_files.read_database(path.with_suffix(".json"))["lsn"]
        at = path.read_bytes().index(b'"lsn":%d,' % (lsn + 1))
    flip(path, at + 6)
    return path.read_bytes()
