"""What `check-cluster` makes of what two servers say."""

import msgspec
import pytest

from shop.cluster.check import FUNCTIONS, PARAMETERS, Facts, Row, Verdict, exit_code, judge_pair, judge_server, table

RIGHTS = dict.fromkeys(("create", "replication", "pg_monitor", "pg_checkpoint", *FUNCTIONS, *PARAMETERS), True)
SETTINGS = {
    "data_checksums": "on",
    "hot_standby": "on",
    "max_connections": "100",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "512",
    "max_wal_senders": "10",
    "reserved_connections": "0",
    "superuser_reserved_connections": "3",
    "synchronous_standby_names": "",
    "wal_level": "replica",
    "wal_log_hints": "off",
}


def a_primary(**changes) -> Facts:
    facts = Facts(
        name="A",
        user="shop",
        database="shop",
        version=18,
        encoding="UTF8",
        settings=SETTINGS,
        rights=RIGHTS,
        system_identifier=7,
        timeline=1,
        senders=[("b", "streaming")],
        slots=[("standby_b", True, "reserved")],
    )
    return msgspec.structs.replace(facts, **changes)


def a_standby(**changes) -> Facts:
    facts = a_primary(name="B", is_standby=True, senders=[], slots=[], receiver=("streaming", "standby_b"))
    return msgspec.structs.replace(facts, **changes)


def faults(rows) -> list[Row]:
    return [row for row in rows if row.verdict is not Verdict.OK]


def test_two_servers_that_are_as_they_should_be_have_nothing_to_change():
    rows = [*judge_server(a_primary(), workers=2), *judge_server(a_standby(), workers=2)]
    rows += judge_pair(a_primary(), a_standby())

    assert faults(rows) == []
    assert exit_code(rows) == 0


@pytest.mark.parametrize(
    ("changes", "what", "advice"),
    [
        ({"version": 14}, "version", "install 15"),
        ({"encoding": "LATIN1"}, "encoding", "UTF8"),
        ({"is_protected": False}, "way to it", "ssl"),
        ({"skew_seconds": 30.0}, "clock", "chrony"),
        ({"settings": {**SETTINGS, "wal_level": "minimal"}}, "wal_level", "wal_level = replica"),
        ({"settings": {**SETTINGS, "hot_standby": "off"}}, "hot_standby", "hot_standby = on"),
        ({"settings": {**SETTINGS, "max_wal_senders": "0"}}, "max_wal_senders", "max_wal_senders = 10"),
        ({"settings": {**SETTINGS, "max_replication_slots": "0"}}, "max_replication_slots", "= 10"),
        ({"settings": {**SETTINGS, "max_slot_wal_keep_size": "-1"}}, "max_slot_wal_keep_size", "fills the disk"),
        ({"settings": {**SETTINGS, "max_connections": "30"}}, "connections", "max_connections = 68"),
        ({"rights": {**RIGHTS, "create": False}}, "right to make tables", "GRANT CREATE ON SCHEMA"),
        ({"rights": {**RIGHTS, "pg_monitor": False}}, "pg_monitor", "GRANT pg_monitor TO shop"),
    ],
)
def test_what_the_shop_does_not_work_right_with_has_to_be_changed(changes, what, advice):
    rows = faults(judge_server(a_primary(**changes), workers=2))

    assert [(row.what, row.verdict) for row in rows] == [(what, Verdict.CHANGE)]
    assert advice in rows[0].advice
    assert exit_code(rows) == 1


@pytest.mark.parametrize(
    ("right", "disabled", "grant"),
    [
        ("pg_promote", "promotion is disabled", "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO shop"),
        ("pg_reload_conf", "modes and apply delay are disabled", "pg_reload_conf() TO shop"),
        ("pg_wal_replay_pause", "pausing the replay is disabled", "pg_wal_replay_pause() TO shop"),
        ("synchronous_standby_names", "the modes are disabled", "ON PARAMETER synchronous_standby_names TO shop"),
        ("recovery_min_apply_delay", "the apply delay is disabled", "ON PARAMETER recovery_min_apply_delay TO shop"),
        ("replication", "slot has to be made by hand", "ALTER ROLE shop REPLICATION"),
        ("pg_checkpoint", "not be rewindable", "GRANT pg_checkpoint TO shop"),
    ],
)
def test_a_right_that_is_missing_names_what_stays_disabled_and_the_grant(right, disabled, grant):
    rows = faults(judge_server(a_primary(rights={**RIGHTS, right: False}), workers=2))

    assert [row.verdict for row in rows] == [Verdict.CANNOT]
    assert disabled in rows[0].advice and grant in rows[0].advice
    assert exit_code(rows) == 0


def test_without_checksums_an_old_primary_is_copied():
    rows = faults(judge_server(a_primary(settings={**SETTINGS, "data_checksums": "off"}), workers=2))

    assert [(row.what, row.verdict) for row in rows] == [("pg_rewind", Verdict.CANNOT)]


@pytest.mark.parametrize(
    ("primary", "standby", "what"),
    [
        (a_primary(), a_primary(name="B"), "roles"),
        (a_standby(name="A"), a_standby(), "roles"),
        (a_primary(), a_standby(version=17), "versions"),
        (a_primary(), a_standby(system_identifier=8), "one system"),
        (a_primary(timeline=2), a_standby(), "timeline"),
        (a_primary(senders=[("b", "catchup")]), a_standby(), "streaming"),
        (a_primary(slots=[("standby_b", True, "lost")]), a_standby(), "slot"),
        (a_primary(), a_standby(receiver=("streaming", "")), "slot"),
    ],
)
def test_two_that_do_not_fit_are_told_apart(primary, standby, what):
    rows = faults(judge_pair(primary, standby))

    assert [(row.what, row.verdict) for row in rows] == [(what, Verdict.CHANGE)]
    assert rows[0].advice


def test_a_primary_that_waits_for_a_standby_that_is_not_there_is_a_fault_of_its_own():
    primary = a_primary(senders=[], settings={**SETTINGS, "synchronous_standby_names": "*"})

    rows = faults(judge_pair(primary, a_standby(receiver=None)))

    assert [row.what for row in rows] == ["streaming", "slot", "writes"]


def test_the_order_of_the_two_does_not_matter():
    assert faults(judge_pair(a_standby(name="A"), a_primary(name="B"))) == []


def test_the_table_has_a_line_for_each_and_the_advice_below():
    rows = [Row("A", "version", Verdict.OK, "PostgreSQL 18"), Row("both", "slot", Verdict.CHANGE, "none", "make one")]

    assert table(rows) == (
        "ok      A     version  PostgreSQL 18\nchange  both  slot     none\n        -> make one"  # in columns
    )
