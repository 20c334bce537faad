"""Changing which side is primary, and the review of what a failover left behind. Complete without JavaScript."""

import re
from collections.abc import Callable

import structlog
from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from shop.errors import Invalid, NotFound, ShopError
from shop.replication.contract import Failover, Promotion
from shop.web.admin_auth import current_admin, login_required
from shop.web.services import services

bp = Blueprint("failover", __name__, url_prefix="/admin/replication")

CROSSING_SHOWN = 20
LOST_SHOWN = 100  # of one failover; those that are decided make room for the next
_TIMELINE = re.compile(r"[0-9]{1,9}")
_log = structlog.get_logger("failover")


@bp.get("/failover")
@login_required
def show() -> Response:
    """What each way would do now, and the buttons for it: this page is the confirmation."""
    _failover()
    status = services().replication.status()
    page = render_template("replication/failover.html", status=status, crossing=status.in_flight[:CROSSING_SHOWN])
    return _private(page)


@bp.post("/failover/promote")
@login_required
def promote() -> Response:
    return _change(_failover().promote)


@bp.post("/failover/switchover")
@login_required
def switch_over() -> Response:
    return _change(_failover().switch_over)


@bp.get("/lost")
@login_required
def lost() -> Response:
    return _lost_page()


@bp.post("/lost/<commit_id>/reenter")
@login_required
def reenter(commit_id: str) -> Response:
    def enter() -> str:
        return f"Re-entered. {_failover().reenter(commit_id, by=_who()).sentence}"

    return _do(enter, back=url_for("failover.lost", _anchor=f"lost-{commit_id}"))


@bp.post("/lost/<commit_id>/discard")
@login_required
def discard(commit_id: str) -> Response:
    reason = request.form.get("reason", "")

    def throw_away() -> str:
        _failover().discard(commit_id, reason, by=_who())
        return f"Commit {commit_id} is discarded."

    try:
        return _do(throw_away, back=url_for("failover.lost", _anchor=f"lost-{commit_id}"))
    except Invalid as problem:
        return _lost_page(status=400, refused=commit_id, problem=problem.fields["reason"], typed=reason[:400])


def _lost_page(*, status: int = 200, refused: str = "", problem: str = "", typed: str = "") -> Response:
    page = render_template(
        "replication/lost.html",
        invoices=_failover().invoices(),
        damaged=_failover().damaged(),
        unsettled=_failover().unsettled(),
        shown_max=LOST_SHOWN,
        refused=refused,
        problem=problem,
        typed=typed,
    )
    return _private(page, status)


def _change(change: Callable[..., Promotion]) -> Response:
    timeline = _timeline()

    def carry_out() -> str:
        promotion = change(by=_who(), expected_timeline=timeline)
        _log.warning("roles changed", primary=promotion.primary, timeline=promotion.timeline, by=_who())
        return promotion.sentence

    return _do(carry_out, back=url_for("failover.lost"), back_refused=url_for("failover.show"))


def _do(action: Callable[[], str], *, back: str, back_refused: str = "") -> Response:
    try:
        flash(action(), "success")
    except (Invalid, NotFound):
        raise
    except ShopError as refusal:
        flash(refusal.message, "danger")
        return redirect(back_refused or back, code=303)
    return redirect(back, code=303)


def _failover() -> Failover:
    failover = services().failover
    if failover is None:
        raise NotFound("The sides of this shop cannot change their roles here.")
    return failover


def _who() -> str:
    return current_admin() or ""


def _timeline() -> int:
    """The one that the form was made on: so that a second press does not change the roles back."""
    typed = request.form.get("timeline", "")
    if not _TIMELINE.fullmatch(typed):
        raise NotFound("The form is not complete. Please open the page again.")
    return int(typed)


def _private(page: str, status: int = 200) -> Response:
    response = make_response(page, status)
    response.headers["Cache-Control"] = "private, no-store"
    return response
