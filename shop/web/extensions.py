"""Flask's extensions, one of each, bound to an application by `factory.create_app`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask, current_app, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect

from shop.web import cookies

P = ParamSpec("P")
R = TypeVar("R")


class _Protection(CSRFProtect):  # type: ignore[misc]
    def protect(self, apply_exemptions: bool = False) -> None:
        """As the extension does, without its work where nothing is sent, or the token is the very one that was handed out."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        if not request.is_secure and tokens.is_own(request.form.get(cookies.TOKEN_KEY, "")):
            return
        super().protect(apply_exemptions)


tokens = cookies.Tokens()
csrf = _Protection()


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


def limited(setting: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The limit by address that stands in the application's settings under that name, for a view; not for this machine."""

    def around(view: Callable[P, R]) -> Callable[P, R]:
        checked = limiter.limit(rate(setting))(view)

        @wraps(view)
        def answer(*args: P.args, **kwargs: P.kwargs) -> R:
            return view(*args, **kwargs) if is_from_this_machine() else checked(*args, **kwargs)

        return answer

    return around
