"""The pages for machines, and the door for commands, without a server around them."""

import dataclasses
from pathlib import Path

import pytest

from shop.units import Position
from shop.web.runtime import Runtime, install

TOKEN = "t" * 43


@pytest.fixture
def server(app, pair):
    """What a running server would add; a test may tell that it stops."""
    state = {"stopping": False}

    def backup(path: Path) -> Position:
        return Position(*pair.primary.write_copy(path))

    install(
        app,
        Runtime(
            token=TOKEN,
            host="192.0.2.7",
            queue_depth=lambda: 3,
            connections=lambda: 5,
            is_stopping=lambda: state["stopping"],
            counters=lambda: {"store_commits": 7},
            backup=backup,
        ),
    )
    return state


def test_one_worker_of_several_says_which_counts_are_its_own(app, client, server):
    install(app, dataclasses.replace(app.extensions["antipode.runtime"], worker=2))
    client.get("/")

    lines = client.get("/metrics").text.splitlines()

    assert 'shop_requests_total{endpoint="catalog.index",status="2xx",worker="2"} 1.0' in lines
    assert 'shop_server_connections{worker="2"} 5.0' in lines
    assert "shop_read_only 0.0" in lines
    assert any(line.startswith("process_resident_memory_bytes{worker=") for line in lines)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_a_machine_gets_no_cookie_and_nothing_is_kept(client, path):
    reply = client.get(path)

    assert reply.status_code == 200
    assert "Set-Cookie" not in reply.headers
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.mimetype == "text/plain"


def test_a_store_that_cannot_be_written_is_alive_and_not_ready(client, pair):
    pair.primary.refuse_writes("The disk is on fire.")

    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.text.startswith("not ready: The shop can be read but not changed")
    assert "shop_read_only 1.0" in client.get("/metrics").text


def test_a_server_that_stops_is_not_ready(client, server):
    assert client.get("/readyz").status_code == 200

    server["stopping"] = True

    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_by_endpoint_and_status(client, server):
    client.get("/products/there-is-none")
    client.get("/nowhere-at-all")
    client.get("/")

    text = client.get("/metrics").text

    assert 'shop_requests_total{endpoint="catalog.show",status="4xx"} 1.0' in text
    assert 'shop_requests_total{endpoint="none",status="4xx"} 1.0' in text
    assert 'shop_request_seconds_count{endpoint="catalog.index"} 1.0' in text
    assert "shop_server_queue_depth 3.0" in text
    assert "shop_server_connections 5.0" in text
    assert "shop_store_commits_total 7.0" in text


def test_visitors_cannot_make_the_metrics_grow(client):
    for number in range(50):
        client.get(f"/invented/{number}")

    assert client.get("/metrics").text.count("shop_requests_total{") == 1


def knock(client, command="status", *, token=TOKEN, address="127.0.0.1", method="POST"):
    return client.open(
        f"/_control/{command}",
        method=method,
        json={},
        headers={"X-Shop-Token": token},
        environ_base={"REMOTE_ADDR": address},
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "192.0.2.7"])
def test_the_door_opens_to_who_is_on_this_machine_and_has_the_token(client, server, address):
    assert knock(client, address=address).status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.8", "10.0.0.1", "2001:db8::1", "", "localhost"])
def test_the_door_does_not_exist_for_others_even_with_the_token(client, server, address):
    assert knock(client, address=address).status_code == 404


@pytest.mark.parametrize("token", ["", "t", TOKEN[:-1], TOKEN + "t", TOKEN.upper()])
def test_the_door_does_not_exist_without_the_token(client, server, token):
    assert knock(client, token=token).status_code == 404


def test_the_door_knows_no_other_commands_and_is_not_for_reading(client, server):
    assert knock(client, "restore").status_code == 404
    assert knock(client, "../status").status_code == 404
    assert knock(client, method="GET").status_code == 405


def test_there_is_no_door_where_no_server_runs(client):
    assert knock(client, token="").status_code == 404


def test_a_refused_command_says_why(client, server, tmp_path):
    reply = client.post("/_control/backup", json={"path": "relative.json"}, headers={"X-Shop-Token": TOKEN})

    assert reply.status_code == 400
    assert reply.json == {"error": "The path of a backup must be absolute."}


def test_only_a_hash_is_taken_for_a_password(client, server, repository):
    reply = client.post(
        "/_control/reset-admin-password", json={"password_hash": "seven words"}, headers={"X-Shop-Token": TOKEN}
    )

    assert reply.status_code == 400
    with repository.view() as unit:
        assert unit.admin("admin") is None
