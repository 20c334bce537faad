"""Real servers: how they are made, found, killed, promoted and joined again."""

import os
import pwd
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shop.cluster import check, ground, programs
from shop.cluster.check import Verdict
from shop.cluster.control import ClusterControl, ClusterRefused, ClusterUnreachable
from shop.cluster.ground import SHOP
from shop.cluster.machine import Machine
from shop.cluster.pair import Pair
from shop.cluster.server import PostgresServer
from shop.errors import Invalid, SettingError
from tests.postgreskit import PAIR, a_ground, instance_folder, make_programs_reachable, running_machine, running_pair


def ask(server: PostgresServer, statement: str, *, role: str = SHOP, seconds: float = 10) -> list[tuple]:
    """The rows of *statement*; what is not there yet is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(server.url(role, SHOP), autocommit=True) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except (psycopg.errors.UndefinedTable, psycopg.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def wait_until(is_so: Callable[[], object], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows(server: PostgresServer) -> list[int]:
    return [number for (number,) in ask(server, "SELECT number FROM note ORDER BY number")]


def write(server: PostgresServer, number: int) -> None:
    ask(server, f"INSERT INTO note VALUES ({number})")


def promote(server: PostgresServer) -> None:
    assert ask(server, "SELECT pg_promote(true, 30)") == [(True,)]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One pair for the tests that leave it as it was: A primary, B standby."""
    with running_machine() as machine:
        ask(machine.pair.a, "CREATE TABLE note (number integer)")
        yield machine


