"""The door of /admin: who gets in, for how long, and what a copied cookie is worth."""

import re
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask import Flask, session
from structlog.testing import capture_logs

from shop.access import AGE_SECONDS_MAX, IDLE_SECONDS_MAX, SESSIONS_MAX
from shop.passwords import hash_password, needs_rehash
from shop.web import admin_auth
from shop.web.factory import create_app
from shop.web.sessions import AdminSessions
from shop.web.throttle import PER_ACCOUNT, PER_ADDRESS
from tests.builders import a_product, keep_products, order_of, product_in
from tests.web.admin import LOGIN, PASSWORD, keep_admin, log_in, logged_in
from tests.web.visitor import Page, Visitor

WRONG_PASSWORD = "not the password"
FAR_AWAY = {"REMOTE_ADDR": "198.51.100.7"}
SOMEWHERE_ELSE = {"REMOTE_ADDR": "203.0.113.9"}


def is_inside(visitor: Visitor) -> bool:
    page = visitor.get("/admin/orders")
    assert page.status == 200 or page.location.startswith(LOGIN)
    return page.status == 200


def try_password(visitor: Visitor, password: str = WRONG_PASSWORD, *, user: str = "admin", **options: object) -> Page:
    token = visitor.get(LOGIN).fields(LOGIN)["csrf_token"]
    form = {"user": user, "password": password, "csrf_token": token}
    return visitor.post(LOGIN, form, **options)


def cookie_of(visitor: Visitor) -> str:
    cookie = visitor.client.get_cookie("session")
    assert cookie is not None
    return cookie.value


def visitor_with(app: Flask, cookie: str) -> Visitor:
    """Somebody who got hold of a cookie."""
    client = app.test_client()
    client.set_cookie("session", cookie)
    return Visitor(client)


# ---- what is behind the door


def admin_routes(app: Flask) -> list[tuple[str, str]]:
    """Each method and address behind the login."""
    return [
        (method, re.sub(r"<[^>]+>", "x1", re.sub(r"<int:[^>]+>", "1", rule.rule)))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/admin") and rule.rule not in (LOGIN, "/admin/logout")
        for method in sorted((rule.methods or set()) & {"GET", "POST"})
    ]


def test_no_page_of_the_admin_is_shown_to_a_stranger(app, stranger, store):
    token = stranger.get(LOGIN).fields(LOGIN)["csrf_token"]
    position = store.position
    routes = admin_routes(app)

    for method, path in routes:
        answer = stranger.client.open(path, method=method, data={"csrf_token": token, "name": "Own name"})
        is_login = answer.status_code == 303 and answer.headers["Location"].startswith(LOGIN)
        assert is_login or (answer.status_code == 403 and "Log in" in answer.text), f"{method} {path}"

    assert len(routes) > 20
    assert store.position == position


def test_no_page_of_the_admin_is_kept_by_a_browser(app, shopkeeper, repository):
    product = a_product()
    keep_products(repository, product)
    number = order_of(repository, (product, 1)).number
    paths = [path for method, path in admin_routes(app) if method == "GET"]

    for path in (*paths, LOGIN, f"/admin/products/{product.id}", f"/admin/orders/{number}", "/admin/nothing"):
        assert "no-store" in shopkeeper.client.get(path).headers["Cache-Control"], path


def test_nothing_is_done_without_the_token_of_the_form(app, shopkeeper, store):
    position = store.position

    for method, path in admin_routes(app):
        if method == "POST":
            for token in ({}, {"csrf_token": ""}, {"csrf_token": "forged"}):
                assert shopkeeper.client.post(path, data=token).status_code == 400, path

    assert store.position == position


# ---- in


def test_the_right_password_opens_the_dashboard(stranger):
    assert not is_inside(stranger)

    page = stranger.get(LOGIN).send(LOGIN, password=PASSWORD)

    assert (page.status, page.location) == (303, "/admin/")
    assert page.follow().heading == "Dashboard"


