"""Imports point down: app -> web -> replication -> repository -> store, and the shop's own rules import none of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WEB_FRAMEWORK = ("flask", "flask_limiter", "flask_wtf", "jinja2", "werkzeug", "wtforms")
POSTGRESQL = ("psycopg", "psycopg_pool")
ABOVE_ALL = ("app", "bench", "tests")
# Drills know the contracts alone, so that each of them runs on whatever keeps them.
IMPLEMENTATIONS = (
    "shop.repository.embedded",
    "shop.repository.postgres",
    *(f"shop.replication.{path.stem}" for path in (ROOT / "shop/replication").iterdir() if path.stem != "contract"),
)
ASSEMBLY = "shop/assembly/*.py"  # joins everything; imported by app.py alone

# The most specific pattern holds. A name stands for itself and everything in it.
MAY_NOT_IMPORT = {
    "shop/*.py": (
        *WEB_FRAMEWORK,
        *POSTGRESQL,
        "shop.repository",
        "shop.store",
        "shop.replication",
        "shop.drills",
        "shop.web",
    ),
    "shop/cluster/*.py": (
        *WEB_FRAMEWORK,
        "shop.repository",
        "shop.store",
        "shop.replication",
        "shop.drills",
        "shop.web",
    ),
    "shop/demo/*.py": (*WEB_FRAMEWORK, *POSTGRESQL, "shop.store", "shop.replication", "shop.drills", "shop.web"),
    "shop/store/*.py": (
        *WEB_FRAMEWORK,
        *POSTGRESQL,
        "shop.models",
        "shop.repository",
        "shop.replication",
        "shop.drills",
        "shop.web",
    ),
    "shop/repository/postgres/*.py": (*WEB_FRAMEWORK, "shop.store", "shop.replication", "shop.drills", "shop.web"),
    "shop/repository/*.py": (*WEB_FRAMEWORK, "shop.replication", "shop.drills", "shop.web"),
    "shop/replication/*.py": (*WEB_FRAMEWORK, *POSTGRESQL, "shop.drills", "shop.web"),
    "shop/replication/postgres/*.py": (*WEB_FRAMEWORK, "shop.drills", "shop.web"),
    ASSEMBLY: (*POSTGRESQL, "immutables", "waitress"),
    "shop/drills/*.py": (*WEB_FRAMEWORK, *POSTGRESQL, "shop.store", "shop.web", *IMPLEMENTATIONS),
    "shop/web/*.py": (*POSTGRESQL, "shop.store"),
}

# What may change under our feet is known to one module each.
KNOWN_TO_ONE = {
    "apprise": "shop/replication/notify.py",
    "apscheduler": "shop/replication/schedule.py",
    "immutables": "shop/store/maps.py",
}


def imports(source: str, path: str) -> Iterator[str]:
    """Every dotted name that *source* imports, wherever in it, as if it stood at *path*.

    `from shop import store` imports `shop` and perhaps `shop.store`: both are told.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, path)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield from (name.value for name in node.args[:1] if isinstance(name, ast.Constant))


def absolute(node: ast.ImportFrom, path: str) -> str:
    package = Path(path).parent.parts
    above = package[: len(package) - node.level + 1] if node.level else ()
    return ".".join([*above, *filter(None, [node.module])])


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_within(name: str, banned: str) -> bool:
    return name == banned or name.startswith(f"{banned}.")


def violations(source: str, path: str) -> list[str]:
    banned = (
        *MAY_NOT_IMPORT[rule_for(path)],
        *ABOVE_ALL,
        *(() if rule_for(path) == ASSEMBLY else ("shop.assembly",)),
        *(name for name in KNOWN_TO_ONE if KNOWN_TO_ONE[name] != path),
    )
    return sorted({name for name in imports(source, path) for ban in banned if is_within(name, ban)})


def rule_for(path: str) -> str:
    return f"{Path(path).parent}/*.py"


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "shop").rglob("*.py"))


def test_every_folder_has_its_rule():
    assert {rule_for(path) for path in modules()} <= MAY_NOT_IMPORT.keys()
    assert len(modules()) > 30


@pytest.mark.parametrize("path", modules())
def test_a_module_imports_only_what_is_below_it(path):
    assert violations((ROOT / path).read_text(), path) == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("shop/orders.py", "import flask", "flask"),
        ("shop/orders.py", "import shop.store.journal as j", "shop.store.journal"),
        ("shop/orders.py", "from shop import store", "shop.store"),
        ("shop/orders.py", "from shop import (\n    cart,\n    store,\n)", "shop.store"),
        ("shop/orders.py", "from . import store", "shop.store"),
        ("shop/orders.py", "from .store import Store", "shop.store"),
        ("shop/orders.py", "from shop.store import *", "shop.store"),
        ("shop/orders.py", "def f():\n    from shop.web import forms", "shop.web.forms"),
        ("shop/orders.py", "if TYPE_CHECKING:\n    from flask import Flask", "flask"),
        ("shop/orders.py", "try:\n    import psycopg\nexcept ImportError:\n    pass", "psycopg"),
        ("shop/orders.py", "import app", "app"),
        ("shop/orders.py", "import importlib\nimportlib.import_module('shop.web')", "shop.web"),
        ("shop/demo/seed.py", "from shop.store import Store", "shop.store"),
        ("shop/store/store.py", "from shop.models import Order", "shop.models"),
        ("shop/store/store.py", "from ..models import Order", "shop.models"),
        ("shop/store/store.py", "from .. import models", "shop.models"),
        ("shop/store/store.py", "import immutables", "immutables"),
        ("shop/repository/embedded.py", "from shop.replication import contract", "shop.replication"),
        ("shop/replication/replicator.py", "from flask import current_app", "flask"),
        ("shop/replication/replicator.py", "from apscheduler.schedulers import background", "apscheduler.schedulers"),
        ("shop/drills/bench.py", "from shop.replication.failover import promote", "shop.replication.failover"),
        ("shop/drills/bench.py", "from shop.repository import embedded", "shop.repository.embedded"),
        ("shop/replication/verify.py", "from shop.drills import runner", "shop.drills"),
        ("shop/web/catalog.py", "from ..store import Store", "shop.store"),
        ("shop/web/catalog.py", "import apscheduler", "apscheduler"),
        ("shop/web/catalog.py", "from tests.builders import a_product", "tests.builders"),
    ],
)
def test_the_walk_notices_an_import_that_points_up(path, source, found):
    assert found in violations(source, path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shop/orders.py", "from shop import cart, errors\nimport flasks\nfrom shop.storefront import x"),
        ("shop/store/store.py", "from . import journal\nfrom shop.clock import Clock"),
        ("shop/store/maps.py", "import immutables"),
        ("shop/replication/schedule.py", "from apscheduler.triggers.interval import IntervalTrigger"),
        ("shop/replication/replicator.py", "from shop.store import Store"),
        ("shop/web/catalog.py", "from shop.repository.contract import Repository\nimport flask"),
    ],
)
def test_the_walk_lets_an_import_that_points_down_be(path, source):
    assert violations(source, path) == []
