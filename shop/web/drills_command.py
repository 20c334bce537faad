"""`flask --app app shop drill [NAME]`: lists the drills, or runs one and tells its story as it happens."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import click
from flask.cli import AppGroup

LOOK_SECONDS = 0.1
MARKS = {"did": "*", "saw": "-", "back": "=", "wrong": "!"}

Ask = Callable[..., Mapping[str, Any]]


class Desk(Protocol):
    """Where commands are done."""

    def perform(self, name: str, arguments: Mapping[str, Any] | None = None, *, needs_shop: bool = False) -> Any: ...

    def visit(self) -> AbstractContextManager[Ask]:
        """Several commands of one shop, one after another; inside, what is committed also crosses."""
        ...


def add_drill(shop: AppGroup, desk: Desk, confirm: Callable[[str, str], None]) -> None:
    """Put the command into the group *shop*."""

    @shop.command("drill", with_appcontext=False)
    @click.argument("name", required=False)
    @click.option("--yes", is_flag=True, help="Do not ask before a drill that changes the primary.")
    def drill(name: str | None, yes: bool) -> None:
        """Do on purpose what may go wrong one day, and put everything back.

        Without NAME it lists the drills. Exit code 0: the drill kept its promise. 1: it failed or was stopped (Ctrl-C).
        """
        listed = desk.perform("drills", needs_shop=True)
        if name is None:
            click.echo(list_text(listed))
            return
        wanted = next((one for one in listed["drills"] if one["name"] == name), None)
        if wanted is not None and wanted["changes_primary"] and not yes:
            confirm(
                "The shop goes over to its other side and back, and refuses orders for a moment. Go on?",
                "This changes the primary for a moment",
            )
        with desk.visit() as ask:
            state = _follow(ask, name)
        sys.exit(0 if state == "passed" else 1)


def _follow(ask: Ask, name: str) -> str:
    """Print the story until it is over; returns how it ended."""
    click.echo(before_text(ask("drill", {"name": name, "confirmed": True})))
    told = 0
    run: dict[str, Any] = {"is_running": True}
    while run["is_running"]:
        try:
            run = dict(ask("drill-progress", {"name": name}))
            for step in run["steps"][told:]:
                click.echo(step_text(step))
            told = len(run["steps"])
            if run["is_running"]:
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            click.echo(ask("drill-stop", {})["sentence"])
    click.echo(after_text(run))
    return str(run["state"])


def list_text(listed: Mapping[str, Any]) -> str:
    lines = []
    for one in listed["drills"]:
        last = f", last run: {one['last']}" if one["last"] else ""
        lines.append(f"{one['name']:<14} {one['question']}")
        lines.append(f"{'':<14} {one['why_not'] or 'about ' + str(one['seconds']) + ' s' + last}")
    return "\n".join([*lines, *filter(None, [listed["left_over"]])])


def before_text(begun: Mapping[str, Any]) -> str:
    others = f"What other people notice: {begun['others']}"
    return "\n".join([begun["title"], begun["question"], "", *begun["story"], others, ""])


def step_text(step: Mapping[str, Any]) -> str:
    return f"{step['after_seconds']:6.1f} s {MARKS[step['kind']]} {step['words']}"


def after_text(run: Mapping[str, Any]) -> str:
    figures = [
        f"  {one['name']}: {one['value']}" + (f" ({one['words']})" if one["words"] else "") for one in run["figures"]
    ]
    ended = f"{str(run['state']).capitalize()} after {run['seconds']:.1f} s. {run['sentence']}"
    return "\n".join(["", *figures, *([""] if figures else []), ended])
