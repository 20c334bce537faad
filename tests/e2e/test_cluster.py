"""`make cluster`: the supervisor with everything below it, on a free port, in a folder of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shop.cluster import ground
from tests.e2e.cluster_process import ClusterProcess, a_cluster
from tests.e2e.shop_process import ROOT, ShopProcess, wait_until
from tests.e2e.shopper import Shopper


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    """One that runs, for the tests that leave it so."""
    with a_cluster() as cluster:
        yield cluster.start()


NewShopper = Callable[[str], Shopper]


def answering_worker(shopper: Shopper) -> str:
    return re.search(r'worker="(\d+)"', shopper.get("/metrics").text)[1]


def test_an_order_taken_by_any_worker_is_seen_by_all_and_crosses_to_the_standby(cluster, new_shopper):
    buyer = new_shopper(cluster.url)
    slug = re.search(r"/products/([a-z0-9-]+)", buyer.get("/?in_stock=1").text)[1]

    number = buyer.buy(slug)

    assert number.startswith("A1-")
    seen = set()
    while seen != {"1", "2"}:  # a connection stays with the worker that took it
        admin = new_shopper(cluster.url)
        worker = answering_worker(admin)
        if worker not in seen:
            assert admin.log_in(cluster.settings["SHOP_ADMIN_PASSWORD"]).status == 303
            assert number in admin.get("/admin/orders").text
            seen.add(worker)
        admin.close()
    wait_until(lambda: cluster.ids("b") >= cluster.ids("a"), seconds=10, what="the standby has it all")


def test_what_runs_where_and_how_to_get_in_is_told(cluster):
    said = cluster.log()

    assert f"Shop          {cluster.url}/" in said
    assert "user admin, password as in SHOP_ADMIN_PASSWORD" in said
    for words in (
        "Workers       2 processes",
        "Primary       PostgreSQL",
        "Standby       PostgreSQL",
        "make cluster-stop",
    ):
        assert said.count(words) == 1


@pytest.mark.parametrize("command", [ClusterProcess.command, ShopProcess.command], ids=["cluster", "run"])
def test_a_second_start_on_the_same_folder_is_refused_in_one_line(cluster, command):
    second = ClusterProcess(cluster.folder)
    second.command = command

    refused = second.run_second()

    assert refused.returncode == 2
    assert refused.stderr.strip() == (
        f"antipode: The shop in {cluster.instance} is already running at {cluster.url} (pid {cluster.pid}): use that one, stop it"
        " first, or name another folder with SHOP_INSTANCE=."
    )


def test_a_worker_that_dies_is_started_again_and_the_shop_answers_meanwhile(cluster, new_shopper):
    before = wait_until(lambda: len(cluster.workers()) == 2 and cluster.workers(), seconds=15, what="two workers")

    os.kill(before[0], 9)

    assert new_shopper(cluster.url).get("/").status == 200
    wait_until(
        lambda: len(now := cluster.workers()) == 2 and before[0] not in now, seconds=15, what="there is another one"
    )


def test_no_secret_is_on_a_command_line(cluster):
    passwords = (cluster.instance / "cluster" / "passwords.json").read_text()

    secrets = re.findall(r'"([^"]{20,})"', passwords)
    assert len(secrets) == 3
    for pid in cluster.pids():
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in command for secret in (*secrets, cluster.settings["SHOP_ADMIN_PASSWORD"]))


def test_the_check_finds_nothing_to_change(cluster):
    check = [str(Path(sys.executable).with_name("flask")), "--app", "app", "shop", "check-cluster"]

    run = subprocess.run(
        check, cwd=ROOT, env=cluster.environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stdout
    assert {line.split()[0] for line in run.stdout.splitlines()} == {"ok"}
    assert "streaming" in run.stdout


def test_addresses_of_other_servers_are_refused(tmp_path):
    shop = ClusterProcess(tmp_path, SHOP_PRIMARY_URL="postgresql://a/x", SHOP_REPLICA_URL="postgresql://b/x")

    refused = shop.run_second()

    assert refused.returncode == 2
    assert refused.stderr.startswith("antipode: SHOP_PRIMARY_URL is set, but make cluster brings up servers of its own")


def test_killed_promoted_killed_again_and_stopped_it_goes_on_from_what_is_there(new_shopper):
    with a_cluster() as cluster:
        cluster.start()
        buyer = new_shopper(cluster.url)
        slug = re.search(r"/products/([a-z0-9-]+)", buyer.get("/?in_stock=1").text)[1]
        first = buyer.buy(slug)
        wait_until(lambda: cluster.ids("b") >= cluster.ids("a"), seconds=10, what="the standby has it all")

        cluster.kill()
        wait_until(lambda: not cluster.pids(), seconds=5, what="nothing is left running")
        cluster.start()
        buyer.move(cluster.url)
        assert (cluster.control.state().a.role, cluster.control.state().b.role) == ("primary", "standby")
        wait_until(lambda: cluster.ids("b") >= cluster.ids("a"), seconds=10, what="the standby follows again")

        cluster.control.kill("a")
        with psycopg.connect(cluster.control.urls()[1]) as connection:
            connection.execute("SELECT pg_promote(true, 30)")
        cluster.kill()
        cluster.start()
        buyer.move(cluster.url)
        state = cluster.control.state()
        assert (state.a.role, state.b.role) == ("old primary", "primary")
        assert not state.a.is_running
        second = buyer.buy(slug)
        assert first.startswith("A1-") and second.startswith("A2-")

        stopped = cluster.stop_command()
        assert (stopped.returncode, stopped.stdout) == (0, "The cluster is stopped.\n")
        assert cluster.ended() == 0
        assert cluster.pids() == []
        assert not ground.sockets_of(cluster.instance).exists()
        assert cluster.stop_command().stdout == f"No cluster runs in {cluster.instance}.\n"


@pytest.mark.parametrize("moment", ["cluster/a/data.new", "cluster/a/data/postmaster.pid", "cluster/b/data.new"])
def test_a_first_start_that_is_killed_halfway_is_made_good_by_the_next(moment):
    with a_cluster() as cluster:
        cluster.begin()
        wait_until(lambda: (cluster.instance / moment).exists(), seconds=30, what=moment, every=0.001)
        cluster.kill()

        cluster.start()

        state = cluster.control.state()
        assert (state.a.role, state.b.role) == ("primary", "standby")
        assert state.a.is_ready and state.b.is_ready
