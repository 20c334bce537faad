"""The Flask application over the parts it is handed. It opens nothing and starts nothing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import StrictUndefined

from shop.web import (
    admin_auth,
    admin_categories,
    admin_orders,
    admin_products,
    assets,
    audit,
    cart,
    catalog,
    checkout,
    control,
    cookies,
    drills,
    errors,
    failover,
    farside,
    filters,
    fragments,
    headers,
    laboratory,
    machines,
    notices,
    orders,
    rates,
    replication,
    stage,
    visitor,
)
from shop.web.extensions import csrf, limiter, tokens
from shop.web.services import Services

ROOT = Path(__file__).resolve().parents[2]
BODY_BYTES_MAX = 1024 * 1024


class Shop(Flask):
    """Flask, without asking of each function before each call whether it is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(services: Services, *, secret_key: str) -> Flask:
    """The application; *secret_key* signs cookies and links."""
    app = Shop("shop", root_path=str(ROOT), template_folder="templates", static_folder="static")
    app.extensions["antipode"] = services
    app.config.update(_settings(secret_key))
    app.config.update(rates.settings(services.shared.counters if services.shared else None))
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    headers.register(app, services.config)
    errors.register(app)
    filters.register(app)
    assets.register(app)
    visitor.register(app)
    farside.register(app)
    app.session_interface = cookies.Sessions(app)
    csrf.init_app(app)
    fragments.register(app, token=tokens.token, messages=visitor.messages)
    limiter.init_app(app)
    notices.register(app)
    for module in (
        catalog,
        farside,
        cart,
        checkout,
        orders,
        admin_auth,
        admin_categories,
        admin_products,
        admin_orders,
        replication,
        stage,
        audit,
        failover,
        laboratory,
        drills,
        machines,
        control,
    ):
        app.register_blueprint(module.bp)
    return app


def _settings(secret_key: str) -> dict[str, object]:
    return {
        "SECRET_KEY": secret_key,
        "MAX_CONTENT_LENGTH": BODY_BYTES_MAX,
        "MAX_FORM_PARTS": 200,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_REFRESH_EACH_REQUEST": False,  # a cookie is sent when something changed, not with every page
        "PERMANENT_SESSION_LIFETIME": timedelta(days=30),
        "CART_ADDS_PER_ADDRESS": "120 per minute",  # a visitor's first one makes a record
        "ORDERS_PER_ADDRESS": "30 per minute",
        "STAGE_LOOKS_PER_ADDRESS": "120 per minute",  # a page that reloads itself takes 30; behind one address may be a class
        "WTF_CSRF_TIME_LIMIT": None,  # a token is good as long as its session: a cart left open overnight still works
    }
