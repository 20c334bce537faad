"""The settings: what is accepted, and the one line that says no."""

import os
import stat

import pytest

from shop import config
from shop.errors import SettingError

GOOD_KEY = "0123456789abcdef" * 4
GOOD_PASSWORD = " correct horse, battery "


def refusal(**environ: str) -> str:
    with pytest.raises(SettingError) as caught:
        config.load(environ)
    return str(caught.value)


def settings(tmp_path, **environ):
    return config.load({"SHOP_INSTANCE": str(tmp_path / "instance"), **environ})


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_an_empty_environment_gives_the_defaults(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    loaded = config.load({"PATH": "/bin", "HOSTNAME": "x"})

    assert loaded == config.Config(instance=tmp_path / "instance")
    assert (loaded.host, loaded.port, loaded.replication_delay) == ("127.0.0.1", 8000, 5.0)
    assert (loaded.replication_mode, loaded.currency) == ("async", "EUR")


def test_every_setting_is_read(tmp_path):
    loaded = config.load(
        {
            "HOST": "::1",
            "PORT": "0",
            "SHOP_INSTANCE": str(tmp_path),
            "SHOP_SECRET_KEY": GOOD_KEY,
            "SHOP_ADMIN_PASSWORD": GOOD_PASSWORD,
            "SHOP_REPLICATION_DELAY": "0.25",
            "SHOP_REPLICATION_MODE": "semi-sync",
            "SHOP_CURRENCY": "CHF",
        }
    )

    assert loaded == config.Config(
        instance=tmp_path,
        host="::1",
        port=0,
        secret_key=GOOD_KEY,
        admin_password=GOOD_PASSWORD,
        replication_delay=0.25,
        replication_mode="semi-sync",
        currency="CHF",
    )


def test_an_empty_variable_counts_as_unset():
    assert config.load(dict.fromkeys(config.KNOWN, "")) == config.load({})


def test_secrets_are_taken_as_typed():
    json_like = '"123456789012345678901234567890123"\n'

    loaded = config.load({"SHOP_SECRET_KEY": json_like, "SHOP_ADMIN_PASSWORD": "  9182736455  "})

    assert loaded.secret_key == json_like
    assert loaded.admin_password == "  9182736455  "


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "65536", "0 to 65535"),
        ("PORT", "-1", "0 to 65535"),
        ("PORT", "80a", "0 to 65535"),
        ("PORT", "8_0", "0 to 65535"),
        ("PORT", " 80", "0 to 65535"),
        ("PORT", "٨٠", "0 to 65535"),
        ("PORT", "80\n", "0 to 65535"),
        ("HOST", "127.0.0.1:8000", "without a port"),
        ("HOST", "http://localhost", "without a port"),
        ("HOST", "a b", "without a port"),
        ("SHOP_REPLICATION_DELAY", "-1", "0 to 3600"),
        ("SHOP_REPLICATION_DELAY", "3600.1", "0 to 3600"),
        ("SHOP_REPLICATION_DELAY", "nan", "0 to 3600"),
        ("SHOP_REPLICATION_DELAY", "inf", "0 to 3600"),
        ("SHOP_REPLICATION_DELAY", "5s", "0 to 3600"),
        ("SHOP_REPLICATION_DELAY", "1e3", "0 to 3600"),
        ("SHOP_REPLICATION_MODE", "fast", "async"),
        ("SHOP_REPLICATION_MODE", "SYNC", "async, semi-sync or sync"),
        ("SHOP_REPLICATION_MODE", "semisync", "async, semi-sync or sync"),
        ("SHOP_CURRENCY", "eur", "did you mean EUR?"),
        ("SHOP_CURRENCY", "XXX", "in use"),
        ("SHOP_CURRENCY", "DEM", "in use"),
        ("SHOP_CURRENCY", "JPY", "two decimals"),
        ("SHOP_CURRENCY", "KWD", "two decimals"),
        ("SHOP_PUBLIC_STAGE", "yes", "1 or 0"),
        ("SHOP_INSTANCE", "~nobody-of-this-name/shop", "a folder"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(name, value, allowed):
    line = refusal(**{name: value})

    assert line.startswith(f"{name} is ")
    assert repr(value) in line
    assert allowed in line
    assert "\n" not in line


def test_alerts_go_nowhere_and_the_stage_is_closed_unless_they_are_asked_for():
    loaded = config.load({})

    assert loaded.alert_urls == ()
    assert loaded.public_stage is False


def test_the_addresses_of_alerts_are_separated_by_spaces():
    loaded = config.load(
        {"SHOP_ALERT_URLS": "  json://127.0.0.1:9/one?a=b,c \n mailto://user:hunter2hunter2@mail.test "}
    )

    assert loaded.alert_urls == ("json://127.0.0.1:9/one?a=b,c", "mailto://user:hunter2hunter2@mail.test")
    assert "hunter2" not in repr(loaded)


def test_an_address_of_alerts_that_is_none_is_refused_without_being_told():
    line = refusal(SHOP_ALERT_URLS="json://127.0.0.1/ hunter2hunter2")

    assert line.startswith("SHOP_ALERT_URLS: the second address")
    assert "hunter2" not in line


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("0", False)])
def test_the_public_stage_is_switched(value, is_on):
    assert config.load({"SHOP_PUBLIC_STAGE": value}).public_stage is is_on


