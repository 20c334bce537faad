"""The public stage: what the replication page shows, for everybody, without a control and without anything about a person.

What may be seen is copied, everything else is left out: a new field of the status is not public until somebody says so here.
"""

import msgspec
from flask import Blueprint, Response, abort, make_response, render_template, request

from shop import money
from shop.replication.contract import CommitOnTheWay, Link, Retry, Side, Status
from shop.web import replication_view
from shop.web.extensions import is_from_this_machine, limiter, rate
from shop.web.services import services

bp = Blueprint("stage", __name__)


@bp.get("/replication")
@limiter.limit(rate("STAGE_LOOKS_PER_ADDRESS"), exempt_when=is_from_this_machine)
def show() -> Response:
    """404 unless SHOP_PUBLIC_STAGE opens it. With `?watch=1` it reloads itself."""
    if not services().config.public_stage:
        abort(404)
    status = without_people(services().replication.status())
    view = replication_view.view_of(status, (), money=_money, differences_limit=1)
    page = render_template("replication/public.html", view=view, is_watching=request.args.get("watch") == "1")
    response = make_response(page)
    response.headers["Cache-Control"] = "no-store"
    return response


def without_people(status: Status) -> Status:
    """*status* with kinds and numbers alone: no order numbers, no names, no ids, no texts of errors (they may hold paths)."""
    return Status(
        at=status.at,
        state=status.state,
        sentence="",
        primary=_side(status.primary),
        replica=_side(status.replica),
        link=Link(
            delay_seconds=status.link.delay_seconds,
            is_paused=status.link.is_paused,
            jitter_seconds=status.link.jitter_seconds,
            bandwidth=status.link.bandwidth,
            loss_percent=status.link.loss_percent,
            is_out=status.link.is_out,
            out_for_seconds=status.link.out_for_seconds,
        ),
        lag=status.lag,
        at_risk=status.at_risk,
        in_flight=[_commit(commit) for commit in status.in_flight],
        recent=[_commit(commit) for commit in status.recent],
        retry=Retry(attempts=status.retry.attempts, error="", next_in_seconds=status.retry.next_in_seconds),
        version=status.version,
    )


def _commit(commit: CommitOnTheWay) -> CommitOnTheWay:
    return msgspec.structs.replace(
        commit,
        summary=replication_view.kind_of(commit),
        changes=[msgspec.structs.replace(change, id="") for change in commit.changes],
    )


def _side(side: Side) -> Side:
    problem = "It takes no writes now." if side.problem else ""
    counts = {name: count for name, count in side.counts.items() if name != "admins"}
    return msgspec.structs.replace(side, counts=counts, problem=problem)


def _money(cents: int) -> str:
    return money.format_money(cents, services().config.currency)
