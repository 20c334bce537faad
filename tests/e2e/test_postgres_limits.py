"""A real server at its limits: too slow, too full, in each other's way, and gone in the middle of a commit."""
# ruff: noqa: PT012 - an update is a block, and it is the leaving that raises

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from msgspec.structs import replace

from shop.cluster.server import PostgresServer
from shop.errors import Conflict, Crossed, SettingError, Unavailable, WritesUnavailable
from shop.repository.postgres import migrations
from shop.repository.postgres.opening import open_repository
from shop.repository.postgres.pools import Bounds, Servers
from shop.repository.postgres.repository import PostgresRepository
from shop.repository.postgres.roles import Roles
from shop.units import Position
from tests.builders import a_cart, a_category, a_product, keep, keep_products, stock_of
from tests.contract.backends import EMPTY, answers, is_up

FEW = Bounds(connections=2, pool_seconds=0.3, statement_seconds=0.3)


@pytest.fixture
def server(postgres_server: PostgresServer, tmp_path: Path) -> PostgresServer:
    with open_repository(tmp_path, (postgres_server.url(), nobody(tmp_path))):
        pass
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(EMPTY)
    return postgres_server


@pytest.fixture
def repository(server: PostgresServer, tmp_path: Path) -> Iterator[PostgresRepository]:
    with opened(server, tmp_path, Bounds()) as repository:
        yield repository


@contextmanager
def opened(server: PostgresServer, folder: Path, bounds: Bounds) -> Iterator[PostgresRepository]:
    servers = Servers((server.url(), nobody(folder)), Roles(folder), bounds=bounds)
    servers.open()
    yield PostgresRepository(servers)
    servers.close()


def nobody(folder: Path) -> str:
    return f"postgresql:///nobody?host={folder}"


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def asked(server: PostgresServer, question: str) -> Any:
    with server.connect("shop") as connection:
        cursor = connection.execute(question)  # type: ignore[call-overload]
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


# ---- too much at once


def test_writers_that_find_no_connection_are_sent_away_and_readers_go_on(
    server: PostgresServer, tmp_path: Path
) -> None:
    with opened(server, tmp_path, FEW) as repository, repository.update(), repository.update():
        with pytest.raises(WritesUnavailable, match="More people") as refused:
            keep(repository, a_cart())
        assert refused.value.retry_seconds

        with repository.view() as unit:
            assert unit.counts()["carts"] == 0
    with opened(server, tmp_path, FEW) as repository:
        keep(repository, a_cart())


def test_readers_that_find_no_connection_are_told_so_and_not_shown_the_standby(
    server: PostgresServer, tmp_path: Path
) -> None:
    with opened(server, tmp_path, FEW) as repository, repository.view(), repository.view():
        with pytest.raises(Unavailable, match="More people") as refused, repository.view():
            pass
        assert refused.value.retry_seconds
        assert not repository.take_fallback()
        keep(repository, a_cart())


def test_while_all_writers_wait_the_shop_is_read_and_says_that_it_can_be_written(
    server: PostgresServer, tmp_path: Path
) -> None:
    """As when the far side is away: whoever asks whether the shop can be written must not wait for them."""
    with (
        opened(server, tmp_path, Bounds(connections=2, pool_seconds=30)) as repository,
        repository.update(),
        repository.update(),
    ):
        began = time.monotonic()
        assert repository.is_writable()
        assert time.monotonic() - began < 10


def test_a_statement_that_is_too_slow_is_broken_off_and_the_connection_lives(
    server: PostgresServer, tmp_path: Path
) -> None:
    with opened(server, tmp_path, FEW) as repository:
        with pytest.raises(Unavailable, match="too long"), repository.view() as unit:
            unit._rows("SELECT pg_sleep(30)")  # type: ignore[attr-defined]
        with pytest.raises(WritesUnavailable, match="too long"), repository.update() as unit:
            unit.put_cart(a_cart(id="slow"))
            unit._rows("SELECT pg_sleep(30)")  # type: ignore[attr-defined]

        with repository.view() as unit:
            assert unit.cart("slow") is None
        keep(repository, a_cart())