A = "postgresql://shop:hunter2hunter2@localhost:5432/shop"
B = "postgresql:///shop?host=/run/b&user=shop&password=hunter2hunter2"


def test_two_servers_turn_the_shop_to_postgresql_and_their_passwords_are_not_shown():
    loaded = config.load({"SHOP_PRIMARY_URL": A, "SHOP_REPLICA_URL": B})

    assert (loaded.primary_url, loaded.replica_url) == (A, B)
    assert "hunter2" not in repr(loaded)
    assert (config.load({}).primary_url, config.load({}).replica_url) == ("", "")


@pytest.mark.parametrize("name", ["SHOP_PRIMARY_URL", "SHOP_REPLICA_URL"])
def test_one_server_alone_is_refused(name):
    line = refusal(**{name: A})

    assert line.startswith(f"{name} is set and ")
    assert "both, or neither" in line


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://shop:hunter2hunter2@localhost/shop", "no address of a PostgreSQL server"),
        ("postgres://shop:hunter2hunter2@localhost/shop", "no address of a PostgreSQL server"),
        ("localhost hunter2hunter2", "no address of a PostgreSQL server"),
        ("postgresql://shop:hunter2hunter2@localhost/shop\n", "no address of a PostgreSQL server"),
        ("postgresql://shop:hunter2hunter2@localhost:none/shop", "a host or a port that is none"),
        ("postgresql://shop:hunter2hunter2@localhost:99999/shop", "a host or a port that is none"),
        ("postgresql://shop:hunter2hunter2@[::1/shop", "a host or a port that is none"),
        ("postgresql://shop:hunter2hunter2@one:1,two:2/shop", "several servers"),
        ("postgresql:///shop?host=one,two&password=hunter2hunter2", "several servers"),
        ("postgresql://shop:hunter2hunter2@one/shop?target_session_attrs=primary", "several servers"),
        ("postgresql://shop:hunter2hunter2@localhost", "names no database"),
        ("postgresql://shop:hunter2hunter2@localhost/", "names no database"),
    ],
)
def test_an_address_of_a_server_that_is_none_is_refused_without_being_told(url, why):
    for name, other in [("SHOP_PRIMARY_URL", "SHOP_REPLICA_URL"), ("SHOP_REPLICA_URL", "SHOP_PRIMARY_URL")]:
        line = refusal(**{name: url, other: A})

        assert line.startswith(name)
        assert why in line
        assert "hunter2" not in line
        assert "\n" not in line


