"""`kill -9` of the primary under buyers, over real HTTP on the workers of a cluster: promoted, rejoined, re-entered; again the other way.

Each order that was confirmed is on the new primary or on the invoice of losses, once; after the review all of them are there.
"""

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from tests.e2e.cluster_process import ClusterProcess, a_cluster
from tests.e2e.patient_buyers import Lost, PatientCrowd, check_orders, money_on, read_orders
from tests.e2e.shop_process import ADMIN_PASSWORD, wait_until
from tests.e2e.shopper import Reply, Shopper
from tests.torture.tally import Tally, progress

BUYERS = 8
DELAY_SECONDS = 0.1  # so that something is under way when the primary dies
LOAD_SECONDS = (0.2, 0.8)
WAIT = 30.0
LOST = "/admin/replication/lost"
FAILOVER = "/admin/replication/failover"


def killed_under_buyers(rounds: int, tally: Tally) -> None:
    """Raises AssertionError at the first promise that is broken."""
    crowd = PatientCrowd(BUYERS)
    chance = random.Random(20261123)
    lost = 0
    with a_cluster(SHOP_REPLICATION_DELAY=str(DELAY_SECONDS)) as cluster:
        cluster.start()
        try:
            for number in range(rounds):
                progress(f"G: kill -9 under buyers {number + 1}/{rounds}")
                lost += _round(cluster, crowd, chance, tally)
                tally.points += 1
        finally:
            crowd.close()
    assert lost, "nothing was under way when the primary died"
    tally.notes.append(
        f"{rounds} kills of the primary, {crowd.confirmed()} orders confirmed, {lost} of them lost and re-entered,"
        f" {crowd.turned_away()} times not just now"
    )


def _round(cluster: ClusterProcess, crowd: PatientCrowd, chance: random.Random, tally: Tally) -> int:
    """One kill; returns how many confirmed orders it cost."""
    old, new = _sides(cluster)
    timeline = _timeline(cluster)
    admin = Shopper(cluster.url)
    try:
        assert admin.log_in(ADMIN_PASSWORD).status == 303
        with crowd.buying(cluster.url):
            time.sleep(chance.uniform(*LOAD_SECONDS))  # the moment of a crash is not a condition to wait for
            before = crowd.confirmed()
            wait_until(lambda: crowd.confirmed() > before, seconds=WAIT, what="one more was told", every=0.001)
            cluster.control.kill(old)
            confirmed = crowd.confirmed()
            said = _press(admin, FAILOVER, f"{FAILOVER}/promote")
            invoice = admin.get(said.location).text if said.status == 303 else said.text
            assert said.location.startswith(LOST), f"{said.status} {said.location}: {_words(invoice)}"
            wait_until(lambda: crowd.confirmed() > confirmed, seconds=WAIT, what="the shop sells on")
        _check(lambda: _sides(cluster) == (new, old), "the roles have changed", tally)
        _check_nothing_is_missing(cluster, crowd, invoice, timeline, tally)
        cost = _review(cluster, crowd, admin, tally)
        _check(lambda: _are_equal(cluster), "the old primary follows", tally)
        return cost
    finally:
        admin.close()


def _check(is_so: Callable[[], object], what: str, tally: Tally) -> None:
    wait_until(is_so, seconds=WAIT, what=what, every=0.05)
    tally.states += 1


def _check_nothing_is_missing(
    cluster: ClusterProcess, crowd: PatientCrowd, invoice: str, timeline: int, tally: Tally
) -> None:
    """Each confirmed order is in one of the two places, and the page says so of those that are not on the primary."""
    database, lost = _primary(cluster), Lost(cluster.instance)
    here, there, confirmed = set(database["orders"]), lost.orders(lost.of(timeline)), crowd.numbers()
    missing = confirmed - here - set(there)
    assert not missing, f"confirmed and nowhere: {sorted(missing)}"
    twice = here & set(there)
    assert not twice, f"on the primary and on the invoice: {sorted(twice)}"
    untold = [number for number in there if number not in invoice]
    assert not untold, f"lost, and not on the page: {untold}"
    section = invoice.partition(f'id="invoice-{timeline}"')[2].partition("</section>")[0]
    total = sum(order["total_cents"] for order in there.values())
    assert money_on(section) == total, f"the page says {money_on(section)} cents, the files {total}"
    check_orders(database, crowd)
    tally.states += 5


def _review(cluster: ClusterProcess, crowd: PatientCrowd, admin: Shopper, tally: Tally) -> int:
    """Re-enter all that was lost; returns how many of them were confirmed orders."""
    lost = Lost(cluster.instance)
    open_ids = set(lost.commits) - lost.decided
    cost = len(crowd.numbers() & set(lost.orders(open_ids)))
    crowd.settle(cluster.url)
    for id in sorted(open_ids, key=lambda id: int(id.partition("-")[2])):
        said = _press(admin, LOST, f"{LOST}/{id}/reenter")
        assert said.status == 303, f"{said.status} {said.path}"
        admin.get(said.location)
    database = _primary(cluster)
    missing = crowd.numbers() - set(database["orders"])
    assert not missing, f"gone although everything was re-entered: {sorted(missing)}"
    check_orders(database, crowd)
    tally.states += 2
    return cost


def _words(page: str) -> str:
    """What is read on it, its notices first."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<main")[2]))
    return text[:600]


def _press(admin: Shopper, page: str, action: str) -> Reply:
    """A button of a page; one that is not there any more has been pressed."""
    return admin.send(admin.get(page).form(action))


def _are_equal(cluster: ClusterProcess) -> bool:
    """Both servers have the same commits; one that is just being started has none to show."""
    with suppress(psycopg.OperationalError):
        return cluster.ids("a") == cluster.ids("b")
    return False


def _sides(cluster: ClusterProcess) -> tuple[str, str]:
    """The primary, and the one that follows; "" for none."""
    state = cluster.control.state()
    by_role = {server.role: server.side for server in (state.a, state.b)}
    return by_role.get("primary", ""), by_role.get("standby", "")


def _timeline(cluster: ClusterProcess) -> int:
    text = (cluster.instance / "cluster.json").read_text()
    found = re.search(r'"timeline":\s*([0-9]+)', text)
    assert found, text
    return int(found[1])


def _primary(cluster: ClusterProcess) -> dict:
    primary, _ = _sides(cluster)
    return read_orders(dict(zip("ab", cluster.control.urls(), strict=True))[primary])
