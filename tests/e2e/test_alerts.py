"""An alert on its whole way: a shop that really runs, something that is really wrong, and whoever is to be told."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.shop_process import wait_until
from tests.e2e.test_commands import assert_done, flask_shop

FOREIGN = ("db_async.json", "db_async.journal")


class Telephone:
    """Takes the messages of an address that Apprise calls."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        telephone = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                telephone.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Not on standard error."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"json://127.0.0.1:{self.server.server_port}/alerts"

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture
def telephone() -> Iterator[Telephone]:
    telephone = Telephone()
    thread = threading.Thread(target=telephone.server.serve_forever)
    thread.start()
    yield telephone
    telephone.server.shutdown()
    thread.join()
    telephone.server.server_close()


def test_a_replica_that_is_refused_is_told_once_and_its_repair_once(start_shop, telephone, tmp_path):
    shop = start_shop(SHOP_ALERT_URLS=telephone.url, SHOP_REPLICATION_DELAY="0")
    shop.terminate()
    assert_done(flask_shop(tmp_path / "another shop", "seed"))
    for name in FOREIGN:
        shutil.copy(tmp_path / "another shop" / name, shop.instance / name)
    shop.start()

    wait_until(lambda: telephone.messages, seconds=20, what="the alert is told")
    (raised,) = telephone.messages
    assert raised["title"] == "Antipode: refused raised"
    assert raised["type"] == "warning"
    assert "no longer share one history" in raised["message"]

    assert_done(flask_shop(shop.instance, "resync"))
    wait_until(lambda: len(telephone.messages) > 1, seconds=20, what="its end is told")
    shop.terminate()  # what is still to be told is told before

    assert telephone.titles() == ["Antipode: refused raised", "Antipode: refused cleared"]
    events = [json.loads(line) for line in shop.log().splitlines() if line.startswith("{")]
    assert [event["event"] for event in events if event.get("alert") == "refused"] == ["alert raised", "alert cleared"]
    assert telephone.url not in shop.log()
