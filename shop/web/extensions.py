"""Flask's extensions, one of each, bound to an application by `factory.create_app`."""

from collections.abc import Callable
from typing import Any, cast

from flask import Flask, current_app, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect


class _Tokens(CSRFProtect):  # type: ignore[misc]
    def protect(self, apply_exemptions: bool = False) -> None:
        if request.method not in (
            "GET",
            "HEAD",
            "OPTIONS",
        ):  # the extension looks at much before it looks at the method
            super().protect(apply_exemptions)


csrf = _Tokens()


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
    """Limits of single routes, which their decorators check.

    There is none for all routes and no header to send, so that the work of the extension's hooks around every request is left out.
    """

    def init_app(self, app: Flask) -> None:
        super().init_app(app)
        for functions in (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs):
            del cast(dict[None, list[Any]], functions)[None][-1]


# Where the counters stand is the application's setting: see `rates`.
limiter = _RouteLimits(key_func=_address, headers_enabled=False)
