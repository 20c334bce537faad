"""`flask --app app shop …`: what an operator does from a shell.

A command asks the server when one holds the folder (`control.py`), and opens the files itself, under the folder's lock, when none
does. Exit codes: 0 done, 2 refused with one line on stderr; `verify` also has 1 (diverged) and 3 (inconclusive).
"""

import http.client
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from flask.cli import AppGroup

from shop import logs
from shop.clock import Clock
from shop.config import ADMIN_PASSWORD_LENGTH_MIN, Config, load, prepare_instance
from shop.errors import SettingError, ShopError
from shop.lock import FolderInUse, FolderLock, Note
from shop.passwords import generate_password, hash_password
from shop.replication.audit import Audit
from shop.replication.pair import EVEN_NAME, ODD_NAME, resync_from
from shop.replication.restore import restore
from shop.web.cluster_command import add_check_cluster
from shop.web.control import TOKEN_HEADER
from shop.web.drills_command import add_drill
from shop.web.migrate_command import House, add_migrate
from shop.web.operations import WHO, Operations, Result
from shop.web.replication_view import lsn_text
from shop.web.verify_command import add_verify

OpenOperations = Callable[[Config], AbstractContextManager[Operations]]
OpenHouse = Callable[[Config], AbstractContextManager[House]]
FILES = (ODD_NAME, EVEN_NAME)
ROLES_NAME = "cluster.json"
NOT_FILES = (
    "This shop is on PostgreSQL, which has its own tools for that: pg_dump and pg_restore for a copy of the shop's database,"
    " pg_basebackup for a whole server."
)
_ANSWER_SECONDS_MAX = 600.0  # a backup or a resync of a large shop takes its time


