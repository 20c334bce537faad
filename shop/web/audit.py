"""Notes every action on the replication pages in the audit list, and shows it."""

from flask import Blueprint, Flask, Response, g, make_response, message_flashed, render_template, request

from shop.errors import NotFound
from shop.web.admin_auth import current_admin, login_required
from shop.web.services import services

bp = Blueprint("audit", __name__, url_prefix="/admin/replication")

PREFIX = "/admin/replication"
UNTOLD = ("csrf_token",)
VALUE_MAX = 80


@bp.get("/audit")
@login_required
def show() -> Response:
    audit = services().audit
    if audit is None:
        raise NotFound("This shop keeps no audit list.")
    response = make_response(render_template("replication/audit.html", actions=audit.actions()))
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.after_app_request
def _note(response: Response) -> Response:
    audit, who = services().audit, None
    if audit is not None and request.method == "POST" and request.path.startswith(f"{PREFIX}/"):
        who = current_admin()
    if audit is not None and who is not None:
        said = " ".join(g.get("flashed", ()))
        audit.add(who, _what(), said or ("done" if response.status_code < 400 else f"refused ({response.status_code})"))
    return response


def _what() -> str:
    """The action and what was filled in, in the words of its address."""
    fields = [f"{name}={value[:VALUE_MAX]}" for name, value in request.form.items() if name not in UNTOLD]
    return " ".join([request.path.removeprefix(f"{PREFIX}/"), *fields])


def _hear(_app: Flask, message: str, category: str) -> None:
    g.flashed = (*g.get("flashed", ()), message)


message_flashed.connect(_hear)
