"""Flask's extensions, one of each, bound to an application by `factory.create_app`."""

from collections.abc import Callable

from flask import current_app, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect

csrf = CSRFProtect()


def _address() -> str:
    return request.remote_addr or ""


def is_from_this_machine() -> bool:
    """Whether the caller is on the loopback: a proxy there speaks for everybody, so its address says nothing about one."""
    address = _address().removeprefix("::ffff:")
    return address == "::1" or address.startswith("127.")


def rate(setting: str) -> Callable[[], str]:
    """The limit that stands in the application's settings under that name, for `limiter.limit`."""
    return lambda: str(current_app.config[setting])


class _RouteLimits(Limiter):
    """Limits of single routes, which their decorators check. There are none for all routes: nothing is looked up before each page."""

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)


# Counters in memory are right because one process serves the shop.
limiter = _RouteLimits(key_func=_address, storage_uri="memory://", headers_enabled=False)