class Refused(click.ClickException):
    """One line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"antipode: {' '.join(self.message.split())}", err=True)


def group(open_operations: OpenOperations, open_house: OpenHouse, clock: Clock) -> AppGroup:
    """The commands; *open_operations* opens the files of a folder whose lock the command holds, *open_house* the two places where a
    shop may live."""
    shop = AppGroup("shop", help="Look after the shop. Works while the server runs and while it does not.")
    desk = _Desk(open_operations, open_house)
    _add_daily(shop, desk)
    add_verify(shop, desk)
    _add_repairs(shop, desk, clock)
    _add_password(shop, desk)
    add_drill(shop, desk, _confirm)
    add_check_cluster(shop)
    add_migrate(shop, desk, _confirm)
    return shop


def _add_daily(shop: AppGroup, desk: "_Desk") -> None:
    @shop.command("seed", with_appcontext=False)
    def seed() -> None:
        """Put the demo goods into an empty shop.

        A shop that has any goods is left as it is.
        """
        click.echo(desk.perform("seed")["sentence"])

    @shop.command("status", with_appcontext=False)
    @click.option("--json", "as_json", is_flag=True, help="For programs: everything the replication page shows.")
    def status(as_json: bool) -> None:
        """Show both sides, what is between them, and what is at risk."""
        result = desk.perform("status", needs_shop=True)["status"]
        click.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else status_text(result))

    @shop.command("backup", with_appcontext=False)
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
    def backup(file: Path, overwrite: bool) -> None:
        """Write a consistent copy of the shop to FILE.

        Also while people are buying. The copy is complete or not there at all. Keep it secret: it holds names and addresses.
        """
        arguments = {"path": str(file.absolute()), "overwrite": overwrite}
        click.echo(desk.perform("backup", arguments, needs_shop=True)["sentence"])


def _add_repairs(shop: AppGroup, desk: "_Desk", clock: Clock) -> None:
    @shop.command("resync", with_appcontext=False)
    @click.option(
        "--from", "source", metavar="FILE", help=f"{ODD_NAME} or {EVEN_NAME}: rebuild the other side from it."
    )
    def resync(source: str | None) -> None:
        """Replace the replica with a fresh copy of the primary.

        With --from, when one side is lost or damaged: go on from the side in FILE. That accepts the loss of what only the other
        side had. The server must be stopped.
        """
        if source is None:
            click.echo(desk.perform("resync", needs_shop=True)["sentence"])
            return
        with desk.alone() as folder, _noted(folder, clock, f"resync --from {Path(source).name}") as note:
            click.echo(note(resync_from(folder, source, clock)))

    @shop.command("promote", with_appcontext=False)
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def promote(yes: bool) -> None:
        """Go on from the replica, as if the primary were lost.

        What had not crossed is lost: it is printed, and kept in the folder lost/ for review at /admin/replication/lost. The old
        primary follows as the replica.
        """
        if not yes:
            _confirm("What has not crossed to the replica will be lost. Go on?", "This may lose orders")
        result = desk.perform("promote", needs_shop=True)
        click.echo(invoice_text(result["invoice"]))
        click.echo(result["sentence"])

    @shop.command("restore", with_appcontext=False)
    @click.argument("file", type=click.Path(path_type=Path))
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def restore_backup(file: Path, yes: bool) -> None:
        """Go back to the backup in FILE.

        What the shop took since then is no longer in it; the old files are kept beside, named *.before-restore-<time>. The server
        must be stopped. FILE is checked in full before anything is touched. The admin's password is the one of the backup.
        """
        with desk.alone() as folder:
            if not yes:
                _confirm(f"The shop in {folder} becomes what it was in {file.name}. Go on?")
            with _noted(folder, clock, f"restore {file.name}") as note:
                click.echo(note(restore(folder, file.absolute(), clock)))


def _add_password(shop: AppGroup, desk: "_Desk") -> None:
    @shop.command("reset-admin-password", with_appcontext=False)
    @click.option("--password-stdin", is_flag=True, help="Take the new password from the first line of stdin.")
    def reset_admin_password(password_stdin: bool) -> None:
        """Give the admin a new password, and show it once."""
        password = _read_password() if password_stdin else generate_password()
        result = desk.perform("reset-admin-password", {"password_hash": hash_password(password)})
        click.echo(result["sentence"])
        if not password_stdin:
            click.echo(f"  user admin, password {password}   (shown only now)")


class _Desk:
    """Where commands are done: in the running server, or here."""

    def __init__(self, open_operations: OpenOperations, open_house: OpenHouse) -> None:
        self._open = open_operations
        self._open_house = open_house

    def perform(self, name: str, arguments: Mapping[str, Any] | None = None, *, needs_shop: bool = False) -> Result:
        """With *needs_shop*, a folder without a shop is left without one."""
        with _one_line():
            config = _settings(needs_shop=needs_shop)
            lock = _lock_or_note(config)
            if isinstance(lock, Note):
                return _ask(lock, name, arguments or {})
            with lock, self._open(config) as operations:
                return operations.perform(name, arguments or {})

    @contextmanager
    def visit(
        self, *, needs_shop: bool = False, crosses: bool = True
    ) -> Iterator[Callable[[str, Mapping[str, Any]], Result]]:
        """A block of several commands on one shop; where no server runs, what a server needs runs inside of it, if *crosses*."""
        with _one_line():
            config = _settings(needs_shop=needs_shop)
            lock = _lock_or_note(config)
            if isinstance(lock, Note):
                yield lambda name, arguments: _ask(lock, name, arguments)
                return
            logs.configure(level=logging.ERROR)  # what goes on is told by the command
            with lock, self._open(config) as operations, operations.running() if crosses else nullcontext():
                yield operations.perform

    @contextmanager
    def house(self) -> Iterator[House]:
        """A block with the files and the database of one shop; refused while a server has the files open."""
        with _one_line(), self._open_house(load(os.environ)) as house:
            logs.configure(level=logging.ERROR)
            yield house

    def alone(self) -> "_Alone":
        """A block that owns the instance folder; refused while a server runs."""
        return _Alone()


def _settings(*, needs_shop: bool) -> Config:
    """With *needs_shop*, refused where there is none."""
    config = load(os.environ)
    if needs_shop and not is_on_postgres(config) and not any((config.instance / name).exists() for name in FILES):
        raise SettingError(
            f"There is no shop in {config.instance} yet: start it once, or name its folder with SHOP_INSTANCE=."
        )
    return config


def is_on_postgres(config: Config) -> bool:
    """Whether the shop of this folder keeps its records in PostgreSQL: told so, or left so by its last start."""
    is_left_so = (config.instance / ROLES_NAME).exists() and not any(
        (config.instance / name).exists() for name in FILES
    )
    return bool(config.primary_url) or is_left_so


def _lock_or_note(config: Config) -> FolderLock | Note:
    """The lock of the folder, or the note of the server that holds it and answers."""
    try:
        return FolderLock(prepare_instance(config))
    except FolderInUse as held:
        if held.note is None or held.note.address is None:
            raise
        return held.note


@contextmanager
def _noted(folder: Path, clock: Clock, what: str) -> Iterator[Callable[[str], str]]:
    """A block whose result, or the reason why it was refused, comes into the audit list: nothing else is there to do it."""
    audit = Audit(folder, clock)

    def note(sentence: str) -> str:
        audit.add(WHO, what, sentence)
        return sentence

    try:
        yield note
    except (SettingError, ShopError) as refusal:
        note(f"refused: {refusal}")
        raise


class _one_line:
    """A block whose known problems become one line on stderr and exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ShopError):
            raise Refused(error.message) from error
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            raise Refused(f"{where}{error.strerror or error}.") from error
        if isinstance(error, SettingError):
            raise Refused(str(error)) from error


