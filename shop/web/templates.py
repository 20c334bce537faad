"""The templates made ready before anybody asks for them."""

from flask import Flask


def compile_all(app: Flask) -> None:
    """Translate every template to Python now, which the first visitor of each page would have to wait for."""
    for name in sorted(app.jinja_env.list_templates(), key=_for_the_shopkeeper):
        app.jinja_env.get_template(name)


def _for_the_shopkeeper(name: str) -> bool:
    """Visitors come first."""
    return name.startswith(("admin/", "replication/"))
