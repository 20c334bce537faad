"""The replication page: both sides, what is between them, and the knobs. Complete without JavaScript."""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from shop import money
from shop.errors import Invalid, ShopError
from shop.models import Cart, timestamp
from shop.replication.contract import Status
from shop.web import laboratory_view, replication_view
from shop.web.admin_auth import login_required
from shop.web.replication_view import ReplicationView, VerdictView
from shop.web.services import services

bp = Blueprint("replication", __name__, url_prefix="/admin/replication")

DIFFERENCES_LIMIT = 20
QUICK_DELAYS = (0, 1, 5, 10, 30)  # seconds
DELAY_MAX_SECONDS = 3600
SECONDS_TYPED = re.compile(r"[0-9]{1,6}(?:[.,][0-9]{1,3})?")
DELAY_PROBLEM = f"Type a number of seconds from 0 to {DELAY_MAX_SECONDS}, such as 5 or 0.5."
PAUSED_LINK = "The link is paused. New writes stay on the primary until you resume."
PAUSED_REPLAY = (
    "Replay is paused. New writes still arrive and are safe there; its readers do not see them until you resume."
)
TEST_CART_ID = "replication-test"
NOTHING: Mapping[str, str] = MappingProxyType({})

# A process that was replaced may render other markup for the same data: its tags must not match the old ones.
PROCESS_TAG = secrets.token_hex(4)


@bp.get("")
@login_required
def show() -> AnyResponse:
    return page()


@bp.get("/watch")
@login_required
def watch() -> AnyResponse:
    """The same picture without a form on it, so that it may reload itself where there is no JavaScript."""
    return page("replication/watch.html", is_watching=True)


@bp.get("/live")
@login_required
def live() -> AnyResponse:
    """The moving part of the page, for the script; 304 while the one it holds still stands."""
    status = services().replication.status()
    etag = _etag(status)
    if request.if_none_match.contains_weak(etag):
        response = Response(status=304)
    else:
        response = make_response(_live_part(status))
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.post("/delay")
@login_required
def set_delay() -> AnyResponse:
    typed = request.form.get("delay", "").strip()
    try:
        services().replication.set_delay(_seconds(typed))
    except Invalid as problem:
        return page(status=400, typed={"delay": typed[:40]}, problems=problem.fields)
    flash(f"The delay is {_delay_words(_seconds(typed))} now, also for writes that are already crossing.", "success")
    return _back()


@bp.post("/pause")
@login_required
def pause() -> AnyResponse:
    is_of_replay = services().replication.status().link.pauses_replay
    return _do(services().replication.pause, PAUSED_REPLAY if is_of_replay else PAUSED_LINK)


@bp.post("/resume")
@login_required
def resume() -> AnyResponse:
    is_of_replay = services().replication.status().link.pauses_replay
    return _do(services().replication.resume, "Replay goes on." if is_of_replay else "The link is open again.")


@bp.post("/sync")
@login_required
def sync_now() -> AnyResponse:
    def bring_across() -> str:
        applied = services().replication.sync_now()
        if not applied:
            return "Nothing was waiting: the replica has everything already."
        return f"{replication_view.plural(applied, 'write')} brought to the replica at once, without the delay."

    return _do(bring_across)


@bp.post("/verify")
@login_required
def verify() -> AnyResponse:
    return _do(lambda: services().replication.verify().sentence, anchor="verdict")


@bp.post("/resync")
@login_required
def resync() -> AnyResponse:
    if request.form.get("confirmed") != "yes":
        flash("Nothing was replaced: tick the box first to say that you mean it.", "danger")
        return _back()

    def repair() -> str:
        services().replication.resync()
        proof = services().replication.verify()
        return f"The replica was rebuilt from a fresh copy of the primary. Verified again: {proof.sentence}"

    return _do(repair, anchor="verdict")


@bp.post("/test-write")
@login_required
def test_write() -> AnyResponse:
    """Commit one small change, for whoever wants to see something travel without buying."""

    def write() -> None:
        with services().repository.update() as unit:
            now = timestamp(services().clock.now())
            # Always the same record: a hundred presses leave one empty cart behind, not a hundred.
            unit.put_cart(Cart(id=TEST_CART_ID, checkout_key=secrets.token_urlsafe(16), updated_at=now))

    return _do(write, "A test write was saved on the primary: a small cart that belongs to nobody. Watch it cross.")


def page(
    template: str = "replication/show.html",
    *,
    status: int = 200,
    is_watching: bool = False,
    typed: Mapping[str, str] = NOTHING,
    problems: Mapping[str, str] = NOTHING,
) -> AnyResponse:
    """The whole page; *typed* and *problems* are of the fields that were refused."""
    now, drills = services().replication.status(), services().drills
    view = _view(now)
    page = render_template(
        template,
        view=view,
        verdict=_last_verdict(),
        etag=f'W/"{_etag(now)}"',
        is_watching=is_watching,
        has_controls=not is_watching,
        quick_delays=[seconds for seconds in QUICK_DELAYS if seconds <= now.link.delay_max_seconds],
        delay_typed=typed.get("delay", view.delay),
        delay_problem=problems.get("delay", ""),
        **_laboratory_parts(now),
        knobs={**_knobs(now), **typed},
        problems=problems,
        delay_max=DELAY_MAX_SECONDS,
        drills=drills.all() if drills is not None else (),
    )
    response = make_response(page, status)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _live_part(status: Status) -> str:
    return render_template(
        "replication/_live.html",
        view=_view(status),
        verdict=_last_verdict(),
        is_watching=False,
        has_controls=False,
        **_laboratory_parts(status),
    )


def _knobs(status: Status) -> Mapping[str, str]:
    return laboratory_view.knobs_of(status.link, status.modes.timeout_seconds if status.modes else None)


def _laboratory_parts(status: Status) -> dict[str, Any]:
    return {
        "modes": laboratory_view.modes_of(status),
        "has_laboratory": services().laboratory is not None,
        "is_out": status.link.is_out,
    }


def _view(status: Status) -> ReplicationView:
    return replication_view.view_of(
        status,
        services().replication.differences(DIFFERENCES_LIMIT),
        money=_money,
        differences_limit=DIFFERENCES_LIMIT,
    )


def _money(cents: int) -> str:
    return money.format_money(cents, services().config.currency)


def _etag(status: Status) -> str:
    """Stands for what the moving part shows: the version, the last verdict, and the moment while anything counts down."""
    verdict = _last_verdict()
    moment = status.at if replication_view.is_moving(status) else ""
    parts = (PROCESS_TAG, status.version, verdict.at if verdict else "", moment)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _last_verdict() -> VerdictView | None:
    checked = services().replication.checked()
    if checked is None or checked.verdict is None:
        return None
    return replication_view.verdict_of(checked.verdict, checked.at)


def _seconds(typed: str) -> float:
    if not SECONDS_TYPED.fullmatch(typed):
        raise Invalid({"delay": DELAY_PROBLEM})
    return float(typed.replace(",", "."))


def _delay_words(seconds: float) -> str:
    return f"{replication_view.number_text(seconds)} s" if seconds else "off"


def _do(action: Callable[[], object], done: str = "", *, anchor: str | None = None) -> AnyResponse:
    """Carry out *action* and go back to the page, telling what was done (or what the action itself says) or refused."""
    try:
        said = action()
    except ShopError as refusal:
        flash(refusal.message, "danger")
    else:
        flash(done or str(said), "success")
    return _back(anchor)


def _back(anchor: str | None = None) -> AnyResponse:
    return redirect(url_for("replication.show", _anchor=anchor), code=303)