class _Alone:
    def __enter__(self) -> Path:
        with _one_line():
            config = load(os.environ)
            if is_on_postgres(config):
                raise SettingError(NOT_FILES)
            try:
                self._lock = FolderLock(prepare_instance(config))
            except FolderInUse as held:
                if held.note is not None and held.note.address is not None:
                    running = f"the shop runs at {held.note.address} (pid {held.note.pid})"
                    raise SettingError(f"Stop the server first: {running}.") from held
                raise
        return config.instance

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._lock.release()
        _one_line().__exit__(kind, error, trace)


def _ask(note: Note, name: str, arguments: Mapping[str, Any]) -> Result:
    """The running server's answer."""
    address = note.address or ""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_ANSWER_SECONDS_MAX)
    headers = {TOKEN_HEADER: note.token, "Content-Type": "application/json"}
    try:
        connection.request("POST", f"/_control/{name}", json.dumps(arguments), headers)
        reply = connection.getresponse()
        body = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SettingError(f"The server at {address} (pid {note.pid}) does not answer as it should: {error}") from error
    finally:
        connection.close()
    if reply.status != 200:
        raise Refused(str(body.get("error", f"the server at {address} answered {reply.status}")))
    return dict(body)


def _confirm(question: str, why: str = "This replaces the shop's data") -> None:
    with _one_line():
        if not sys.stdin.isatty():
            raise SettingError(f"{why}: add --yes to go on.")
        if not click.confirm(question):
            raise SettingError("Nothing was changed.")


def _read_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    with _one_line():
        try:
            load({"SHOP_ADMIN_PASSWORD": password})
        except SettingError:
            password = ""
        if not password:
            raise SettingError(
                f"The password must have at least {ADMIN_PASSWORD_LENGTH_MIN} characters and not be among the first that would"
                " be guessed: take a few unrelated words."
            )
    return password


def invoice_text(invoice: Mapping[str, Any]) -> str:
    """What a failover cost, for a shell."""
    lines = [f"Invoice of losses, timeline {invoice['timeline']}: {invoice['sentence']}"]
    for commit in invoice["commits"]:
        customer = f", {commit['customer']}" if commit["customer"] else ""
        lines.append(f"  {commit['id']:<12} {commit['at']}  {commit['summary']}{customer}")
    return "\n".join(lines)


def status_text(status: Mapping[str, Any]) -> str:
    """The status, for a shell."""
    lines = [status["sentence"], ""]
    for side in (status["primary"], status["replica"]):
        position = side["position"]
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(side["counts"].items()))
        place = lsn_text(position["lsn"], is_wal=status["is_wal"])
        noun = "LSN" if status["is_wal"] else "commit"
        lines.append(
            f"  {side['role']:<8} {side['file']:<14} {noun} {place} on timeline {position['timeline']}: {counts}"
        )
        if side["problem"]:
            lines.append(f"           read-only: {side['problem']}")
    lag, link, retry = status["lag"], status["link"], status["retry"]
    paused = ", paused" if link["is_paused"] else ""
    lines.append(f"  link     {link['delay_seconds']:g} s delay{paused}")
    lines.append(f"  lag      {lag['commits']:,} commits, the oldest {lag['oldest_seconds']:.1f} s old")
    lines.append(f"  at risk  {status['at_risk']['sentence']}")
    if retry["attempts"]:
        lines.append(
            f"  retry    {retry['attempts']} failures, again in {retry['next_in_seconds']:.0f} s: {retry['error']}"
        )
    return "\n".join(lines)