def test_a_server_that_does_not_answer_at_all_holds_nobody_for_ever(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that serves us is stopped: no timeout of its own can end this."""
    monkeypatch.setattr("shop.repository.postgres.connection.Connection.answer_seconds_max", 0.5)
    with opened(server, tmp_path, FEW) as repository, pytest.raises(WritesUnavailable), repository.update() as unit:
        pid = unit._rows("SELECT pg_backend_pid()")[0][0]  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGSTOP)
        try:
            unit.product("anything")
        finally:
            os.kill(pid, signal.SIGCONT)


def test_all_connections_of_the_server_in_use_is_a_refusal(server: PostgresServer, tmp_path: Path) -> None:
    held = []
    with opened(server, tmp_path, FEW) as repository:
        try:
            with pytest.raises(psycopg.OperationalError):
                while True:
                    held.append(psycopg.connect(server.url()))
            with pytest.raises(WritesUnavailable):
                keep(repository, a_cart())
        finally:
            for connection in held:
                connection.close()
        until(repository.is_writable)
        keep(repository, a_cart())


def test_a_start_without_servers_says_why_in_one_line_and_tells_no_password(
    server: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "fresh").mkdir()
    wrong = server.url().replace(quote(server.ground.passwords["shop"], safe=""), "hunter2hunter2")

    with (
        pytest.raises(SettingError, match="password authentication failed") as refused,
        open_repository(tmp_path / "fresh", (wrong, nobody(tmp_path))),
    ):
        pass

    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_database_that_cannot_hold_every_text_is_refused(server: PostgresServer, tmp_path: Path) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    url = server.url(database="latin")

    with pytest.raises(SettingError, match="LATIN1"), open_repository(tmp_path, (url, nobody(tmp_path))):
        pass

    with server.connect() as connection:
        connection.execute("DROP DATABASE latin")


# ---- in each other's way


def test_of_two_updates_that_lock_crosswise_one_goes_through_and_one_can_be_made_again(
    repository: PostgresRepository,
) -> None:
    left, right = a_product(stock=10), a_product(stock=10)
    keep_products(repository, left, right)
    both_have_one = threading.Barrier(2)

    def take_both(first: str, second: str) -> str:
        try:
            with repository.update() as unit:
                one = unit.product(first)
                both_have_one.wait(20)
                other = unit.product(second)
                assert one is not None and other is not None
                unit.put_product(replace(one, stock=one.stock - 1))
                unit.put_product(replace(other, stock=other.stock - 1))
        except Crossed as refused:
            return f"again in {refused.retry_seconds} s"
        return "kept"

    with ThreadPoolExecutor(2) as threads:
        ways = [(left.id, right.id), (right.id, left.id)]
        done = sorted(thread.result() for thread in [threads.submit(take_both, *way) for way in ways])

    assert done == ["again in 1 s", "kept"]
    assert (stock_of(repository, left), stock_of(repository, right)) == (9, 9)


def test_who_waits_too_long_for_a_row_is_sent_away(
    repository: PostgresRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = a_product()
    keep_products(repository, product)
    with repository.update() as holder:
        holder.product(product.id)

        with pytest.raises(WritesUnavailable, match="same thing") as refused, repository.update() as unit:
            unit._rows("SELECT set_config('lock_timeout', '100ms', true)")  # type: ignore[attr-defined]
            unit.product(product.id)
    assert refused.value.retry_seconds


def test_what_was_not_there_stays_so_until_the_commit(repository: PostgresRepository) -> None:
    """Two who look for the same order, and put it because it is not there: the second finds the first one's."""
    entered = threading.Barrier(2)

    def put_if_absent(name: str) -> str:
        entered.wait(20)
        with repository.update() as unit:
            found = unit.product_by_sku("WANTED")
            if found is None:
                unit.put_category(a_category(id=name, slug=name))
                unit.put_product(a_product(id=name, sku="WANTED", category_id=name))
            return found.id if found else name

    with ThreadPoolExecutor(2) as threads:
        results = {thread.result() for thread in [threads.submit(put_if_absent, name) for name in ("one", "two")]}

    assert len(results) == 1


# ---- what the schema forbids, whatever the rules let through


def test_the_schema_refuses_what_no_rule_should_ever_write(repository: PostgresRepository) -> None:
    product = a_product(stock=1)
    keep_products(repository, product)

    for wrong in (replace(product, stock=-1), replace(product, price_cents=-1), replace(product, created_at="soon")):
        with pytest.raises(psycopg.IntegrityError):
            keep(repository, wrong)

    assert stock_of(repository, product) == 1


def test_a_product_of_no_category_is_refused_at_the_commit(repository: PostgresRepository) -> None:
    with pytest.raises(Conflict, match="category"), repository.update() as unit:
        unit.put_product(a_product(category_id="nowhere"))

    with repository.view() as unit:
        assert unit.counts()["products"] == 0


# ---- gone in the middle


@pytest.fixture
def waiting(server: PostgresServer, repository: PostgresRepository) -> Iterator[Callable[[], int]]:
    """From now on commits wait for a far side that is not there; the fixture tells the process of the one that waits."""
    keep(repository, a_cart())
    set_names(server, "nobody")

    def pid() -> int:
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        until(lambda: asked(server, query) is not None)
        return int(asked(server, query))

    yield pid
    set_names(server, "")


def set_names(server: PostgresServer, names: str) -> None:
    with server.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: asked(server, "SHOW synchronous_standby_names") == names)


def in_background(repository: PostgresRepository, told: list[Position]) -> Any:
    repository.after_commit.append(told.append)
    return ThreadPoolExecutor(1).submit(keep, repository, a_cart(id="middle"))


def has_middle(repository: PostgresRepository) -> bool:
    with repository.view() as unit:
        return unit.cart("middle") is not None


