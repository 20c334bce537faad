"""`flask --app app shop verify [--repair]`: compares both sides and shows how far it is; a terminal gets a bar, a pipe gets lines."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import click
from flask.cli import AppGroup

LOOK_SECONDS = 0.2
LINE_SECONDS = 2.0  # between two lines of a pipe
CURABLE = "snapshot-needed"  # the one reason not to be comparable that a fresh copy of the primary ends without a loss

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
Show = Callable[[int, int], None]  # records done, and in all


class Desk(Protocol):
    """Where commands are done."""

    def visit(self, *, needs_shop: bool, crosses: bool) -> AbstractContextManager[Ask]:
        """Several commands of one shop, one after another; without *crosses*, nothing else happens to its files."""
        ...


def add_verify(shop: AppGroup, desk: Desk) -> None:
    """Put the command into the group *shop*."""

    @shop.command("verify", with_appcontext=False)
    @click.option(
        "--repair", is_flag=True, help="Give a replica that differs a fresh copy of the primary, and verify again."
    )
    def verify(repair: bool) -> None:
        """Compare every record of both sides.

        Exit code 0: in sync. 1: they differ. 3: could not be told, for example because too much is on its way; try again.
        With --repair, the code is that of the verification after the repair.
        """
        with desk.visit(needs_shop=True, crosses=False) as ask:
            found = _verified(ask)
            if repair:
                found = _repaired(ask, found)
        sys.exit(found["exit_code"])


def _verified(ask: Ask) -> Mapping[str, Any]:
    """Verify, and print what was found."""
    with shown() as show:
        found = follow(ask, show)
    click.echo(verdict_text(found))
    return found


def _repaired(ask: Ask, found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Repair what *found* says, and print the proof."""
    if found["outcome"] == "in-sync":
        click.echo("There is nothing to repair.")
        return found
    if found["outcome"] == "inconclusive" and ask("status", {})["status"]["state"] != CURABLE:
        click.echo(
            "Not repaired: nothing shows that the replica is wrong. If its history is, decide which side is right, then resync."
        )
        return found
    click.echo(ask("resync", {})["sentence"])
    return _verified(ask)


def follow(ask: Ask, show: Show) -> Mapping[str, Any]:
    """The result of the verification; *show* is called now and then while it runs, and at its end."""
    box: dict[str, Any] = {}

    def verify() -> None:
        try:
            box["found"] = ask("verify", {})
        except BaseException as error:  # raised again below, in the thread that asked
            box["error"] = error

    worker = threading.Thread(target=verify, daemon=True)  # Ctrl-C does not wait for it
    worker.start()
    while worker.is_alive():
        worker.join(LOOK_SECONDS)
        if worker.is_alive():
            progress = ask("verify-progress", {})
            show(progress["done"], progress["total"])
    if "error" in box:
        raise box["error"]
    found: Mapping[str, Any] = box["found"]
    if found["outcome"] != "inconclusive":
        show(found["records"], found["records"])
    return found


@contextmanager
def shown() -> Iterator[Show]:
    """A way to show how far it is that fits where standard output goes."""
    if not sys.stdout.isatty():
        yield _lines(time.monotonic)
        return
    with click.progressbar(length=1, label="Comparing", show_pos=True) as bar:

        def show(done: int, total: int) -> None:
            if total:
                bar.length = total
                bar.update(done - bar.pos)

        yield show


def _lines(monotonic: Callable[[], float]) -> Show:
    """A line now and then; none for a verification that is over at once."""
    said_at = monotonic()

    def show(done: int, total: int) -> None:
        nonlocal said_at
        if total and monotonic() - said_at >= LINE_SECONDS:
            said_at = monotonic()
            click.echo(f"{done:,} of {total:,} records compared")

    return show


def verdict_text(found: Mapping[str, Any]) -> str:
    """What a verification found, for a shell."""
    words = {"in-sync": "In sync", "diverged": "Diverged", "inconclusive": "Inconclusive"}[found["outcome"]]
    lines = [f"{words}. {found['sentence']}"]
    lines += [f"  {line}" for line in found["differences"]]
    if found["differences_not_shown"]:
        lines.append(f"  and {found['differences_not_shown']} more")
    return "\n".join(lines)