@pytest.mark.parametrize("user", ["admin", " Admin ", "ADMIN"])
def test_the_name_of_the_user_is_read_kindly(stranger, user):
    assert try_password(stranger, PASSWORD, user=user).status == 303


def test_a_wrong_user_and_a_wrong_password_are_not_told_apart(stranger):
    wrong_password = try_password(stranger)
    wrong_user = try_password(stranger, PASSWORD, user="somebody")

    assert wrong_password.status == wrong_user.status == 403
    assert wrong_password.error_of("field-password") == "The user or the password is wrong."
    assert wrong_user.error_of("field-password") == wrong_password.error_of("field-password")
    assert wrong_password.text.replace("admin", "") == wrong_user.text.replace("somebody", "").replace("admin", "")


def test_an_unknown_user_costs_the_same_work(stranger, monkeypatch):
    verified = []
    real = admin_auth.verify_password
    monkeypatch.setattr(admin_auth, "verify_password", lambda *args: verified.append(args) or real(*args))

    try_password(stranger, user="somebody")

    assert verified == [(None, WRONG_PASSWORD)]


def test_the_user_that_was_typed_is_kept_and_the_password_is_not(stranger):
    page = try_password(stranger, user="<somebody>")

    assert page.tree.one(id="field-user")["value"] == "<somebody>"
    assert page.tree.one(id="field-password")["value"] == ""
    assert WRONG_PASSWORD not in page.response.text


@pytest.mark.parametrize(
    ("password", "status"), [("", 400), ("x" * 100_000, 403), ("\0", 403), ("pa\ud7ff", 403), ("🗝" * 300, 403)]
)
def test_whatever_is_typed_as_a_password_gets_a_page(stranger, password, status):
    page = try_password(stranger, password)

    assert page.status == status
    assert page.error_of("field-password")
    assert not is_inside(stranger)


def test_a_login_needs_its_token(stranger):
    for token in (None, "", "forged"):
        data = {"user": "admin", "password": PASSWORD} | ({} if token is None else {"csrf_token": token})
        assert stranger.post(LOGIN, data).status == 400

    assert not is_inside(stranger)


def test_a_login_that_is_refused_for_its_token_does_not_repeat_the_password(stranger):
    page = stranger.post(LOGIN, {"password": PASSWORD}, headers={"Sec-Fetch-Site": "same-origin"})

    assert page.status == 400
    assert PASSWORD not in page.response.text


def test_a_shop_without_an_admin_lets_nobody_in(visitor):
    assert try_password(visitor).status == 403


def test_who_is_inside_is_not_asked_again(shopkeeper):
    assert shopkeeper.get(LOGIN).location == "/admin/"
    assert shopkeeper.get(LOGIN, next="/admin/orders").location == "/admin/orders"


def test_the_cookie_is_for_no_script_and_no_other_site(stranger):
    cookie = log_in(stranger).response.headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_hash_of_yesterdays_cost_is_made_anew_at_the_login(repository, app, visitor):
    keep_admin(repository, PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD))

    log_in(visitor)

    with repository.view() as unit:
        admin = unit.admin("admin")
    assert not needs_rehash(admin.password_hash)
    assert is_inside(visitor)
    assert is_inside(logged_in(app))


# ---- out


def test_a_logout_ends_the_session_for_every_copy_of_the_cookie(app, shopkeeper):
    copy = visitor_with(app, cookie_of(shopkeeper))
    assert is_inside(copy)

    page = shopkeeper.get("/admin/").send("/admin/logout")

    assert page.location == LOGIN
    assert page.follow().notices == ["You are logged out."]
    assert not is_inside(shopkeeper)
    assert not is_inside(copy)


def test_looking_at_the_address_of_the_logout_logs_nobody_out(shopkeeper):
    assert shopkeeper.get("/admin/logout").status == 405
    assert is_inside(shopkeeper)


def test_a_logout_of_one_browser_leaves_the_other_in(shopkeeper, second_shopkeeper):
    shopkeeper.get("/admin/").send("/admin/logout")

    assert is_inside(second_shopkeeper)


