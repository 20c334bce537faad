"""The settings: one frozen `Config`, read from the environment and checked before anything opens.

A setting that is wrong or unknown stops the program with one line: which one, what it holds, what it may
hold. Nothing is guessed and nothing is ignored. An empty variable counts as unset. Secrets are taken as they are typed,
and no message and no `repr` shows them.
"""

import difflib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from babel.core import get_global
from babel.numbers import get_currency_precision
from msgspec import Struct

from shop import acl
from shop.errors import SettingError

SECRET_KEY_LENGTH_MIN = 32
ADMIN_PASSWORD_LENGTH_MIN = 12
REPLICATION_DELAY_MAX = 3600.0
REPLICATION_MODES = ("async", "semi-sync", "sync")

KNOWN = (
    "HOST",
    "PORT",
    "SHOP_ADMIN_PASSWORD",
    "SHOP_ALERT_URLS",
    "SHOP_CURRENCY",
    "SHOP_INSTANCE",
    "SHOP_PRIMARY_URL",
    "SHOP_PUBLIC_STAGE",
    "SHOP_REPLICATION_DELAY",
    "SHOP_REPLICATION_MODE",
    "SHOP_REPLICA_URL",
    "SHOP_SECRET_KEY",
)

# Common once the digits and signs around them are taken away: those add length and no strength.
COMMON_PASSWORDS = frozenset(
    "admin administrator adminadmin antipode antipodeadmin antipodeshop changeit changeme changemeplease default"
    " iloveyou letmein letmeinplease mypassword opensesame password passwordpassword p@ssw0rd passw0rd placeholder"
    " qwerty qwertyqwerty qwertyuiop qwertyuiopasdf secret secretsecret shop shopadmin shopkeeper supersecret"
    " superadmin thisisapassword topsecret trustno webshop welcome yourpassword".split()
)
SEQUENCES = ("0123456789012345678901234567890", "9876543210987654321098765432109", "abcdefghijklmnopqrstuvwxyz")


class Config(Struct, frozen=True, kw_only=True):
    """What the environment decides at each start."""

    instance: Path  # SHOP_INSTANCE
    host: str = "127.0.0.1"  # HOST
    port: int = 8000  # PORT; 0 = one that is free
    secret_key: str = ""  # SHOP_SECRET_KEY; "" = kept in <instance>/secret_key, generated at the first start
    admin_password: str = ""  # SHOP_ADMIN_PASSWORD; "" = generated at the first start, printed once
    replication_delay: float = 5.0  # SHOP_REPLICATION_DELAY, seconds
    replication_mode: str = "async"  # SHOP_REPLICATION_MODE: async, semi-sync or sync
    currency: str = "EUR"  # SHOP_CURRENCY, ISO 4217
    alert_urls: tuple[str, ...] = ()  # SHOP_ALERT_URLS: where alerts are sent, addresses as Apprise knows them
    public_stage: bool = False  # SHOP_PUBLIC_STAGE: whether everybody may see /replication
    primary_url: str = ""  # SHOP_PRIMARY_URL: a PostgreSQL server, holds a password; "" = the embedded store
    replica_url: str = ""  # SHOP_REPLICA_URL: the other one. They name servers, not roles: these may change

    def __repr__(self) -> str:
        """Without the secrets: a repr ends up in logs and tracebacks."""
        shown = {
            name: ("<set>" if getattr(self, name) else "<unset>") if name in _SECRETS else repr(getattr(self, name))
            for name in self.__struct_fields__
        }
        return f"Config({', '.join(f'{name}={value}' for name, value in shown.items())})"


_SECRETS = ("secret_key", "admin_password", "alert_urls", "primary_url", "replica_url")


def load(environ: Mapping[str, str]) -> Config:
    """The settings in *environ*; touches no file. Raises `SettingError` on the first that cannot be used."""
    _refuse_unknown(environ)
    settings = {name: environ[name] for name in KNOWN if environ.get(name)}
    for name, value in settings.items():
        _refuse_undecodable(name, value)
    primary_url, replica_url = _servers(settings)
    return Config(
        instance=_folder(settings.get("SHOP_INSTANCE", "instance")),
        host=_host(settings.get("HOST", "127.0.0.1")),
        port=_port(settings.get("PORT", "8000")),
        secret_key=_secret_key(settings.get("SHOP_SECRET_KEY", "")),
        admin_password=_admin_password(settings.get("SHOP_ADMIN_PASSWORD", "")),
        replication_delay=_replication_delay(settings.get("SHOP_REPLICATION_DELAY", "5")),
        replication_mode=_replication_mode(settings.get("SHOP_REPLICATION_MODE", "async")),
        currency=_currency(settings.get("SHOP_CURRENCY", "EUR")),
        alert_urls=_alert_urls(settings.get("SHOP_ALERT_URLS", "")),
        public_stage=_switch("SHOP_PUBLIC_STAGE", settings.get("SHOP_PUBLIC_STAGE", "0")),
        primary_url=primary_url,
        replica_url=replica_url,
    )


