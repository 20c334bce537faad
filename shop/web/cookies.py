"""The visitor's signed cookie and the tokens of forms, each signature worked out once.

A browser sends the same cookie with every page, and the same text has the same signature for as long as the key is the same: so
what was found good may be remembered under the whole text, signature included. A bad one is never remembered, and the age of a
good one is looked at each time.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from hmac import compare_digest
from secrets import token_hex
from typing import Any

from flask import Flask, Request, Response, current_app, g, session
from flask import request as current_request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import generate_csrf
from itsdangerous import BadSignature, URLSafeTimedSerializer

TOKEN_KEY = "csrf_token"  # noqa: S105 - the name of a field
REMEMBERED = 4096  # cookies, and tokens; the least recently used go first


class Sessions(SecureCookieSessionInterface):
    """The visitor's signed cookie: `__Host-` and `Secure` on https, where a browser takes them, plain on http."""

    def __init__(self, app: Flask) -> None:
        serializer = super().get_signing_serializer(app)
        if serializer is None:
            raise RuntimeError("The application has no secret key.")
        self._serializer = serializer
        self._read: Callable[[str], tuple[dict[str, Any], int]] = lru_cache(REMEMBERED)(_reader(serializer))
        self._age_max = int(app.permanent_session_lifetime.total_seconds())

    def get_cookie_name(self, app: Flask) -> str:
        name = super().get_cookie_name(app)
        return f"__Host-{name}" if current_request.is_secure else name

    def get_cookie_secure(self, app: Flask) -> bool:
        return current_request.is_secure

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        return self._serializer

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession:
        """What the cookie says; an empty session for no cookie, a forged one and one past its age."""
        value = request.cookies.get(self.get_cookie_name(app))
        if not value:
            return self.session_class()
        try:
            said, signed_at = self._read(value)
        except BadSignature:
            return self.session_class()
        if not 0 <= int(time.time()) - signed_at <= self._age_max:
            return self.session_class()
        return self.session_class({name: _own(value) for name, value in said.items()})

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.modified or self.should_set_cookie(app, session):
            super().save_session(app, session, response)
        elif session.accessed:
            response.vary.add("Cookie")


class Tokens:
    """The tokens of forms, each signed once. A page and the form that comes back from it meet the same one."""

    def __init__(self) -> None:
        self._signed = lru_cache(REMEMBERED)(self._sign)

    def token(self) -> str:
        """The token of this visitor's forms; the first one begins a session."""
        raw = session.get(TOKEN_KEY)
        if not isinstance(raw, str):
            raw = session[TOKEN_KEY] = token_hex(20)
        return self._signed(raw, current_app.secret_key)

    def is_own(self, token: str) -> bool:
        """Whether it is the token that this visitor's pages carry. Another one may be good as well: it has to be checked."""
        raw = session.get(TOKEN_KEY)
        if not isinstance(raw, str) or not token:
            return False
        return compare_digest(self._signed(raw, current_app.secret_key).encode(), token.encode("utf-8", "replace"))

    def _sign(self, _raw: str, _key: object) -> str:
        g.pop(TOKEN_KEY, None)  # the extension's own memory, perhaps of before the session changed
        return str(generate_csrf())  # of the session, that is of _raw


def _reader(serializer: URLSafeTimedSerializer) -> Callable[[str], tuple[dict[str, Any], int]]:
    def read(value: str) -> tuple[dict[str, Any], int]:
        said, signed_at = serializer.loads(value, return_timestamp=True)
        return said, int(signed_at.timestamp())

    return read


def _own(value: Any) -> Any:
    """A copy that a request may change; most of what a session holds cannot be changed anyway."""
    return value if isinstance(value, str | int) else deepcopy(value)
