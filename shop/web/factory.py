"""The Flask application over the parts it is handed. It opens nothing and starts nothing."""

from pathlib import Path

from flask import Flask
from flask_wtf.csrf import CSRFProtect

from shop.web import (
    admin_auth,
    admin_orders,
    admin_products,
    cart,
    catalog,
    checkout,
    control,
    machines,
    orders,
    replication,
)
from shop.web.services import Services

ROOT = Path(__file__).resolve().parents[2]

csrf = CSRFProtect()


def create_app(services: Services, *, secret_key: str) -> Flask:
    """The application; *secret_key* signs cookies and links."""
    app = Flask("shop", root_path=str(ROOT), template_folder="templates", static_folder="static")
    app.extensions["antipode"] = services
    app.config.update(
        SECRET_KEY=secret_key,
        MAX_CONTENT_LENGTH=1024 * 1024,
        MAX_FORM_PARTS=200,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    csrf.init_app(app)
    for module in (
        catalog,
        cart,
        checkout,
        orders,
        admin_auth,
        admin_products,
        admin_orders,
        replication,
        machines,
        control,
    ):
        app.register_blueprint(module.bp)
    return app