def prepare_instance(config: Config) -> Path:
    """The instance folder, made if it is missing, readable and writable by its owner alone; a crash leaves it or nothing.

    Raises `SettingError` when it is not a folder, cannot be written, or is open to others and holds things that are not
    the shop's (then it is not the shop's to close).
    """
    folder = config.instance
    try:
        _make_folder(folder)
        if not folder.is_dir():
            raise SettingError(f"SHOP_INSTANCE names {folder}, which is not a folder.")
        _close_to_others(folder)
    except OSError as error:
        raise SettingError(f"The instance folder {folder} cannot be used: {_reason(error)}.") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise SettingError(
            f"The instance folder {folder} cannot be written; make it writable or name another in SHOP_INSTANCE."
        )
    return folder


def secret_key(config: Config) -> str:
    """The key that signs cookies and order links: SHOP_SECRET_KEY, else `<instance>/secret_key`, made at the first start.

    A crash while it is made leaves the whole key or none. Call it as the owner of the folder: two first starts at once
    would make two keys. Raises `SettingError` when others may read the file or it holds no key.
    """
    if config.secret_key:
        return config.secret_key
    path = prepare_instance(config) / "secret_key"
    try:
        if not path.exists():
            _write_secret(path, secrets.token_hex(32))
        return _read_secret(path)
    except OSError as error:
        raise SettingError(f"The secret key in {path} cannot be read or written: {_reason(error)}.") from error


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if name.startswith("SHOP_") and name not in KNOWN:
            meant = {known.removeprefix("SHOP_"): known for known in KNOWN}
            near = difflib.get_close_matches(name.removeprefix("SHOP_"), meant, n=1)
            hint = f"did you mean {meant[near[0]]}?" if near else f"known are {', '.join(KNOWN)}."
            raise SettingError(f"{_shown(name)} is not a setting of this shop; {hint}")