def test_a_logout_without_a_session_does_no_harm(stranger):
    token = stranger.get(LOGIN).fields(LOGIN)["csrf_token"]

    assert stranger.post("/admin/logout", {"csrf_token": token}).location == LOGIN


def test_a_cookie_that_was_planted_before_the_login_is_worth_nothing_after_it(app, stranger):
    stranger.get(LOGIN)
    planted = cookie_of(stranger)
    attacker = visitor_with(app, planted)
    token = attacker.get(LOGIN).fields(LOGIN)["csrf_token"]

    log_in(stranger)

    assert not is_inside(attacker)
    assert stranger.post("/admin/logout", {"csrf_token": token}).status == 400, "the token is a new one, too"
    assert is_inside(stranger)


def test_a_second_login_ends_the_session_of_the_first(app, shopkeeper):
    first = visitor_with(app, cookie_of(shopkeeper))
    token = shopkeeper.get("/admin/").fields("/admin/logout")["csrf_token"]

    assert shopkeeper.post(LOGIN, {"password": PASSWORD, "csrf_token": token}).status == 303

    assert not is_inside(first)
    assert is_inside(shopkeeper)


def test_a_forged_session_id_opens_nothing(app, stranger):
    with stranger.client.session_transaction() as cookie:
        cookie["sid"] = "guessed"
    assert not is_inside(stranger)

    for nonsense in (7, ["x"], {"a": 1}, None, True):
        with stranger.client.session_transaction() as cookie:
            cookie["sid"] = cookie["known"] = nonsense
        assert not is_inside(stranger)


def test_a_cookie_signed_with_another_key_opens_nothing(app, shopkeeper):
    services = app.extensions["antipode"]
    other = create_app(services, secret_key="another key")

    assert not is_inside(visitor_with(other, cookie_of(shopkeeper)))


def test_a_restart_logs_everybody_out(app, shopkeeper):
    restarted = create_app(app.extensions["antipode"], secret_key=str(app.secret_key))

    assert not is_inside(visitor_with(restarted, cookie_of(shopkeeper)))


def test_half_an_hour_without_a_click_ends_the_session(shopkeeper, clock):
    clock.advance(IDLE_SECONDS_MAX - 1)
    assert is_inside(shopkeeper)
    clock.advance(IDLE_SECONDS_MAX - 1)
    assert is_inside(shopkeeper)

    clock.advance(IDLE_SECONDS_MAX)

    assert not is_inside(shopkeeper)


