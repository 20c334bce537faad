"""The door of /admin: log in, log out, and `login_required` for every page behind it."""

import ipaddress
import math
import re
import secrets
from collections.abc import Callable, Mapping
from functools import wraps
from hashlib import sha256
from typing import Any, ParamSpec, cast
from urllib.parse import urlsplit

import structlog
from flask import Blueprint, Flask, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from msgspec import Struct
from wtforms import PasswordField, StringField

from shop.access import Logins
from shop.admins import ADMIN_ID, set_password_hash
from shop.errors import ShopError, TooManyRequests, Unavailable, WritesUnavailable
from shop.models import Admin
from shop.passwords import hash_password, needs_rehash, verify_password
from shop.web.errors import TITLES
from shop.web.extensions import is_from_this_machine
from shop.web.forms import ShopForm
from shop.web.services import Services, services
from shop.web.sessions import AdminSessions
from shop.web.throttle import PER_ACCOUNT, PER_ADDRESS, PER_BROWSER, Rule, Throttle

bp = Blueprint("admin_auth", __name__, url_prefix="/admin")

P = ParamSpec("P")

SID_KEY = "sid"  # in the visitor's signed cookie: the id of a session that is kept here
KNOWN_KEY = "known"  # in the same cookie: a mark that this browser was logged in before; it opens nothing
KEPT = "kept-"  # before the names of fields that wait on the login page
WRONG = "The user or the password is wrong."
NO_PASSWORD = "Enter the password."  # noqa: S105 - a sentence
ADDRESS_LENGTH_MAX = 500

_EXTENSION = "antipode.admin"
# An own path below /admin, of plain characters: no scheme, no host, no backslash, no control character, no way up.
_OWN_PATH = re.compile(r"/admin(?:/(?!\.{1,2}(?:[/?]|$))[A-Za-z0-9._~-]+)*/?(?:\?[A-Za-z0-9._~%&=+-]*)?")
_log = structlog.get_logger("admin")


class LoginForm(ShopForm):
    """Who wants in, and where to."""

    user = StringField(default=ADMIN_ID)
    password = PasswordField()
    next = StringField()


class _Door(Struct, frozen=True):
    """What is remembered of logins: in memory, or where the workers keep it together."""

    sessions: Logins
    throttle: Throttle


def login_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """*view* for admins; everybody else is sent to the login, and afterwards back to where they wanted to go."""

    return _guarded(view, _to_login)