def test_a_commit_whose_connection_is_ended_while_it_waits_is_found_to_be_kept(
    server: PostgresServer, repository: PostgresRepository, waiting: Callable[[], int]
) -> None:
    told: list[Position] = []
    update = in_background(repository, told)

    asked(server, f"SELECT pg_terminate_backend({waiting()})")
    update.result(20)

    assert len(told) == 1
    assert has_middle(repository)


def test_a_commit_whose_server_crashes_while_it_waits_is_found_to_be_kept(
    server: PostgresServer, repository: PostgresRepository, waiting: Callable[[], int]
) -> None:
    told: list[Position] = []
    update = in_background(repository, told)

    os.kill(waiting(), signal.SIGKILL)
    update.result(20)

    assert len(told) == 1
    assert has_middle(repository)


def test_what_was_read_before_a_crash_is_never_taken_for_what_is_read_after_it(
    server: PostgresServer, repository: PostgresRepository
) -> None:
    """The numbers of transactions that a crash lost are used again: an equal snapshot is then another one."""

    def moment() -> Any:
        with repository.servers.reading(repository.servers.primary) as (connection, _):
            return connection.moment

    before = moment()
    with psycopg.connect(server.url()) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        until(lambda: not answers(victim))
    until(lambda: is_up(server.url()))

    assert moment().started != before.started
    assert moment() == moment()


def test_an_update_whose_connection_ends_before_its_commit_was_not_kept(
    server: PostgresServer, repository: PostgresRepository
) -> None:
    with pytest.raises(WritesUnavailable, match="Nothing was changed"), repository.update() as unit:
        unit.put_cart(a_cart(id="middle"))
        pid = unit._rows("SELECT pg_backend_pid()")[0][0]  # type: ignore[attr-defined]
        asked(server, f"SELECT pg_terminate_backend({pid})")

    assert not has_middle(repository)
    keep(repository, a_cart(id="next"))


def test_an_outcome_that_cannot_be_learned_is_said_to_be_unknown(
    server: PostgresServer,
    repository: PostgresRepository,
    waiting: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shop.repository.postgres.repository.OUTCOME_SECONDS_MAX", 0.3)
    monkeypatch.setattr("shop.repository.postgres.connection.COMMIT_SECONDS_MAX", 0.3)

    with pytest.raises(WritesUnavailable, match="once, or not at all"):
        keep(repository, a_cart(id="middle"))

    set_names(server, "")
    until(lambda: has_middle(repository))


# ---- numbers


def test_no_order_waits_for_the_number_of_another(repository: PostgresRepository) -> None:
    with repository.update() as first:
        one = first.next_order_number()
        with repository.update() as second:
            other = second.next_order_number()

    assert one != other


# ---- the schema, step by step


def test_each_step_is_applied_once_and_by_one_worker_at_a_time(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "schema"
    folder.mkdir()
    for step in migrations.FOLDER.iterdir():
        (folder / step.name).write_text(step.read_text())
    (folder / "9001_more.sql").write_text("CREATE TABLE once (n integer); INSERT INTO once VALUES (1);")
    monkeypatch.setattr(migrations, "FOLDER", folder)

    def migrate(_: int) -> list[str]:
        with opened(server, tmp_path, FEW) as repository, repository.servers.primary.connect() as connection:
            return migrations.migrate(connection)

    try:
        with ThreadPoolExecutor(4) as threads:
            applied = list(threads.map(migrate, range(4)))
        assert sorted(applied) == [[], [], [], ["more"]]
        assert asked(server, "SELECT count(*) FROM once") == 1
    finally:
        asked(server, "DROP TABLE once; DELETE FROM schema_migrations WHERE number = 9001")


def test_a_step_that_fails_leaves_nothing_of_itself(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = migrations.Migration(9002, "wrong", "CREATE TABLE half (n integer); SELECT 1 / 0;")
    right = migrations.all_migrations()
    monkeypatch.setattr(migrations, "all_migrations", lambda: [*right, wrong])

    with (
        opened(server, tmp_path, FEW) as repository,
        repository.servers.primary.connect() as connection,
        pytest.raises(psycopg.errors.DivisionByZero),
    ):
        migrations.migrate(connection)

    assert asked(server, "SELECT to_regclass('half')") is None


@pytest.mark.parametrize(
    ("change", "undo", "why"),
    [
        (
            "INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, 'later', '')",
            "DELETE FROM schema_migrations WHERE number = 9999",
            "newer shop",
        ),
        (
            "UPDATE schema_migrations SET checksum = 'x' || checksum WHERE number = 1",
            "UPDATE schema_migrations SET checksum = substr(checksum, 2) WHERE number = 1",
            "not the one of this shop",
        ),
    ],
)
def test_a_schema_of_another_shop_is_refused(
    server: PostgresServer, tmp_path: Path, change: str, undo: str, why: str
) -> None:
    asked(server, change)
    try:
        with pytest.raises(SettingError, match=why), open_repository(tmp_path, (server.url(), nobody(tmp_path))):
            pass
    finally:
        asked(server, undo)
