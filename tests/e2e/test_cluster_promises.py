"""What the shop says and does on a real cluster of two workers: delays on the page, modes, policies, refusals, drills."""

import html
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from shop.cluster import ground
from shop.drills.catalog import DRILLS
from shop.drills.records import RunState
from shop.replication.postgres.sabotage import NO_DAMAGE, NO_POISON
from tests.e2e.cluster_process import ClusterProcess, a_cluster
from tests.e2e.shop_process import wait_until
from tests.e2e.shopper import Reply, Shopper

REPLICATION = "/admin/replication"
SLUG = "enamel-mug-two-peaks"
DELAY_SECONDS = 0.1
APPLY_DELAY_SECONDS = 3.0
WORKERS = ("1", "2")


class Counter(NamedTuple):
    """One cluster, and the same admin at both of its workers: one cookie, two connections."""

    cluster: ClusterProcess
    admins: dict[str, Shopper]

    def press(self, action: str, *, worker: str = "1", page: str = REPLICATION, **fields: str) -> Reply:
        """Send a form of *page*."""
        admin = self.admins[worker]
        return admin.send(admin.get(page).form(action), **fields)

    def page(self, worker: str) -> str:
        """The replication page as that worker shows it."""
        reply = self.admins[worker].get(REPLICATION)
        assert reply.status == 200, reply.location
        return reply.text

    def stage(self, name: str, worker: str) -> float:
        """Seconds, as the page says them."""
        said = re.search(rf'data-stage="{name}">([^<]*)<', self.page(worker))
        return seconds_of(said[1]) if said else -1.0

    def confirmed(self, name: str, worker: str) -> float:
        """Seconds until the primary hears that a commit is there, as the page says them."""
        said = re.search(
            rf'data-stage="{name}">.*?The primary hears of it after ([^<.]*(?:\.[0-9]+)? m?s)', self.page(worker), re.S
        )
        return seconds_of(said[1]) if said else -1.0

    def test_write(self, worker: str) -> str:
        """What the page says of it."""
        admin = self.admins[worker]
        reply = self.press(f"{REPLICATION}/test-write", worker=worker)
        return admin.follow(reply).text if reply.status == 303 else reply.text

    def last_commit(self) -> int:
        """Its place in the log."""
        return int(ask(self, "SELECT max(lsn) FROM commits")[0][0])

    def flushed(self) -> int:
        """How far the far side has it safe."""
        with psycopg.connect(self.cluster.control.urls()[1]) as connection:
            row = connection.execute("SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint").fetchone()
        return int(row[0]) if row else 0

    def is_equal(self) -> bool:
        with suppress(psycopg.OperationalError):  # one is just being started
            return self.cluster.ids("a") == self.cluster.ids("b")
        return False


def seconds_of(words: str) -> float:
    """ "120 ms", "3.2 s"; -1 for anything else."""
    found = re.fullmatch(r"([0-9.]+) (ms|s)", words.strip())
    return float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0


def at_each_worker(cluster: ClusterProcess) -> dict[str, Shopper]:
    """A connection to each: it stays with the worker that took it."""
    found: dict[str, Shopper] = {}
    deadline = time.monotonic() + 20
    while set(found) != set(WORKERS):
        assert time.monotonic() < deadline, f"only {sorted(found)} answer"
        shopper = Shopper(cluster.url)
        said = re.search(r'worker="(\d+)"', shopper.get("/metrics").text)
        assert said
        if found.setdefault(said[1], shopper) is not shopper:
            shopper.close()
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Counter]:
    with a_cluster() as cluster:
        cluster.start()
        admins = at_each_worker(cluster)
        assert admins["1"].log_in(cluster.settings["SHOP_ADMIN_PASSWORD"]).status == 303
        admins["2"].cookies = admins["1"].cookies
        yield Counter(cluster, admins)
        for admin in admins.values():
            admin.close()


@pytest.fixture
def counter(running: Counter) -> Iterator[Counter]:
    """As it was started: nothing under way, no knob turned."""
    yield running
    control = running.cluster.control
    control.mend()
    control.set_link(delay=0, jitter=0, bandwidth=0, loss=0)
    wait_until(running.is_equal, seconds=20, what="both sides are equal again", every=0.02)


@contextmanager
def somebody(counter: Counter, statement: str) -> Iterator[None]:
    """In whose transaction *statement* was done, on the primary and past the shop."""
    with psycopg.connect(counter.cluster.control.urls()[0]) as connection:
        connection.execute(statement)
        yield
        connection.rollback()


