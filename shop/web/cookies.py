"""The visitor's signed cookie and the tokens of forms, each signature worked out once.

A browser sends the same cookie with every page, and the same text has the same signature for as long as the key is the same: so
what was signed here or found good may be remembered under the whole text, signature included. A bad one is never remembered, and
the age of a good one is looked at each time.
"""

import threading
import time
from functools import cached_property, lru_cache
from hashlib import sha1
from hmac import compare_digest
from secrets import token_hex
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g, session
from flask import request as current_request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import generate_csrf
from itsdangerous import BadSignature, TimestampSigner, URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode
from msgspec import json
from werkzeug.sansio.http import parse_cookie  # the other one raises on bytes that are no UTF-8

TOKEN_KEY = "csrf_token"  # noqa: S105 - the name of a field
REMEMBERED = 4096  # cookies, and tokens


class _Serializer(URLSafeTimedSerializer):
    """Flask's, for what a session of the shop holds: texts, numbers, and lists and mappings of them. What Flask wrote is read as well.

    Written plainly: keeping other types apart, and compressing two hundred characters, takes longer than all the rest. A signer has no
    state, so that one will do.
    """

    def dump_payload(self, obj: Any, *_args: Any, **_more: Any) -> bytes:
        return base64_encode(json.encode(obj))

    def make_signer(self, salt: str | bytes | None = None) -> TimestampSigner:
        return self._signer

    @cached_property
    def _signer(self) -> TimestampSigner:
        return cast(TimestampSigner, super().make_signer())


class Sessions(SecureCookieSessionInterface):
    """The visitor's signed cookie: `__Host-` and `Secure` on https, where a browser takes them, plain on http."""

    def __init__(self, app: Flask) -> None:
        if not app.secret_key:
            raise RuntimeError("The application has no secret key.")
        self._serializer = _Serializer(
            app.secret_key,
            salt=self.salt,
            serializer=self.serializer,
            signer_kwargs={"key_derivation": self.key_derivation, "digest_method": sha1},
        )
        self._known = _Known()
        self._age_max = int(app.permanent_session_lifetime.total_seconds())

    def get_cookie_name(self, app: Flask) -> str:
        name = super().get_cookie_name(app)
        return f"__Host-{name}" if current_request.is_secure else name

    def get_cookie_secure(self, app: Flask) -> bool:
        return current_request.is_secure

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        return self._serializer

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession:
        """What the cookie says; an empty session for no cookie, a forged one, one past its age and one that says what a session cannot."""
        value = parse_cookie(request.environ.get("HTTP_COOKIE", "")).get(self.get_cookie_name(app))
        if not value:
            return self.session_class()
        try:
            said, signed_at = self._known.get(value) or self._read(value)
        except (BadSignature, TypeError, ValueError):
            return self.session_class()
        if not 0 <= int(time.time()) - signed_at <= self._age_max:
            return self.session_class()
        return self.session_class(json.decode(said))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """As Flask does; the cookie that is sent comes back with the next request and need not be read then."""
        is_sent = bool(session) and self.should_set_cookie(app, session)
        if session.accessed or is_sent:
            _vary_by_cookie(response)
        if session.modified and not session:
            super().save_session(app, session, response)  # takes the cookie back
        elif is_sent:
            response.set_cookie(
                self.get_cookie_name(app),
                self._sign(session),
                expires=self.get_expiration_time(app, session),
                httponly=self.get_cookie_httponly(app),
                domain=self.get_cookie_domain(app),
                path=self.get_cookie_path(app),
                secure=self.get_cookie_secure(app),
                partitioned=self.get_cookie_partitioned(app),
                samesite=self.get_cookie_samesite(app),
            )

    def _read(self, value: str) -> "_Said":
        """Raises `BadSignature`; TypeError or ValueError for what an older release could keep in a session and this one cannot."""
        said, signed_at = self._serializer.loads(value, return_timestamp=True)
        if not isinstance(said, dict):
            raise TypeError(said)
        return self._known.put(value, said, int(signed_at.timestamp()))

    def _sign(self, session: SessionMixin) -> str:
        signed_at = int(time.time())
        value = str(self._serializer.dumps(dict(session)))
        self._known.put(value, dict(session), signed_at)
        return value


_Said = tuple[bytes, int]  # what a cookie says, and when it was signed in Unix time


class _Known:
    """Good cookies, as texts: each request reads a copy of its own. Safe from many threads; the oldest go first, and are read again."""

    def __init__(self) -> None:
        self._said: dict[str, _Said] = {}
        self._lock = threading.Lock()  # for putting

    def get(self, value: str) -> _Said | None:
        return self._said.get(value)

    def put(self, value: str, said: dict[str, Any], signed_at: int) -> _Said:
        known = (json.encode(said), signed_at)
        with self._lock:
            if len(self._said) >= REMEMBERED:
                del self._said[next(iter(self._said))]
            self._said[value] = known
        return known


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


def _vary_by_cookie(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Cookie")
    else:  # the same, without taking a header apart that is not there
        response.headers["Vary"] = "Cookie"
