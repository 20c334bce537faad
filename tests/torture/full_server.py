"""The real server on a disk that is really full: writes answer 503, reads go on, writes resume by themselves. Part of block C."""

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from shop.lock import read_note
from tests.e2e import shop_files
from tests.e2e.shop_process import ShopProcess, wait_until
from tests.e2e.shopper import Shopper

SLUG = "enamel-mug-two-peaks"
DISK_BYTES = 4 * 1024 * 1024
SECONDS_MAX = 30.0
WRITES_MAX = 2_000  # the journal has room for so many and more
ORDERS = 3

BECOME = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
MOUNT = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" || {{ echo cannot be mounted >&2; exit 1; }}; exec "$@"'


def why_not_here() -> str:
    """Why this machine cannot run it; "" if it can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = subprocess.run(
                ["unshare", "-rm", "sh", "-c", MOUNT, folder, "true"], capture_output=True, text=True
            )
        except FileNotFoundError:
            return "there is no `unshare` to mount one with"
    return tried.stderr.strip() if tried.returncode else ""


class OnASmallDisk(ShopProcess):
    """Its folder is a tmpfs that only its process has mounted; this side looks in through that process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SHOP_REPLICATION_DELAY="600")
        self.instance.mkdir()
        mount = ("unshare", "-rm", "sh", "-c", MOUNT, str(self.instance))
        self.command = ("-c", BECOME, *mount, sys.executable, "app.py")

    @property
    def inside(self) -> Path:
        return Path(f"/proc/{self.pid}/root{self.instance}")

    def _address(self) -> str:
        self._check_alive()
        note = read_note(self.inside)
        return (note.address or "") if note and note.pid == self.pid else ""

    def fill(self) -> None:
        """To the last byte."""
        with (self.inside / "ballast").open("wb", buffering=0) as ballast:
            for size in (64 * 1024, 512, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.inside / "ballast").unlink()


def run() -> None:
    """Raises AssertionError with what is broken."""
    with tempfile.TemporaryDirectory() as folder:
        shop = OnASmallDisk(Path(folder))
        try:
            shop.start()
            with closing(Shopper(shop.url)) as shopper:
                _fill_and_free(shop, shopper)
        finally:
            shop.close()


def _fill_and_free(shop: OnASmallDisk, shopper: Shopper) -> None:
    confirmed = [shopper.buy(SLUG) for _ in range(ORDERS)]
    shop.fill()
    refused = next(
        (reply for reply in (shopper.add_to_cart(SLUG) for _ in range(WRITES_MAX)) if reply.status != 303), None
    )
    assert refused is not None, "every write was taken"
    assert refused.status == 503, f"a write that did not fit was answered with {refused.status}"
    assert refused.headers.get("Retry-After"), "and nothing says when to try again"
    assert "Nothing was changed" in refused.text
    for path in ("/", f"/products/{SLUG}", "/cart", "/healthz"):
        assert shopper.get(path).status == 200, f"{path} cannot be read"
    assert shopper.get("/readyz").status == 503, "it says that it is ready"
    assert "can be read but not changed at the moment" in shopper.get("/").text, "no page says so"

    shop.free()
    wait_until(lambda: shopper.get("/readyz").status == 200, seconds=SECONDS_MAX, what="ready by itself", every=0.1)
    assert shopper.add_to_cart(SLUG).status == 303
    confirmed.append(shopper.buy(SLUG))
    wait_until(lambda: shopper.get("/readyz").status == 200, seconds=SECONDS_MAX, what="still ready", every=0.1)
    kept = shop_files.primary(shop.inside)["orders"]
    assert set(confirmed) <= set(kept), "a confirmed order is gone"