def test_the_same_server_twice_is_refused():
    line = refusal(SHOP_PRIMARY_URL=A, SHOP_REPLICA_URL=A)

    assert "the same server" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SHOP_REPLICATION_DELLAY", "SHOP_REPLICATION_DELAY"),
        ("SHOP_ADMIN_PASS", "SHOP_ADMIN_PASSWORD"),
        ("SHOP_PORT", "PORT"),
        ("SHOP_HOST", "HOST"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(name, meant):
    assert refusal(**{name: "1"}) == f"{name} is not a setting of this shop; did you mean {meant}?"


def test_an_unknown_setting_like_no_other_is_refused_with_all_that_are_known():
    line = refusal(SHOP_XYZZY="1")

    assert line.startswith("SHOP_XYZZY is not a setting")
    assert all(name in line for name in config.KNOWN)


@pytest.mark.parametrize("key", ["short", "x" * 31, "x" * 64])
def test_a_weak_secret_key_is_refused_and_not_shown(key):
    line = refusal(SHOP_SECRET_KEY=key)

    assert line.startswith("SHOP_SECRET_KEY must be at least 32")
    assert key not in line


@pytest.mark.parametrize(
    "password",
    [
        "abc",
        "elevenchars",
        "aaaaaaaaaaaaaaa",
        "012345678901",
        "987654321098",
        "Password1234!",
        "changeme-2026",
        "passwordpassword",
        "administrator",
        "Antipode-Shop",
        "pass word 1234",
    ],
)
def test_a_weak_admin_password_is_refused_and_not_shown(password):
    line = refusal(SHOP_ADMIN_PASSWORD=password)

    assert line.startswith("SHOP_ADMIN_PASSWORD ")
    assert password not in line
    assert "\n" not in line


def test_what_is_not_utf_8_is_refused_and_not_shown():
    line = refusal(SHOP_ADMIN_PASSWORD=os.fsdecode(b"long enough \xff\xfe"))

    assert line == "SHOP_ADMIN_PASSWORD is not UTF-8 text."


@pytest.mark.parametrize("value", ["a\nb\x1b[31m", "9" * 5000])
def test_whatever_is_in_a_value_the_refusal_stays_one_short_line(value):
    line = refusal(PORT=value)

    assert line.isprintable()
    assert len(line) < 200


def test_a_repr_shows_no_secret():
    loaded = config.load({"SHOP_SECRET_KEY": GOOD_KEY, "SHOP_ADMIN_PASSWORD": GOOD_PASSWORD})

    for text in (repr(loaded), str(loaded), f"{loaded}", f"{[loaded]}"):
        assert GOOD_KEY not in text
        assert GOOD_PASSWORD not in text
    assert "secret_key=<set>" in repr(loaded)
    assert "secret_key=<unset>" in repr(config.load({}))


def test_loading_touches_no_file(tmp_path):
    settings(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_instance_folder_is_made_for_its_owner_alone(tmp_path):
    loaded = config.load({"SHOP_INSTANCE": str(tmp_path / "a" / "b")})

    assert config.prepare_instance(loaded) == tmp_path / "a" / "b"
    assert config.prepare_instance(loaded) == tmp_path / "a" / "b"
    assert permissions(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize("held", [[], [".gitkeep"], ["db.json", "anything"], ["secret_key"]])
def test_an_open_instance_folder_of_the_shop_is_closed(tmp_path, held):
    folder = tmp_path / "instance"
    folder.mkdir(mode=0o755)
    folder.chmod(0o777)
    for name in held:
        (folder / name).touch()

    config.prepare_instance(settings(tmp_path))

    assert permissions(folder) == 0o700


def test_an_open_folder_that_holds_other_things_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "instance"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "holiday.jpg").touch()

    with pytest.raises(SettingError, match="holds other things") as caught:
        config.prepare_instance(settings(tmp_path))

    assert "\n" not in str(caught.value)
    assert permissions(folder) == 0o755


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_place_of_the_instance_folder_is_refused(tmp_path, below):
    (tmp_path / "instance").touch()

    with pytest.raises(SettingError, match="instance"):
        config.prepare_instance(config.load({"SHOP_INSTANCE": f"{tmp_path}/instance{below}"}))


def test_an_instance_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """Root may write anywhere, so the machine's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: False)

    with pytest.raises(SettingError, match="cannot be written"):
        config.prepare_instance(settings(tmp_path))


def test_an_instance_folder_that_cannot_be_made_is_refused():
    with pytest.raises(SettingError, match="instance folder /proc/shop cannot be used"):
        config.prepare_instance(config.load({"SHOP_INSTANCE": "/proc/shop"}))


def test_the_secret_key_of_the_environment_wins_and_no_file_is_written(tmp_path):
    loaded = settings(tmp_path, SHOP_SECRET_KEY=GOOD_KEY)

    assert config.secret_key(loaded) == GOOD_KEY
    assert list(tmp_path.iterdir()) == []


def test_a_secret_key_is_made_once_and_kept_from_others(tmp_path):
    loaded = settings(tmp_path)

    key = config.secret_key(loaded)

    path = loaded.instance / "secret_key"
    assert len(key) == 64
    assert config.secret_key(loaded) == key == path.read_text().strip()
    assert permissions(path) == 0o600
    assert [entry.name for entry in loaded.instance.iterdir()] == ["secret_key"]


def test_two_shops_have_two_keys(tmp_path):
    first = config.secret_key(settings(tmp_path / "first"))

    assert config.secret_key(settings(tmp_path / "second")) != first


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_crash_while_the_key_is_made_leaves_the_whole_key_or_none(tmp_path, monkeypatch, step):
    loaded = settings(tmp_path)
    config.prepare_instance(loaded)
    with monkeypatch.context() as patched:
        stop_at(step, patched)
        with pytest.raises(PowerCut):
            config.secret_key(loaded)

    path = loaded.instance / "secret_key"
    survivor = path.read_text().strip() if path.exists() else None

    assert (survivor is None) == (step < 3)
    assert config.secret_key(loaded) == (survivor or path.read_text().strip())
    assert [entry.name for entry in loaded.instance.iterdir()] == ["secret_key"]


class PowerCut(BaseException):
    """The machine is gone: nothing below may catch it."""


def stop_at(step, patched):
    """The power goes at the first fsync (the file), at the rename, or at the second fsync (its folder)."""
    steps = iter(range(1, 10))

    def counted(real):
        def call(*args):
            if next(steps) == step:
                raise PowerCut
            return real(*args)

        return call

    patched.setattr(os, "fsync", counted(os.fsync))
    patched.setattr(os, "replace", counted(os.replace))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_key_that_others_can_read_is_refused(tmp_path, mode):
    loaded = settings(tmp_path)
    key = config.secret_key(loaded)
    (loaded.instance / "secret_key").chmod(mode)

    with pytest.raises(SettingError, match="can be read by other users") as caught:
        config.secret_key(loaded)

    assert key not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"abc", b"g" * 64, b"A" * 64, b"0" * 65, b"0" * 64 + b"\n\n", b"\xff"])
def test_a_file_that_holds_no_key_is_refused_and_kept(tmp_path, content):
    loaded = settings(tmp_path)
    config.prepare_instance(loaded)
    path = loaded.instance / "secret_key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(SettingError, match="holds no key"):
        config.secret_key(loaded)

    assert path.read_bytes() == content


def test_a_secret_key_that_is_a_folder_is_refused(tmp_path):
    loaded = settings(tmp_path)
    config.prepare_instance(loaded)
    (loaded.instance / "secret_key").mkdir(mode=0o700)

    with pytest.raises(SettingError, match="cannot be read or written"):
        config.secret_key(loaded)
