"""The door: settings -> lock -> the parts that `shop.assembly` opens -> the web; and serves.

`python app.py` runs the shop. `flask --app app shop …` finds the commands through `create_app`, which opens nothing.
"""

import gc

gc.disable()  # imports make a hundred thousand objects and no garbage; looking for it among them is an eighth of the start

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import structlog
from flask import Flask

from shop import admins, logs
from shop.assembly import embedded
from shop.assembly.parts import Parts
from shop.clock import Clock, SystemClock
from shop.cluster.seat import Seat
from shop.config import Config, load, prepare_instance, secret_key
from shop.demo.seed import seed
from shop.errors import SettingError, WritesUnavailable
from shop.lock import FolderLock
from shop.memory import give_back_large_blocks, look_for_garbage_seldom
from shop.server import Server, bind, url_of
from shop.store import StoreError
from shop.web import commands, factory, runtime, templates
from shop.web.migrate_command import House
from shop.web.operations import Operations

gc.freeze()
gc.enable()

END_SECONDS_MAX = 60
SETTLE_AFTER_SECONDS = 1.0  # who is waiting for the first page has it by then, and did not share the processor

_log = structlog.get_logger("app")


def create_app() -> Flask:
    """For the `flask` command line: the commands and nothing else. It opens no file; `python app.py` serves the shop."""
    app = Flask("shop")
    app.cli.add_command(commands.group(_open_operations, _open_house, SystemClock()))
    return app


def main(arguments: Sequence[str] = ()) -> int:
    """Run the shop until SIGTERM or SIGINT; returns the exit code. A known problem is one line on stderr and 2.

    `--worker FD` makes this process a worker of `make cluster`, which owns the folder; see `shop/cluster/seat.py`.
    """
    try:
        give_back_large_blocks()
        logs.configure()
        seat = Seat(int(arguments[1])) if arguments[:1] == ["--worker"] else None
        config = load(os.environ)
        if seat is not None:
            _serve_on(config, seat.listener, token=seat.order.token, seat=seat)
            return 0
        with FolderLock(prepare_instance(config)) as lock:
            _serve(config, lock)
    except KeyboardInterrupt:
        return 130
    except (SettingError, StoreError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or config.instance}: {error.strerror or error}.")
    return 0


def _open(config: Config, clock: Clock) -> AbstractContextManager[Parts]:
    """What the settings ask for, opened."""
    if config.primary_url:
        from shop.assembly import postgres  # its libraries take a while to load, and most shops need none of them

        return postgres.open_parts(config, clock)
    if commands.is_on_postgres(config):
        raise SettingError(
            f"The shop in {config.instance} is on PostgreSQL: start it with make cluster, or name its servers in SHOP_PRIMARY_URL"
            " and SHOP_REPLICA_URL."
        )
    return embedded.open_parts(config, clock)


@contextmanager
def _open_house(config: Config) -> Iterator[House]:
    from shop.assembly import moving  # its libraries take a while to load, and most commands need none of them

    with moving.open_house(config, SystemClock()) as house:
        yield house


@contextmanager
def _open_operations(config: Config) -> Iterator[Operations]:
    try:
        with _open(config, SystemClock()) as parts:
            yield Operations(parts.services, parts.backup, parts.running)
    except StoreError as error:
        raise SettingError(str(error)) from error


def _serve(config: Config, lock: FolderLock) -> None:
    # The address before the stores: so that the lock can tell it, and a taken port is found before anything is opened.
    listener = bind(config.host, config.port)
    lock.announce(url_of(listener))
    _serve_on(config, listener, token=lock.token)


def _serve_on(config: Config, listener: socket.socket, *, token: str, seat: Seat | None = None) -> None:
    address = url_of(listener)
    with _open(config, SystemClock()) as parts:
        for line in parts.announcements:
            _log.warning("recovery", what=line)
        with parts.alone():
            password = _first_start(parts)
        app = factory.create_app(parts.services, secret_key=secret_key(config))
        server = Server(logs.log_requests(app), listener)
        runtime.install(app, _runtime(parts, server, token, worker=seat.order.number if seat else 0))
        with parts.running():
            _log.info("started", address=address, pid=os.getpid())
            more = [*parts.banner, *(seat.order.banner or () if seat else ())]
            with suppress(OSError):  # nobody reads it: no reason not to open
                if seat is None or seat.order.banner:
                    print(_banner(config, address, password, more), flush=True)
            if seat is not None:
                seat.ready()
            _in_background(SETTLE_AFTER_SECONDS, lambda: _settle(app))
            try:
                server.run()
            finally:
                _limit_the_end()
    _log.info("stopped")


def _settle(app: Flask) -> None:
    """What makes serving quicker and would make the start slower."""
    templates.compile_all(app)
    look_for_garbage_seldom()


def _limit_the_end() -> None:
    """Leave at the latest after END_SECONDS_MAX, should a view hang inside a write: a crash is safe, never ending is not."""

    def leave() -> None:
        _log.error("the end took too long", seconds=END_SECONDS_MAX)
        os._exit(1)

    _in_background(END_SECONDS_MAX, leave)


def _in_background(after_seconds: float, work: Callable[[], None]) -> None:
    """Do *work* then, unless the process has ended."""
    timer = threading.Timer(after_seconds, work)
    timer.daemon = True
    timer.start()


def _first_start(parts: Parts) -> str:
    """Goods on the shelves and an admin with a password, if there are none yet; returns the password if it was made up now."""
    services = parts.services
    if not services.repository.is_writable():
        return ""  # the pages say why; goods and admin come when it can be written again
    try:
        seed(services.repository, services.clock)
        with services.repository.update() as unit:
            return admins.arrange(unit, services.config.admin_password, now=services.clock.now())
    except WritesUnavailable as error:
        why = services.repository.why_read_only()
        raise SettingError(f"{services.config.instance}: {why or error.message}") from error


def _runtime(parts: Parts, server: Server, token: str, *, worker: int) -> runtime.Runtime:
    return runtime.Runtime(
        token=token,
        worker=worker,
        host=parts.services.config.host,
        queue_depth=server.queue_depth,
        connections=server.connections,
        is_stopping=lambda: server.is_draining,
        counters=parts.counters,
        backup=parts.backup,
    )


def _banner(config: Config, address: str, password: str, more: Sequence[tuple[str, str]]) -> str:
    if password:
        access = f"user admin, password {password}   (shown only now)"
    elif config.admin_password:
        access = "user admin, password as in SHOP_ADMIN_PASSWORD"
    else:
        access = f"user admin, password set earlier; for a new one: {_flask()} --app app shop reset-admin-password"
    lines = [
        "Antipode is open. Stop it with Ctrl-C.",
        "",
        f"  Shop          {address}/",
        f"  Admin         {address}/admin/",
        f"                {access}",
        f"  Replication   {address}/admin/replication",
        *(f"  {label:<13} {words}" for label, words in more),
    ]
    return "\n".join(["", *lines, ""])


def _flask() -> str:
    """How the operator's shell finds the command that belongs to this Python."""
    path = Path(sys.executable).with_name("flask")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else "flask"


def _refuse(message: str) -> int:
    print(f"antipode: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