def test_twelve_hours_end_the_session_however_busy_it_was(shopkeeper, clock):
    for _ in range(AGE_SECONDS_MAX // 600 - 1):
        clock.advance(600)
        assert is_inside(shopkeeper)

    clock.advance(600)

    assert not is_inside(shopkeeper)


def test_a_wall_clock_that_is_set_moves_no_session(shopkeeper, clock):
    clock.shift_wall(-86_400)
    assert is_inside(shopkeeper)
    clock.shift_wall(2 * 86_400)
    assert is_inside(shopkeeper)


def test_a_new_password_ends_every_session_of_the_old_one(app, shopkeeper, second_shopkeeper, repository):
    keep_admin(repository, hash_password("another password"))

    assert not is_inside(shopkeeper)
    assert not is_inside(second_shopkeeper)
    assert try_password(shopkeeper, PASSWORD).status == 403
    assert try_password(shopkeeper, "another password").status == 303
    assert is_inside(shopkeeper)


def test_going_back_to_the_old_password_revives_no_session(shopkeeper, repository):
    with repository.view() as unit:
        old_hash = unit.admin("admin").password_hash
    keep_admin(repository, hash_password("another password"))
    assert not is_inside(shopkeeper)

    keep_admin(repository, old_hash)

    assert not is_inside(shopkeeper)


def test_a_session_is_never_written_down(app, shopkeeper, tmp_path):
    with shopkeeper.client:
        shopkeeper.get("/admin/")
        sid = session["sid"]
    shopkeeper.get("/admin/categories").send("/admin/categories", name="Lamps")

    files = [path.read_text(errors="replace") for path in Path(tmp_path).rglob("*") if path.is_file()]

    assert any("Lamps" in text for text in files)
    assert not any(sid in text for text in files)


def test_the_number_of_sessions_is_bounded_and_the_idlest_ends(clock):
    sessions = AdminSessions(clock.monotonic)
    first = sessions.begin("admin", "hash")
    busy = sessions.begin("admin", "hash")
    for _ in range(SESSIONS_MAX):
        clock.advance(1)
        sessions.find(busy)
        sessions.begin("admin", "hash")

    assert sessions.find(first) is None
    assert sessions.find(busy) is not None


# ---- too often


def test_too_many_wrong_passwords_have_to_wait(stranger, clock):
    for _ in range(PER_ACCOUNT.free_tries):
        assert try_password(stranger).status == 403

    page = try_password(stranger, PASSWORD)

    assert page.status == 429
    assert page.response.headers["Retry-After"] == "1"
    assert page.notices == ["There were too many wrong passwords. Please wait 1 second, then try again."]
    assert page.tree.one(id="field-user")["value"] == "admin"
    assert PASSWORD not in page.response.text

    clock.advance(1)
    assert try_password(stranger, PASSWORD).status == 303


def test_each_further_failure_waits_longer(stranger, clock):
    for _ in range(PER_ACCOUNT.free_tries):
        try_password(stranger)

    waits = []
    for _ in range(7):
        waits.append(int(try_password(stranger).response.headers["Retry-After"]))
        clock.advance(waits[-1])
        assert try_password(stranger).status == 403

    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_the_slips_before_a_login_are_forgotten(app, stranger):
    for _ in range(PER_ACCOUNT.free_tries - 1):
        try_password(stranger)
    log_in(stranger)
    another_browser = Visitor(app.test_client())

    statuses = [try_password(another_browser).status for _ in range(PER_ACCOUNT.free_tries)]

    assert statuses == [403] * PER_ACCOUNT.free_tries


def test_an_unknown_user_has_to_wait_just_the_same(stranger):
    statuses = [try_password(stranger, user="somebody").status for _ in range(PER_ACCOUNT.free_tries + 1)]

    assert statuses == [403] * PER_ACCOUNT.free_tries + [429]


def test_an_attacker_does_not_keep_the_shopkeepers_own_browser_out(app, shopkeeper):
    shopkeeper.get("/admin/").send("/admin/logout")
    attacker = Visitor(app.test_client())
    while try_password(attacker).status != 429:
        pass

    assert try_password(shopkeeper, PASSWORD).status == 303


def test_a_browser_that_was_logged_in_is_slowed_down_by_its_own_failures(shopkeeper):
    shopkeeper.get("/admin/").send("/admin/logout")

    statuses = [try_password(shopkeeper).status for _ in range(PER_ADDRESS.free_tries + 1)]

    assert statuses == [403] * PER_ADDRESS.free_tries + [429]


def test_one_address_that_fails_too_often_waits_and_another_does_not(app, stranger):
    statuses = [
        try_password(stranger, user=f"user {number}", environ_overrides=FAR_AWAY).status
        for number in range(PER_ADDRESS.free_tries + 1)
    ]
    assert statuses == [403] * PER_ADDRESS.free_tries + [429]

    assert try_password(stranger, PASSWORD, environ_overrides=SOMEWHERE_ELSE).status == 303


def test_the_addresses_of_one_ipv6_network_count_as_one(stranger):
    statuses = [
        try_password(
            stranger, user=f"user {number}", environ_overrides={"REMOTE_ADDR": f"2001:db8:0:1::{number:x}"}
        ).status
        for number in range(PER_ADDRESS.free_tries + 1)
    ]

    assert statuses[-1] == 429
    assert try_password(stranger, environ_overrides={"REMOTE_ADDR": "2001:db8:0:2::1"}).status == 403


def test_a_header_does_not_make_another_address(stranger):
    statuses = [
        try_password(
            stranger,
            user=f"user {number}",
            environ_overrides=FAR_AWAY,
            headers={"X-Forwarded-For": f"192.0.2.{number}"},
        ).status
        for number in range(PER_ADDRESS.free_tries + 1)
    ]

    assert statuses[-1] == 429


# ---- where to


GOOD_TARGETS = ["/admin/", "/admin", "/admin/products", "/admin/orders/A1-10001", "/admin/orders?status=placed&q=a%20b"]
BAD_TARGETS = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "http:/admin/",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "@evil.example",
    "/admin@evil.example",
    "/admin//evil.example",
    "/admin/..//evil.example",
    "/admin/../../evil.example",
    "/admin/./products",
    "/admin\\evil.example",
    "/admin/\t//evil.example",
    "/admin/\nLocation: https://evil.example",
    "/admin/\r\nSet-Cookie: a=b",
    "\t/admin/",
    " /admin/",
    "/admin/\0",
    "/admin/%0a",
    "/administrator",
    "/cart",
    "/",
    "",
    "/admin/login",
    "/admin/logout",
    "/admin/login?next=/admin/login",
    "/admin/#//evil.example",
    "/admin/" + "x" * 1000,
    "/admin/\u2028",
    "/admin/\uff0f\uff0fevil.example",
]