def is_not_now(reply: Reply) -> bool:
    """A page that says so and when to come again."""
    return reply.status == 503 and int(reply.headers.get("Retry-After", 0)) > 0 and "<h1" in reply.text


def test_who_is_logged_in_at_one_worker_is_so_at_the_other(counter):
    assert all(counter.admins[worker].get(REPLICATION).status == 200 for worker in WORKERS)


def test_a_delay_of_the_transport_is_in_the_flush_lag_one_of_the_replay_in_the_replay_lag_and_idle_is_zero(counter):
    counter.press(f"{REPLICATION}/delay", worker="1", delay=str(DELAY_SECONDS))

    def flush_lag() -> bool:
        counter.test_write("1")
        return counter.confirmed("flushed", "2") >= DELAY_SECONDS

    wait_until(flush_lag, seconds=20, what="worker 2 shows the delay that worker 1 has set")
    counter.press(f"{REPLICATION}/delay", worker="2", delay="0")

    counter.press(f"{REPLICATION}/apply-delay", worker="2", apply_delay=str(APPLY_DELAY_SECONDS))
    wait_until(lambda: 'name="apply_delay" value="3"' in counter.page("1"), seconds=10, what="worker 1 knows of it")
    counter.test_write("1")
    seen: list[float] = []

    def replay_lag() -> bool:
        seen.append(counter.stage("flushed", "1"))
        return counter.stage("replayed", "1") >= APPLY_DELAY_SECONDS - 0.5

    wait_until(replay_lag, seconds=20, what="the replay lag shows the delay of the replay")
    assert min(seen) < 1, f"the flush lag says {seen}"
    counter.press(f"{REPLICATION}/apply-delay", worker="1", apply_delay="0")

    wait_until(counter.is_equal, seconds=20, what="it has crossed")
    for worker in WORKERS:
        wait_until(
            lambda: [counter.stage(name, worker) for name in ("sent", "flushed", "replayed")] == [0, 0, 0],  # noqa: B023
            seconds=10,
            what=f"worker {worker} shows zero when idle",
        )
        assert re.search(r"^shop_lag_oldest_seconds\S* 0.0$", counter.admins[worker].get("/metrics").text, re.M)


def test_a_mode_chosen_at_one_worker_is_kept_by_both(counter):
    control = counter.cluster.control
    for mode, link, apply in (("semi-sync", 0.3, 0), ("sync", 0, 0.5)):
        counter.press(f"{REPLICATION}/mode", worker="1", mode=mode)
        counter.press(f"{REPLICATION}/apply-delay", worker="1", apply_delay=str(apply))
        control.set_link(delay=link)
        for worker in WORKERS:
            before = counter.cluster.ids("a")
            assert "A test write was saved" in counter.test_write(worker), worker
            there, flushed = counter.cluster.ids("b"), counter.flushed()
            assert counter.cluster.ids("a") - before, "nothing was written"
            assert flushed >= counter.last_commit(), f"{mode}: worker {worker} answered before the far side had it"
            if mode == "sync":
                assert there >= counter.cluster.ids("a"), f"worker {worker} did not wait for the readers there"
        counter.press(f"{REPLICATION}/apply-delay", worker="1", apply_delay="0")
        control.set_link(delay=0)

    counter.press(f"{REPLICATION}/mode", worker="2", mode="sync")
    control.cut(60)
    wait_until(
        lambda: all(is_not_now(buy(counter, worker)) for worker in WORKERS),
        seconds=20,
        what="both workers refuse to write",
        every=0.2,
    )
    assert all(counter.admins[worker].get("/").status == 200 for worker in WORKERS)
    control.mend()
    wait_until(
        lambda: all(buy(counter, worker).status == 303 for worker in WORKERS),
        seconds=20,
        what="both write again",
        every=0.2,
    )
    counter.press(f"{REPLICATION}/mode", worker="2", mode="async")
    assert all('value="async"' not in forms_of_modes(counter.page(worker)) for worker in WORKERS)


def forms_of_modes(page: str) -> str:
    """The buttons of the modes that can be chosen."""
    return " ".join(re.findall(r'<button[^>]*form="mode-form"[^>]*>', page))


