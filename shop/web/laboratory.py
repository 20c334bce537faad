"""The laboratory on the replication page: the knobs of the link, the modes, one commit followed, and the past."""

import math
import re
from collections.abc import Callable

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from shop.errors import Invalid, NotFound
from shop.replication.contract import Laboratory
from shop.web import laboratory_view, replication_view
from shop.web.admin_auth import login_required
from shop.web.replication import page
from shop.web.services import services

bp = Blueprint("laboratory", __name__, url_prefix="/admin/replication")

NUMBER = re.compile(r"[0-9]{1,12}(?:[.,][0-9]{1,3})?")
TYPED_MAX = 40


@bp.post("/jitter")
@login_required
def set_jitter() -> AnyResponse:
    return _turn("jitter", _laboratory().set_jitter, "The jitter is set, also for writes that are already crossing.")


@bp.post("/bandwidth")
@login_required
def set_bandwidth() -> AnyResponse:
    return _turn("bandwidth", _laboratory().set_bandwidth, "The bandwidth is set: writes queue for the cable.")


@bp.post("/loss")
@login_required
def set_loss() -> AnyResponse:
    return _turn("loss", _laboratory().set_loss, "The loss is set: each lost try costs another round trip.")


@bp.post("/outage")
@login_required
def cut() -> AnyResponse:
    return _turn(
        "outage", _laboratory().cut, "The cable is broken. New writes stay on the primary until it is whole again."
    )


@bp.post("/mend")
@login_required
def mend() -> AnyResponse:
    was_out = services().replication.status().link.is_out
    _laboratory().mend()
    flash(
        "The cable is whole. What was under way leaves anew." if was_out else "The cable was whole already.", "success"
    )
    return _back()


@bp.post("/timeout")
@login_required
def set_timeout() -> AnyResponse:
    return _turn("timeout", _laboratory().set_timeout, "The timeout of semi-sync is set.")


@bp.post("/apply-delay")
@login_required
def set_apply_delay() -> AnyResponse:
    return _turn(
        "apply_delay",
        _laboratory().set_apply_delay,
        "The apply delay is set, also for writes that have arrived and wait for it.",
    )


@bp.post("/mode")
@login_required
def set_mode() -> AnyResponse:
    mode = request.form.get("mode", "")
    try:
        _laboratory().set_mode(mode)
    except Invalid as problem:
        return page(status=400, typed={"mode": mode[:TYPED_MAX]}, problems=problem.fields)
    flash(f"The mode is {mode} from the next write on.", "success")
    return _back("modes")


@bp.get("/commits/<int:timeline>-<int:lsn>")
@login_required
def commit(timeline: int, lsn: int) -> AnyResponse:
    """One commit end to end."""
    journey = _laboratory().journey(timeline, lsn)
    if journey is None:
        raise NotFound(
            "Nothing is known of that commit: it was never made, or so long ago that both journals have forgotten it."
        )
    view = laboratory_view.journey_of(journey)
    return _fresh(
        render_template(
            "replication/commit.html",
            journey=view,
            is_on_its_way=not view.steps[3].is_done,
            has_before=_laboratory().journey(timeline, lsn - 1) is not None,
            has_after=_laboratory().journey(timeline, lsn + 1) is not None,
        )
    )


@bp.get("/history")
@login_required
def history() -> AnyResponse:
    """Both sides as they were after one of the last changes."""
    why_not = services().replication.status().unavailable.get("history", "")
    if why_not:
        return _fresh(render_template("replication/history.html", not_here=why_not))
    typed = request.args.get("at", "")
    past = _laboratory().past(int(typed) if re.fullmatch(r"[0-9]{1,12}", typed) else None)
    if past is None:
        return _fresh(render_template("replication/history.html", not_here="", past=None))
    return _fresh(
        render_template(
            "replication/history.html",
            not_here="",
            past=past,
            clock=replication_view.clock_text(past.at),
            behind=laboratory_view.behind_words(past),
            sides=[
                laboratory_view.past_side_of(past.primary, past.replica, "primary"),
                laboratory_view.past_side_of(past.replica, past.primary, "replica"),
            ],
            differences=[replication_view.difference_of(one) for one in past.differences],
        )
    )


def _laboratory() -> Laboratory:
    laboratory = services().laboratory
    if laboratory is None:
        raise NotFound("This shop's link has no knobs.")
    return laboratory


def _turn(field: str, turn: Callable[[float], None], done: str) -> AnyResponse:
    typed = request.form.get(field, "").strip()
    # What is no number is handed on as none: the knob refuses it with its own sentence.
    number = float(typed.replace(",", ".")) if NUMBER.fullmatch(typed) else math.nan
    try:
        turn(number)
    except Invalid as problem:
        return page(status=400, typed={field: typed[:TYPED_MAX]}, problems=problem.fields)
    flash(done, "success")
    return _back()


def _back(anchor: str | None = None) -> AnyResponse:
    return redirect(url_for("replication.show", _anchor=anchor), code=303)


def _fresh(text: str) -> AnyResponse:
    response = make_response(text)
    response.headers["Cache-Control"] = "private, no-store"
    return response
