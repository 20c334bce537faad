"""The drills: the seven, one with its story, and a run while it goes on. Complete without JavaScript."""

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from shop.drills.records import RunState
from shop.drills.runner import Drills
from shop.errors import NotFound, ShopError
from shop.web import drills_view
from shop.web.admin_auth import current_admin, login_required
from shop.web.services import services

bp = Blueprint("drills", __name__, url_prefix="/admin/replication/drills")


@bp.get("")
@login_required
def index() -> Response:
    drills = _drills()
    page = render_template(
        "replication/drills.html",
        cards=drills_view.cards_of(drills),
        why_not_now=drills.why_not_now(),
        running=drills.running(),
        left_over=drills.left_over(),
    )
    return _private(page)


@bp.get("/<name>")
@login_required
def show(name: str) -> Response:
    """What it is about, and how its last run went or goes."""
    view = drills_view.drill_of(_drills(), name)
    return _private(render_template("replication/drill.html", drill=view, left_over=_drills().left_over()))


@bp.get("/<name>/run")
def run(name: str) -> ResponseReturnValue:
    """The moving part of the page, for htmx. Who is not logged in any more loads the page again, and is led to the login from there."""
    if current_admin() is None and "HX-Request" in request.headers:
        return _to_be_loaded_again(401)
    return _moving_part(name)


@login_required
def _moving_part(name: str) -> Response:
    found = _drills().last_run(name)
    if found is None or found.state is not RunState.RUNNING:
        return _to_be_loaded_again(200)
    return _private(render_template("replication/_drill_run.html", run=drills_view.run_of(found)))


def _to_be_loaded_again(status: int) -> Response:
    """There is nothing more to follow: the page as a whole has more to say."""
    response = _private("", status)
    response.headers["HX-Refresh"] = "true"
    return response


@bp.post("/<name>/start")
@login_required
def start(name: str) -> Response:
    is_confirmed = request.form.get("confirmed") == "yes"
    try:
        _drills().start(name, who=current_admin() or "", is_confirmed=is_confirmed)
    except NotFound:
        raise
    except ShopError as refusal:
        flash(refusal.message, "danger")
    return redirect(url_for("drills.show", name=name), code=303)


@bp.post("/<name>/stop")
@login_required
def stop(name: str) -> Response:
    if _drills().stop():
        flash("The drill stops after this step, and puts everything back.", "success")
    else:
        flash("No drill is running any more.", "success")
    return redirect(url_for("drills.show", name=name), code=303)


@bp.post("/clean-up")
@login_required
def clean_up() -> Response:
    """Take out what a drill left whose server was killed, without another drill."""
    try:
        flash(_drills().clean_up(), "success")
    except ShopError as refusal:
        flash(refusal.message, "danger")
    return redirect(url_for("drills.index"), code=303)


def _drills() -> Drills:
    drills = services().drills
    if drills is None:
        raise NotFound("This shop has no drills.")
    return drills


def _private(page: str, status: int = 200) -> Response:
    response = make_response(page, status)
    response.headers["Cache-Control"] = "private, no-store"
    return response
