"""The audit list: every action on the replication, by whom and with what result, in a file of this machine."""

from dataclasses import replace

import pytest

from shop.replication.audit import NAME, Audit
from shop.web.operations import Operations


@pytest.fixture
def audit(app, tmp_path, clock):
    audit = Audit(tmp_path, clock)
    app.extensions["antipode"] = replace(app.extensions["antipode"], audit=audit)
    return audit


def test_an_action_is_noted_with_who_and_what_came_of_it(shopkeeper, audit):
    shopkeeper.get("/admin/replication").send("/admin/replication/delay", delay="7")

    (action,) = audit.actions()
    assert (action.who, action.what) == ("admin", "delay delay=7")
    assert action.result.startswith("The delay is 7 s now")
    page = shopkeeper.get("/admin/replication/audit")
    assert "delay delay=7" in page.main.text and "csrf" not in page.main.text


def test_a_refused_action_is_noted_too(shopkeeper, audit):
    shopkeeper.get("/admin/replication").send("/admin/replication/delay", delay="soon")

    assert audit.actions()[0].result == "refused (400)"


def test_looking_is_no_action_and_strangers_do_none(stranger, client, audit):
    stranger.get("/admin/replication")
    client.post("/admin/replication/pause")

    assert audit.actions() == []
    assert stranger.get("/admin/replication/audit").location.startswith("/admin/login")


def test_a_command_is_noted(app, audit, pair):
    Operations(app.extensions["antipode"], lambda path: None).perform("resync", {})

    (action,) = audit.actions()
    assert (action.who, action.what) == ("command line", "resync")
    assert "fresh copy" in action.result


def test_the_list_survives_a_restart_half_a_line_and_a_full_file(tmp_path, clock):
    audit = Audit(tmp_path, clock, bytes_max=2000)
    for number in range(5):
        audit.add("admin", f"first {number}", "done")
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"at":"2026')
    again = Audit(tmp_path, clock, bytes_max=2000)
    again.add("admin", "second", "done")

    assert [action.what for action in again.actions()][:2] == ["second", "first 4"]
    assert len(again.actions()) == 6
    for number in range(200):
        again.add("admin", f"third {number}", "done")
    assert again.actions(1)[0].what == "third 199"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_a_disk_that_is_full_refuses_no_action(tmp_path, clock):
    audit = Audit(tmp_path / "missing", clock)

    audit.add("admin", "pause", "done")

    assert audit.actions() == []
