"""What every response says to the browser, whoever made it: the pages, the errors, the static files."""

import re
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from werkzeug.exceptions import SecurityError

from shop.config import Config

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # not stricter: on https the CSRF check wants to see where a form came from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
_ALWAYS = [(name.lower(), (name, value)) for name, value in HEADERS.items()]
# Whatever does not say otherwise may hold somebody's cart, address or orders.
_NOT_KEPT = ("cache-control", ("Cache-Control", "no-store"))
_STAY_SECURE = ("strict-transport-security", ("Strict-Transport-Security", "max-age=31536000"))
_PORT = re.compile(r":[0-9]+$")
EVERY_ADDRESS = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - recognised here, not bound to


def register(app: Flask, config: Config) -> None:
    app.wsgi_app = saying(app.wsgi_app)  # type: ignore[assignment, method-assign]
    names = trusted_hosts(config.host)

    @app.before_request
    def _answer_to_own_names() -> None:
        # Flask's TRUSTED_HOSTS cannot name an IPv6 address: it cuts each name at its first colon.
        if names is not None and _PORT.sub("", request.host).lower() not in names:
            raise SecurityError


def trusted_hosts(host: str) -> frozenset[str] | None:
    """The names the shop answers to; None for any, when it listens on every address and cannot know its names."""
    if host in EVERY_ADDRESS:
        return None
    own = f"[{host}]" if ":" in host and not host.startswith("[") else host.lower()
    return frozenset(("localhost", "127.0.0.1", "[::1]", own))


def saying(application: WSGIApplication) -> WSGIApplication:
    """*application* with the headers in each of its answers, where the answer does not say otherwise.

    Around the application and not inside it: there each header would be looked at again and again, with every request.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            said = {name.lower() for name, _ in headers}
            more = [header for lower, header in _missing(environ) if lower not in said]
            return start_response(status, headers + more, exc_info)

        return application(environ, start)

    return answer


def _missing(environ: WSGIEnvironment) -> list[tuple[str, tuple[str, str]]]:
    """What an answer says that does not say otherwise itself."""
    headers = _ALWAYS
    if not environ["PATH_INFO"].startswith("/static/"):
        headers = [*headers, _NOT_KEPT]
    if environ["wsgi.url_scheme"] == "https":
        headers = [*headers, _STAY_SECURE]
    return headers