@pytest.mark.parametrize("target", GOOD_TARGETS)
def test_the_login_leads_to_where_one_wanted_to_go(stranger, target):
    page = stranger.get(LOGIN, next=target).send(LOGIN, password=PASSWORD)

    assert page.location == target


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_the_login_leads_nowhere_else(stranger, target):
    asked = stranger.get(LOGIN, next=target)
    typed = asked.send(LOGIN, password=PASSWORD, next=target)

    assert asked.fields(LOGIN)["next"] == ""
    assert (typed.status, typed.location) == (303, "/admin/")
    assert stranger.get(LOGIN, next=target).location == "/admin/", "also for who is inside"


def test_a_page_that_was_asked_for_is_there_after_the_login(stranger):
    asked = stranger.get("/admin/orders?status=sent&q=test")

    page = asked.follow().send(LOGIN, password=PASSWORD)

    assert page.location == "/admin/orders?status=sent&q=test"
    assert page.follow().heading == "Orders"


def test_a_form_without_a_session_leads_back_to_its_page(stranger):
    token = stranger.get(LOGIN).fields(LOGIN)["csrf_token"]

    answer = stranger.post(
        "/admin/replication/pause", {"csrf_token": token}, headers={"Referer": "http://localhost/admin/replication"}
    )
    elsewhere = stranger.post(
        "/admin/replication/pause", {"csrf_token": token}, headers={"Referer": "http://evil.example/admin/orders"}
    )

    assert answer.location == "/admin/login?next=/admin/replication"
    assert elsewhere.location == "/admin/login"


def test_what_was_typed_goes_through_the_login(shopkeeper, clock, repository):
    product = a_product(name="Teapot")
    keep_products(repository, product)
    path = f"/admin/products/{product.id}"
    form = shopkeeper.get(path)
    clock.advance(IDLE_SECONDS_MAX)

    turned_away = form.send(path, name="Better teapot", description="Two\r\nlines")
    assert turned_away.status == 403
    assert turned_away.heading == "Log in"
    slip = turned_away.send(LOGIN, password=WRONG_PASSWORD)
    inside = slip.send(LOGIN, password=PASSWORD)
    assert inside.heading == "You are logged in again"
    assert product_in(repository, product).name == "Teapot"
    saved = inside.send(path)

    assert saved.status == 303
    assert product_in(repository, product).name == "Better teapot"
    assert product_in(repository, product).description == "Two\nlines"


# ---- what the log tells


def test_the_log_tells_of_logins_and_never_a_password_or_a_name(stranger):
    with capture_logs() as lines:
        try_password(stranger, WRONG_PASSWORD, user="typed into the wrong field")
        log_in(stranger)
        stranger.get("/admin/").send("/admin/logout")

    assert [line["event"] for line in lines] == ["login failed", "login ok", "logout"]
    told = repr(lines)
    assert PASSWORD not in told and WRONG_PASSWORD not in told and "typed into" not in told
