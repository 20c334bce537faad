"""`flask --app app shop migrate [--back]`: the shop moves from its files to PostgreSQL, or back."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import click
from flask.cli import AppGroup

LINE_SECONDS = 2.0  # between two lines of a pipe

Show = Callable[[int, int], None]  # records done, and in all
Confirm = Callable[[str], None]  # raises when the answer is no


class House(Protocol):
    """The two places where the shop may live."""

    def move(self, show: Show, confirm: Confirm) -> str: ...
    def move_back(self, show: Show, confirm: Confirm) -> str: ...


class Desk(Protocol):
    """Where commands are done."""

    def house(self) -> AbstractContextManager[House]: ...


def add_migrate(shop: AppGroup, desk: Desk, confirm: Confirm) -> None:
    """Put the command into the group *shop*."""

    @shop.command("migrate", with_appcontext=False)
    @click.option("--back", is_flag=True, help="From PostgreSQL to db.json, instead of there.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def migrate(back: bool, yes: bool) -> None:
        """Copy the shop from db.json to PostgreSQL, compare every record, and change nothing if anything fails.

        The database is that of SHOP_PRIMARY_URL and SHOP_REPLICA_URL, or of the make cluster that runs on the same folder. What is
        left behind stays as it is.
        """
        with desk.house() as house:
            move = house.move_back if back else house.move
            with _shown() as show:
                sentence = move(show, (lambda question: None) if yes else confirm)
        click.echo(sentence)


@contextmanager
def _shown() -> Iterator[Show]:
    """A bar on a terminal, lines in a pipe."""
    if not sys.stdout.isatty():
        yield _lines()
        return
    with ExitStack() as stack:
        bars: list[Any] = []  # made when there is something to show: a question may come first

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(click.progressbar(length=total, label="Copying and comparing")))
            bars[0].update(done - bars[0].pos)

        yield show


def _lines() -> Show:
    said_at = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= LINE_SECONDS:
            said_at = time.monotonic()
            click.echo(f"{100 * done // max(1, total)} % copied and compared")

    return show
