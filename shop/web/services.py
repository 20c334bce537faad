"""What the views are handed: the parts that `app.py` joined, found through the application."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from shop.access import Shared
from shop.clock import Clock
from shop.config import Config
from shop.drills.runner import Drills
from shop.replication.contract import Alerts, Audit, Failover, FarReads, Laboratory, Replication
from shop.repository.contract import Repository


@dataclass(frozen=True)
class Services:
    """The parts behind the pages."""

    config: Config
    clock: Clock
    repository: Repository
    replication: Replication
    failover: Failover | None = None  # None: roles cannot be changed here
    laboratory: Laboratory | None = None  # None: the link has no knobs
    reads: FarReads | None = None  # None: all pages are the primary's
    alerts: Alerts | None = None  # None: nobody watches
    audit: Audit | None = None  # None: nothing is noted
    drills: Drills | None = None  # None: nothing is broken on purpose
    shared: Shared | None = None  # None: one process serves the shop, and keeps logins and counters in its memory


def services() -> Services:
    """The parts of the running application."""
    return services_of(running_app())


def running_app() -> Flask:
    """The application itself, for who asks with every request: an attribute of Flask's stand-in for it takes seven times as long."""
    return cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]


def services_of(app: Flask) -> Services:
    """The same for who is called with every request and knows the application."""
    return cast(Services, app.extensions["antipode"])