def _refuse_undecodable(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingError(f"{name} is not UTF-8 text.") from None


def _folder(value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:  # "~" of somebody unknown
        raise _wrong("SHOP_INSTANCE", value, "a folder") from None


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
            raise _wrong("HOST", value, "an address or a name without a port, like 127.0.0.1 or localhost") from None
    return value


def _port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        raise _wrong("PORT", value, "a whole number from 0 to 65535 (0 takes one that is free)")
    return int(value)


def _secret_key(value: str) -> str:
    """As typed. The lengths are told, the key never is."""
    if value and (len(value) < SECRET_KEY_LENGTH_MIN or len(set(value)) < 8):
        raise SettingError(
            f"SHOP_SECRET_KEY must be at least {SECRET_KEY_LENGTH_MIN} random characters; unset it and the shop makes one,"
            " or make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return value


def _admin_password(value: str) -> str:
    """As typed, spaces included."""
    if value and len(value) < ADMIN_PASSWORD_LENGTH_MIN:
        raise SettingError(
            f"SHOP_ADMIN_PASSWORD must be at least {ADMIN_PASSWORD_LENGTH_MIN} characters long;"
            " unset it and the shop makes one."
        )
    if value and _is_trivial(value):
        raise SettingError(
            "SHOP_ADMIN_PASSWORD is among the first that would be guessed; take a few unrelated words,"
            " or unset it and the shop makes one."
        )
    return value


def _is_trivial(password: str) -> bool:
    folded = password.casefold()
    stem = re.sub(r"[\W\d_]+", "", folded)
    return (
        len(set(folded)) < 5
        or any(folded in sequence for sequence in SEQUENCES)
        or re.sub(r"[\W\d_]+$", "", folded) in COMMON_PASSWORDS
        or stem in COMMON_PASSWORDS
    )


def _replication_delay(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,9})?", value) or float(value) > REPLICATION_DELAY_MAX:
        raise _wrong("SHOP_REPLICATION_DELAY", value, "a number of seconds from 0 to 3600, like 5 or 0.25")
    return float(value)


def _replication_mode(value: str) -> str:
    if value not in REPLICATION_MODES:
        raise _wrong("SHOP_REPLICATION_MODE", value, "async, semi-sync or sync")
    return value


def _alert_urls(value: str) -> tuple[str, ...]:
    """Their form alone is checked here; whether Apprise knows them is seen at the start. They hold passwords: none is told."""
    urls = tuple(value.split())
    for number, url in enumerate(urls, start=1):
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", url, re.IGNORECASE):
            raise SettingError(
                f"SHOP_ALERT_URLS: the {_ordinal(number)} address is none; it must be addresses separated by spaces,"
                " like json://host/path or mailto://user:password@host."
            )
    return urls


def _servers(settings: Mapping[str, str]) -> tuple[str, str]:
    """The two addresses, both or neither. They hold passwords: none is told."""
    names = ("SHOP_PRIMARY_URL", "SHOP_REPLICA_URL")
    urls = [settings.get(name, "") for name in names]
    for name, other, url in zip(names, reversed(names), urls, strict=True):
        if not url and any(urls):
            raise SettingError(f"{other} is set and {name} is not: set both, or neither for the embedded store.")
        if url:
            _check_server(name, url)
    if urls[0] and urls[0] == urls[1]:
        raise SettingError("SHOP_PRIMARY_URL and SHOP_REPLICA_URL name the same server; a replica is another one.")
    return urls[0], urls[1]


def _check_server(name: str, url: str) -> None:
    """The form alone; whether somebody answers there is seen at the start."""
    form = "postgresql://user:password@host:port/database"
    if not re.fullmatch(r"postgresql://[!-~]+", url):
        raise SettingError(f"{name} is no address of a PostgreSQL server; it must be one like {form}.")
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2]
        _ = parts.port if "," not in hosts else None
    except ValueError:
        raise SettingError(f"{name} has a host or a port that is none; it must be like {form}.") from None
    asked = parse_qs(parts.query)
    if "," in hosts or "," in "".join(asked.get("host", [])) or "target_session_attrs" in asked:
        raise SettingError(
            f"{name} names several servers; name one, the shop itself knows which of the two is primary."
        )
    if not parts.path.strip("/") and "dbname" not in asked:
        raise SettingError(f"{name} names no database; it must be like {form}.")


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _switch(name: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise _wrong(name, value, "1 or 0")
    return value == "1"


def _currency(value: str) -> str:
    known = _currencies_in_use()
    if value not in known:
        hint = f" (did you mean {value.upper()}?)" if value.upper() in known else ""
        raise _wrong("SHOP_CURRENCY", value, f"the ISO 4217 code of a currency in use, like EUR{hint}")
    if get_currency_precision(value) != 2:
        raise _wrong("SHOP_CURRENCY", value, "a currency with two decimals: the shop counts in hundredths")
    return value


def _currencies_in_use() -> set[str]:
    """Legal tender somewhere today: neither history nor the codes for gold, tests and 'no currency'."""
    territories = get_global("territory_currencies").values()
    return {code for entries in territories for code, _, end, is_tender in entries if is_tender and end is None}


def _wrong(name: str, value: str, allowed: str) -> SettingError:
    return SettingError(f"{name} is {_shown(repr(value))}; it must be {allowed}.")


def _shown(text: str) -> str:
    """*text* on one line of bearable length, whatever somebody put into the environment."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _make_folder(folder: Path) -> None:
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _close_to_others(folder: Path) -> None:
    """A clone leaves `instance/` open to be read; the shop's own or empty folder is closed, nobody else's is touched."""
    if acl.is_closed(folder):
        return
    names = {entry.name for entry in folder.iterdir()}
    if names - {".gitkeep"} and not names & {"db.json", "shop.lock", "secret_key"}:
        raise SettingError(
            f"The instance folder {folder} is open to other users and holds other things than the shop's;"
            " name a folder of its own in SHOP_INSTANCE, or close it with: chmod 700"
        )
    folder.chmod(0o700)


def _write_secret(path: Path, key: str) -> None:
    """The file is beside until it is whole; the folder is fsynced last, or a power cut might undo the rename."""
    beside = path.with_name("secret_key.tmp")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def _read_secret(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise SettingError(
            f"{path} can be read by other users; close it with chmod 600, and consider it known to them."
        )
    key = path.read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}\n?", key):
        raise SettingError(
            f"{path} holds no key (64 hexadecimal digits); bring it back from a backup, or remove it:"
            " then a new one is made, and open sessions and order links end."
        )
    return key.decode("ascii").strip()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