def ask(counter: Counter, statement: str) -> list[tuple]:
    with psycopg.connect(counter.cluster.control.urls()[0], autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def buy(counter: Counter, worker: str) -> Reply:
    """One piece into the cart of a visitor of that worker, as the shop answers it."""
    return counter.admins[worker].add_to_cart(SLUG)


POLICIES = {
    "primary": ("new", "new"),
    "replica": ("old", "old"),
    "read-your-writes": ("new", "new"),
    "monotonic": ("new", "new"),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_kept_whichever_worker_answers(counter, policy):
    """The visitor has written and seen the new name at one worker; readers of the far side see the old one still."""
    visitors = at_each_worker(counter.cluster)
    product = f"/admin/products/{product_id(counter)}"
    try:
        for visitor in visitors.values():
            visitor.cookies = counter.admins["1"].cookies.copy()
        first, second = visitors["1"], visitors["2"]
        second.cookies = first.cookies
        first.send(first.get("/far-side").form("/far-side"), policy="primary")
        counter.press(f"{REPLICATION}/pause")
        name = f"Mug {policy} {time.monotonic_ns()}"
        first.send(first.get(product).form(product), name=name)
        assert name in first.get(f"/products/{SLUG}").text
        first.send(first.get("/far-side").form("/far-side"), policy=policy)

        shown = tuple("new" if name in visitors[worker].get(f"/products/{SLUG}").text else "old" for worker in WORKERS)

        assert shown == POLICIES[policy]
        counter.press(f"{REPLICATION}/resume")
        wait_until(
            lambda: all(name in visitor.get(f"/products/{SLUG}").text for visitor in visitors.values()),
            seconds=10,
            what="it has crossed",
        )
    finally:
        counter.press(f"{REPLICATION}/resume")
        for visitor in visitors.values():
            visitor.close()


def product_id(counter: Counter) -> str:
    return str(ask(counter, f"SELECT id FROM products WHERE slug = '{SLUG}'")[0][0])


# ---- refusals


def test_what_takes_too_long_is_a_503_for_who_asked_for_it_and_others_buy_on(counter):
    """Somebody holds the table of what was ordered, and somebody the row of a product."""
    admin, visitor = counter.admins["1"], counter.admins["2"]
    assert buy(counter, "2").status == 303
    form = visitor.checkout_form()
    with somebody(counter, f"SELECT 1 FROM products WHERE slug = '{SLUG}' FOR UPDATE"):
        told = in_background(lambda: visitor.send(form))
        other = Shopper(counter.cluster.url)
        slug = next(
            slug for slug in re.findall(r"/products/([a-z0-9-]+)", other.get("/?in_stock=1").text) if slug != SLUG
        )
        assert other.get(f"/products/{SLUG}").status == 200
        assert other.buy(slug).startswith("A1-")
        with somebody(counter, "LOCK TABLE order_lines IN ACCESS EXCLUSIVE MODE"):
            reply = admin.get("/admin/orders")
            assert other.get("/").status == 200
        other.close()
        assert is_not_now(reply), f"{reply.status} {reply.headers}"
        assert is_not_now(told()), f"{told().status} {told().headers}"
    assert admin.get("/admin/orders").status == 200
    assert visitor.send(form).status == 303


def in_background(call: Callable[[], Reply]) -> Callable[[], Reply]:
    """Begin it now; what is returned waits for its end."""
    found: list[Reply] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()

    def result() -> Reply:
        thread.join()
        return found[0]

    return result


def test_a_server_that_takes_no_more_connections_is_a_503_until_it_does(counter):
    forms = {worker: counter.admins[worker].get(f"/products/{SLUG}").form("/cart/lines") for worker in WORKERS}
    with psycopg.connect(administrator(counter), autocommit=True) as administrating:
        administrating.execute("ALTER ROLE shop CONNECTION LIMIT 0")
        administrating.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'")
        try:
            for worker in WORKERS:
                reply = counter.admins[worker].send(forms[worker])
                assert is_not_now(reply), f"{reply.status} {reply.headers}"
                assert counter.admins[worker].get("/healthz").status == 200
                page = counter.admins[worker].get("/")
                assert page.status == 200 or is_not_now(page), f"{page.status} {page.headers}"
        finally:
            administrating.execute("ALTER ROLE shop CONNECTION LIMIT -1")
    wait_until(
        lambda: all(counter.admins[worker].send(forms[worker]).status == 303 for worker in WORKERS),
        seconds=20,
        what="they buy on",
        every=0.2,
    )


def administrator(counter: Counter) -> str:
    """The primary's own."""
    instance = counter.cluster.instance
    password = json.loads((instance / "cluster" / "passwords.json").read_text())[ground.ADMIN]
    return ground.url(ground.sockets_of(instance) / "a", ground.ADMIN, password, ground.SHOP)


def test_without_its_standby_the_shop_sells_on_and_says_so(counter):
    control = counter.cluster.control
    control.stop("b")
    try:
        wait_until(
            lambda: all('data-state="failing"' in counter.page(worker) for worker in WORKERS),
            seconds=20,
            what="both workers know",
        )
        assert all(buy(counter, worker).status == 303 for worker in WORKERS)
        visitor = counter.admins["1"]
        visitor.send(visitor.get("/far-side").form("/far-side"), policy="replica")
        page = visitor.get(f"/products/{SLUG}")
        assert page.status == 200 and "was read from the primary" in page.text
        visitor.send(visitor.get("/far-side").form("/far-side"), policy="")
    finally:
        control.start("b")


def test_without_its_primary_the_shop_shows_what_the_standby_has_and_refuses_to_write(counter):
    control = counter.cluster.control
    forms = {worker: counter.admins[worker].get(f"/products/{SLUG}").form("/cart/lines") for worker in WORKERS}
    wait_until(counter.is_equal, seconds=20, what="the standby has it all")
    control.kill("a")
    try:
        for worker in WORKERS:
            admin = counter.admins[worker]
            reply = admin.send(forms[worker])
            assert is_not_now(reply), f"{reply.status} {reply.headers}\n{reply.text}"
            assert "Nothing was changed" in reply.text
            page = admin.get(f"/products/{SLUG}")
            assert page.status == 200
            assert "what you see is from the copy of it, and may be a little older" in page.text
            assert admin.get("/readyz").status == 503
            assert admin.get("/healthz").status == 200
            shown = admin.get(REPLICATION).text
            assert "Promote" in shown and 'data-state="failing"' in shown
        late = Shopper(counter.cluster.url)
        assert late.log_in(counter.cluster.settings["SHOP_ADMIN_PASSWORD"]).status == 303, "nobody can come to promote"
        assert "Promote" in late.get(f"{REPLICATION}/failover").text
        late.close()
    finally:
        control.start("a")
    wait_until(
        lambda: all(counter.admins[worker].send(forms[worker]).status == 303 for worker in WORKERS),
        seconds=20,
        what="they buy on",
        every=0.2,
    )


# ---- drills: on a cluster of their own, one after the other, while the tests above run


class Drilled(NamedTuple):
    """What became of one drill."""

    is_offered: bool
    page: str  # before it, or after it when it could be done
    run: dict | None
    roles: tuple[str, str]


def drill_all() -> dict[str, Drilled]:
    with a_cluster() as cluster:
        cluster.start()
        admins = at_each_worker(cluster)
        try:
            assert admins["1"].log_in(cluster.settings["SHOP_ADMIN_PASSWORD"]).status == 303
            admins["2"].cookies = admins["1"].cookies
            counter = Counter(cluster, admins)
            return {drill.name: drilled(counter, drill.name) for drill in DRILLS}
        finally:
            for admin in admins.values():
                admin.close()


def drilled(counter: Counter, name: str) -> Drilled:
    """Started at one worker, read at the other."""
    address = f"{REPLICATION}/drills/{name}"
    wait_until(counter.is_equal, seconds=20, what="both sides are equal", every=0.02)
    offered = counter.admins["1"].get(address)
    starts = [form for form in offered.forms() if form.action == f"{address}/start"]
    run = None
    if starts:
        assert counter.admins["1"].send(starts[0], confirmed="yes").status == 303
        folder = counter.cluster.instance / "drills"
        run = wait_until(lambda: ended(folder, name), seconds=90, what=f"{name} ends", every=0.1)
        offered = counter.admins["2"].get(address)
    state = counter.cluster.control.state()
    return Drilled(bool(starts), html.unescape(offered.text), run, (state.a.role, state.b.role))


def ended(folder: Path, name: str) -> dict | None:
    """The last run of the drill, once it is over."""
    try:
        run = json.loads((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return run if run["state"] != RunState.RUNNING else None


@pytest.fixture(scope="module", autouse=True)
def drills() -> Iterator[Future[dict[str, Drilled]]]:
    with ThreadPoolExecutor(1) as background:
        yield background.submit(drill_all)


@pytest.mark.parametrize("name", [drill.name for drill in DRILLS])
def test_a_drill_ends_as_it_promises_or_says_why_it_cannot_be_done_here(drills, name):
    done = drills.result()[name]

    if done.is_offered:
        assert done.run["state"] == RunState.PASSED, f"{done.run['sentence']} {done.run['steps']}"
        assert done.run["sentence"] in done.page
    else:
        assert (NO_DAMAGE if name == "damage" else NO_POISON) in done.page
    assert done.is_offered == (name not in ("damage", "poison"))
    assert done.roles == ("primary", "standby")
