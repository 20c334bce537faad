"""What every response says to the browser, whoever made it: the pages, the errors, the static files."""

import re

from flask import Flask, Request, Response, request
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
    app.after_request(_say)
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


def _say(response: Response) -> Response:
    # One look at what is there, and one change: looking for each header in turn would be dear, for it is done with every request.
    said = {name.lower() for name, _ in response.headers}
    response.headers.extend([header for lower, header in _missing(request) if lower not in said])
    return response


def _missing(of: Request) -> list[tuple[str, tuple[str, str]]]:
    """What a response says that does not say otherwise itself."""
    headers = _ALWAYS
    if of.endpoint != "static":
        headers = [*headers, _NOT_KEPT]
    if of.is_secure:
        headers = [*headers, _STAY_SECURE]
    return headers