@pytest.fixture
def control(machine: Machine) -> ClusterControl:
    return ClusterControl(machine.ground.folder.parent)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair without a link, for what changes it."""
    with running_pair() as pair:
        ask(pair.a, "CREATE TABLE note (number integer)")
        yield pair


# A server


def test_the_database_never_runs_as_root_and_only_its_user_reads_it(machine):
    owner = os.stat(f"/proc/{machine.pair.a.pid}").st_uid
    instance = machine.ground.folder.parent

    assert owner != 0
    assert pwd.getpwuid(owner).pw_name == (
        machine.ground.account.name if machine.ground.account else pwd.getpwuid(os.geteuid()).pw_name
    )
    assert machine.pair.a.data.stat().st_mode & 0o777 == 0o700
    for path in instance.rglob("*"):
        if "data" not in path.parts and path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


def test_nothing_listens_on_a_port_and_a_password_is_asked_for(machine):
    assert ask(machine.pair.a, "SHOW listen_addresses") == [("",)]
    wrong = machine.pair.a.url().replace(machine.ground.passwords[SHOP], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_the_shop_is_no_administrator_but_may_what_it_needs(machine):
    assert ask(machine.pair.a, "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user") == [
        (False, False)
    ]
    for statement in (
        "CHECKPOINT",
        "ALTER SYSTEM SET synchronous_standby_names = 'b'",
        "SELECT pg_reload_conf()",
        "ALTER SYSTEM RESET synchronous_standby_names",
        "SELECT pg_reload_conf()",
        "SELECT application_name, sent_lsn FROM pg_stat_replication WHERE sent_lsn IS NOT NULL",
    ):
        ask(machine.pair.a, statement)
    ask(machine.pair.b, "SELECT pg_wal_replay_pause(), pg_wal_replay_resume()")


def test_the_database_knows_none_of_the_shops_secrets(machine):
    variables = Path(f"/proc/{machine.pair.a.pid}/environ").read_bytes()

    assert {variable.split(b"=")[0] for variable in variables.split(b"\0") if variable} <= {
        b"PATH",
        b"LC_ALL",
        b"TZ",
        b"LD_LIBRARY_PATH",
    }
    command = Path(f"/proc/{machine.pair.a.pid}/cmdline").read_bytes()
    assert not any(password.encode() in command for password in machine.ground.passwords.values())


def test_data_is_checksummed_and_letters_beyond_ascii_are_known(machine):
    assert ask(machine.pair.a, "SHOW data_checksums") == [("on",)]
    assert ask(machine.pair.a, "SELECT lower('ÄÖÜ'), 'é' < 'z'") == [("äöü", False)]


def test_a_note_that_a_dead_server_left_is_no_obstacle_although_its_number_is_anothers_by_now(pair):
    pair.b.kill()
    note = (pair.b.data / "postmaster.pid").read_text().splitlines()
    (pair.b.data / "postmaster.pid").write_text("\n".join(["1", *note[1:]]) + "\n")

    pair.b.start()

    assert pair.b.is_ready


def test_a_server_that_somebody_else_left_running_is_ended_first(pair):
    again = PostgresServer(pair.b.ground, "b", settings=PAIR)
    again.upstream = pair.b.upstream
    before = pair.b.pid

    again.start()

    assert again.pid != before and not pair.b.is_running
    again.kill()


def test_a_server_that_cannot_start_says_why_in_its_own_words(pair):
    pair.a.kill()
    (pair.a.data / "global" / "pg_control").unlink()

    with pytest.raises(SettingError, match=r"PostgreSQL a did not start: .*pg_control"):
        pair.a.start()

    assert not pair.a.is_running


# A pair


def both_versions() -> list[Path]:
    wheel = Path(programs.find().folder).parent.parent
    return [wheel / "pginstall18" / "bin", wheel / "pginstall" / "bin"]


@pytest.mark.parametrize("place", [0, 1], ids=["18", "16"])
def test_a_primary_that_is_killed_is_followed_by_its_standby_and_follows_it_later(place, monkeypatch):
    monkeypatch.setenv("PG_BIN", str(both_versions()[place]))
    with running_machine() as machine:
        pair, link = machine.pair, machine.wan
        a, b = pair.servers
        ask(a, "CREATE TABLE note (number integer)")
        write(a, 1)
        wait_until(lambda: rows(b) == [1])
        link.set(delay=30)
        write(a, 2)  # on its way for half a minute

        machine.kill_server("a")
        link.set(delay=0)
        promote(b)
        write(b, 3)
        machine.aim()

        assert (pair.primary, pair.standby) == (b, None)
        assert machine.state().a.role == "old primary"
        with pytest.raises(SettingError, match="rejoining"):
            machine.start_server("a")
        alone = machine.start_alone("a")
        with psycopg.connect(alone) as connection:
            assert connection.execute("SELECT number FROM note").fetchall() == [(1,), (2,)]
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("INSERT INTO note VALUES (4)")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(PostgresServer(pair.a.ground, "a").url())  # where the shop looks

        assert machine.rejoin("a") == "rewound"
        assert rows(b) == [1, 3]
        wait_until(lambda: rows(a) == [1, 3])
        assert (pair.primary, pair.standby) == (b, a)

        write(b, 5)  # and back again
        wait_until(lambda: 5 in rows(a))
        machine.stop_server("b")
        promote(a)
        assert machine.rejoin("b") == "rewound"
        write(a, 6)
        wait_until(lambda: rows(b) == [1, 3, 5, 6])


def test_after_a_restart_the_one_that_was_promoted_last_is_primary_and_the_old_one_stays_down(pair):
    write(pair.a, 1)
    wait_until(lambda: rows(pair.b) == [1])
    pair.a.kill()
    promote(pair.b)
    pair.b.kill()

    found = Pair(pair.a.ground, settings=PAIR)
    found.start()

    assert found.primary is found.b and found.b.is_ready
    assert not found.a.is_running
    write(found.b, 2)
    found.b.kill()


@pytest.mark.parametrize("left", ["half a copy", "marked", "nothing"])
def test_a_standby_that_is_not_whole_is_copied_anew(pair, left):
    pair.b.kill()
    if left == "marked":
        pair.b.mark_suspect()
    else:
        shutil.rmtree(pair.b.data)
    if left == "half a copy":
        (pair.b.begin_fresh() / "PG_VERSION").write_text("18\n")
    write(pair.a, 1)

    pair.start()

    wait_until(lambda: rows(pair.b) == [1])
    assert not (pair.b.folder / "data.new").exists()
    assert not pair.b.is_suspect


def test_a_standby_whose_slot_lost_what_it_needs_is_copied(pair):
    pair.b.stop()
    with pair.a.connect() as connection:
        connection.execute("SELECT pg_drop_replication_slot('standby_b')")
        connection.execute("ALTER SYSTEM SET wal_keep_size = 0")
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(3):
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
    write(pair.a, 1)

    assert pair.rejoin(pair.b) == "copied"

    wait_until(lambda: rows(pair.b) == [1])


def test_who_joins_forgets_what_alter_system_said(pair):
    ask(pair.a, "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    pair.a.kill()
    promote(pair.b)
    ask(pair.b, "ALTER SYSTEM SET synchronous_standby_names = 'a'")

    pair.rejoin(pair.a)

    assert ask(pair.a, "SHOW recovery_min_apply_delay") == [("0",)]
    assert ask(pair.a, "SHOW synchronous_standby_names") == [("",)]
    assert ask(pair.b, "SHOW recovery_min_apply_delay") == [("0",)]


def test_a_primary_that_waits_for_its_standby_comes_up_again_with_it(pair):
    ask(pair.a, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    pair.stop()

    pair.start()

    write(pair.a, 1)
    assert rows(pair.a) == [1]


def test_only_a_standby_left_is_started_for_reading(pair):
    write(pair.a, 1)
    wait_until(lambda: rows(pair.b) == [1])
    pair.stop()
    shutil.rmtree(pair.a.data)

    pair.start()

    assert pair.primary is None
    assert rows(pair.b) == [1]


def test_two_that_are_no_copies_of_one_another_are_refused():
    with a_ground() as where:
        pair = Pair(where, settings=PAIR)
        for server in pair.servers:
            server.create(sync=False)

        with pytest.raises(SettingError, match="not copies of one another"):
            pair.start()


# The link and the control socket


def test_a_delay_of_the_transport_shows_in_the_flush_lag_and_idle_shows_none(machine, control):
    control.set_link(delay=0.1)
    try:
        for number in range(5):
            write(machine.pair.a, number)
        lag = "SELECT extract(epoch FROM flush_lag)::float8 FROM pg_stat_replication WHERE application_name = 'b'"
        wait_until(lambda: (ask(machine.pair.a, lag)[0][0] or 0) >= 0.1)
    finally:
        control.set_link(delay=0)
    behind = "SELECT pg_current_wal_lsn() - replay_lsn FROM pg_stat_replication"
    wait_until(lambda: ask(machine.pair.a, behind) == [(0,)])


def test_the_control_socket_tells_what_runs(machine, control):
    state = control.state()

    assert (state.a.role, state.b.role) == ("primary", "standby")
    assert state.a.is_ready and state.b.is_ready
    assert (state.a.pid, state.b.pid) == (machine.pair.a.pid, machine.pair.b.pid)
    assert state.link.source == "a"
    wait_until(lambda: control.link().connections == 1)
    assert control.is_there


def test_a_standby_is_stopped_and_started_over_the_control_socket(machine, control):
    control.stop("b")
    assert not control.state().b.is_running

    control.start("b")

    write(machine.pair.a, 77)
    wait_until(lambda: 77 in rows(machine.pair.b))


def test_what_cannot_be_done_comes_back_as_a_sentence(control):
    with pytest.raises(ClusterRefused, match="no other primary"):
        control.rejoin("a")
    with pytest.raises(ClusterRefused, match="is the primary"):
        control.start_alone("a")
    with pytest.raises(ClusterRefused, match="no server c"):
        control.stop("c")
    with pytest.raises(Invalid) as refusal:
        control.set_link(delay=99)
    assert list(refusal.value.fields) == ["delay"]


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"nonsense\n", b'{"do": "format", "with": {}}\n', b'{"do": "stop", "with": {"x": 1}}\n']
)
def test_nonsense_on_the_control_socket_is_refused_and_harms_nothing(machine, control, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(machine.ground.folder / "control.sock"))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        assert b"refused" in connection.recv(1000)

    assert control.is_there


def test_without_a_cluster_the_control_says_so(tmp_path):
    with pytest.raises(ClusterUnreachable):
        ClusterControl(tmp_path).state()
    assert not ClusterControl(tmp_path).is_there


# The ground


def test_a_folder_that_the_databases_user_cannot_come_to_is_named(monkeypatch):
    if os.geteuid() != 0:
        return  # then it is our own user's, who comes everywhere that we do
    make_programs_reachable()
    with instance_folder() as outer:
        (outer / "instance").mkdir(mode=0o700)

        with pytest.raises(SettingError, match=rf"{outer} is closed to it"):
            ground.prepare(outer / "instance")


# The check


def test_the_check_finds_nothing_to_change_in_our_own_pair_and_tells_of_a_standby_that_is_gone(pair):
    urls = (pair.a.url(), pair.b.url())
    wait_until(lambda: {row.verdict for row in check.check(urls, workers=2)} == {Verdict.OK})

    pair.b.stop()

    rows = [row for row in check.check(urls, workers=2) if row.verdict is not Verdict.OK]
    assert [(row.server, row.what) for row in rows] == [("B", "connection")]


def test_the_check_of_one_who_may_nothing_names_what_is_missing(pair):
    with pair.a.connect(SHOP) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        guest = pair.a.url().replace(f"shop:{pair.a.ground.passwords[SHOP]}", "guest:guest")

        rows = {row.what: row.verdict for row in check.check((guest, pair.b.url()), workers=2) if row.server == "A"}

    assert rows["pg_monitor"] == rows["right to make tables"] == Verdict.CHANGE
    assert rows["pg_promote"] == rows["ALTER SYSTEM synchronous_commit"] == Verdict.CANNOT


def test_what_somebody_else_put_where_the_sockets_belong_is_refused_and_left_as_it_was(tmp_path):
    make_programs_reachable()
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    with instance_folder() as instance:
        sockets = ground.sockets_of(instance)
        sockets.symlink_to(target)
        try:
            with pytest.raises(SettingError, match="somebody else's, or no folder"):
                ground.prepare(instance)
        finally:
            sockets.unlink()

    assert target.stat().st_mode & 0o777 == 0o700
    assert list(target.iterdir()) == []
