"""The admin of a test shop: how to be one."""

from flask import Flask

from shop import admins
from shop.passwords import hash_password
from shop.repository.contract import Repository
from tests.builders import NOW
from tests.web.visitor import Page, Visitor

PASSWORD = "a password for tests"
PASSWORD_HASH = hash_password(PASSWORD)
LOGIN = "/admin/login"


def keep_admin(repository: Repository, password_hash: str = PASSWORD_HASH) -> None:
    """Let *password_hash* decide who is the admin."""
    with repository.update() as unit:
        admins.set_password_hash(unit, password_hash, now=NOW)


def log_in(visitor: Visitor) -> Page:
    page = visitor.get(LOGIN).send(LOGIN, user="admin", password=PASSWORD)
    assert page.status == 303, page.text
    return page


def logged_in(app: Flask) -> Visitor:
    """The admin in a browser of their own."""
    visitor = Visitor(app.test_client())
    log_in(visitor)
    return visitor