def login_required_keeping_form(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """As `login_required`, for a form that took long to fill in: it goes through the login and can be sent after it."""
    return _guarded(view, _to_login_with_form)


def current_admin() -> str | None:
    """The id of the admin who sent this request, None for everybody else. Asked once a request."""
    if "admin" not in g:
        g.admin = _find_admin()
    return cast("str | None", g.admin)


def own_path(target: str) -> str:
    """*target* if it is an address of the admin's own pages, else ""."""
    if len(target) > ADDRESS_LENGTH_MAX or not _OWN_PATH.fullmatch(target):
        return ""
    return "" if urlsplit(target).path in (url_for("admin_auth.login"), url_for("admin_auth.logout")) else target


def refusal(error: ShopError) -> ResponseReturnValue:
    """The page of a `ShopError` inside the admin's frame, for blueprints to register."""
    retry_seconds = error.retry_seconds if isinstance(error, TooManyRequests | Unavailable) else None
    page = render_template(
        "admin/refusal.html",
        heading=TITLES.get(error.status, TITLES[400]),
        sentence=error.message,
        status=error.status,
        retry_seconds=retry_seconds,
    )
    return page, error.status, retry_after(retry_seconds)


def retry_after(seconds: int | None) -> dict[str, str]:
    return {"Retry-After": str(seconds)} if seconds else {}


@bp.get("/login")
def login() -> ResponseReturnValue:
    wanted = own_path(request.args.get("next", ""))
    if current_admin() is not None:
        return redirect(wanted or url_for("admin_orders.dashboard"), 303)
    return _login_page(LoginForm(next=wanted))


@bp.post("/login")
def log_in() -> ResponseReturnValue:
    """Open a session under a new id. Whatever is wrong, the answer and the time it takes are the same."""
    form = LoginForm(request.form)
    if not form.typed("password"):
        form.refuse({"password": NO_PASSWORD})
        return _login_page(form, status=400)
    keys = _keys(form.typed("user"))
    wait_seconds = math.ceil(_door().throttle.admit(keys))
    if wait_seconds:
        _log.warning("login throttled", wait_seconds=wait_seconds)
        return _login_page(form, status=429, wait_seconds=wait_seconds)
    admin = _admin_with(form.typed("user"), form.typed("password"))
    if admin is None:
        _log.warning("login failed")  # not what was typed: people type passwords into the wrong field
        form.refuse({"password": WRONG})
        return _login_page(form, status=403)
    _door().throttle.succeeded(keys)
    _open_session(admin)
    _log.info("login ok", admin=admin.id)
    wanted = own_path(form.typed("next")) or url_for("admin_orders.dashboard")
    kept = _kept_fields()
    return render_template("admin/resume.html", action=wanted, fields=kept) if kept else redirect(wanted, 303)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session here, so that no copy of the cookie opens it again."""
    admin = current_admin()
    _door().sessions.end(_sid())
    _forget_session()
    if admin:
        _log.info("logout", admin=admin)
        flash("You are logged out.")
    return redirect(url_for("admin_auth.login"), 303)


def _login_page(form: LoginForm, *, status: int = 200, wait_seconds: int | None = None) -> ResponseReturnValue:
    page = render_template("admin/login.html", form=form, wait_seconds=wait_seconds, kept=_kept_fields())
    return page, status, retry_after(wait_seconds)


def _guarded(
    view: Callable[P, ResponseReturnValue], turn_away: Callable[[], ResponseReturnValue]
) -> Callable[P, ResponseReturnValue]:
    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return turn_away() if current_admin() is None else view(*args, **kwargs)

    return guarded


def _to_login() -> ResponseReturnValue:
    return redirect(url_for("admin_auth.login", next=_wanted() or None), 303)


def _to_login_with_form() -> ResponseReturnValue:
    if request.method == "GET":
        return _to_login()
    return _login_page(LoginForm(next=own_path(request.path)), status=403)


def _kept_fields() -> Mapping[str, str]:
    """The fields of a form that waits for its sender to log in: on the login page they have a prefix."""
    fields = request.form.to_dict()
    if request.path != url_for("admin_auth.login"):
        return {name: value for name, value in fields.items() if name != "csrf_token"}
    return {name.removeprefix(KEPT): value for name, value in fields.items() if name.startswith(KEPT)}


def _wanted() -> str:
    """Where to go after the login: the page that was asked for, or the one on which a form was sent."""
    if request.method == "GET":
        query = request.query_string.decode("latin-1")
        return own_path(f"{request.path}?{query}" if query else request.path)
    came_from = urlsplit(request.referrer or "")
    return own_path(came_from.path) if came_from.netloc == request.host else ""


def _find_admin() -> str | None:
    sid = _sid()
    found = _door().sessions.find(sid) if sid else None
    if found is None:
        return None
    with services().repository.view() as unit:
        admin = unit.admin(found.admin_id)
    if admin is None or admin.password_hash != found.password_hash:
        _door().sessions.end_others_than(found.admin_id, admin.password_hash if admin else None)
        return None
    return admin.id


def _admin_with(user: str, password: str) -> Admin | None:
    with services().repository.view() as unit:
        admin = unit.admin(_account(user))
    if not verify_password(admin.password_hash if admin else None, password) or admin is None:
        return None
    return _rehashed(admin, password) if needs_rehash(admin.password_hash) else admin


def _rehashed(admin: Admin, password: str) -> Admin:
    """The admin with a hash that costs what hashes cost today; as before when nothing can be written now."""
    parts = services()
    try:
        with parts.repository.update() as unit:
            set_password_hash(unit, hash_password(password), now=parts.clock.now())
        with parts.repository.view() as snapshot:
            return snapshot.admin(admin.id) or admin
    except WritesUnavailable:
        return admin


def _open_session(admin: Admin) -> None:
    """A new id and a new CSRF token: whoever planted the old cookie knows neither."""
    _door().sessions.end(_sid())
    _forget_session()
    session[SID_KEY] = _door().sessions.begin(admin.id, admin.password_hash)
    session[KNOWN_KEY] = _known_browser() or secrets.token_urlsafe(16)
    session.permanent = True


def _forget_session() -> None:
    for key in (SID_KEY, "csrf_token"):
        session.pop(key, None)
    for key in ("admin", "csrf_token"):
        g.pop(key, None)


def _keys(user: str) -> Mapping[str, Rule]:
    """What a try counts against."""
    browser = _known_browser()
    if browser:
        return {f"browser {browser}": PER_BROWSER}
    keys: dict[str, Rule] = {f"account {sha256(_account(user).encode()).hexdigest()}": PER_ACCOUNT}
    if not is_from_this_machine():
        keys[f"address {_network(request.remote_addr or '')}"] = PER_ADDRESS
    return keys


def _account(user: str) -> str:
    return user.strip().casefold()


def _network(address: str) -> str:
    """The address; of IPv6 the network, since whoever has one address there has all of them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _sid() -> str:
    return _text_in_cookie(SID_KEY)


def _known_browser() -> str:
    return _text_in_cookie(KNOWN_KEY)


def _text_in_cookie(key: str) -> str:
    value = session.get(key, "")
    return value if isinstance(value, str) else ""


def _door() -> _Door:
    return cast(_Door, current_app.extensions[_EXTENSION])


@bp.record_once
def _install(state: BlueprintSetupState) -> None:
    app: Any = state.app
    parts: Services = cast(Flask, app).extensions["antipode"]
    app.extensions[_EXTENSION] = _door_of(parts)


def _door_of(parts: Services) -> _Door:
    shared = parts.shared
    if shared is not None:
        return _Door(shared.logins, Throttle(shared.now, shared.ledger))
    return _Door(AdminSessions(parts.clock.monotonic), Throttle(parts.clock.monotonic))
