"""Refusals and faults become pages here, once.

A `ShopError` is a refusal: its sentence and its status are the page. An `HTTPException` is Flask's refusal and is put in
plain words. Anything else is a fault: Flask has logged it with its traceback, and the page is an apology with the number
under which it is in the log.
"""

import secrets
from collections.abc import Sequence

from flask import Flask, render_template, request
from flask.typing import ResponseReturnValue
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shop.errors import ShopError, TooManyRequests, Unavailable
from shop.logs import REQUEST_ID

TITLES = {
    400: "That did not work",
    403: "This is not for visitors",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "Something changed meanwhile",
    413: "That is too large",
    414: "That address is too long",
    429: "A moment, please",
    500: "Something went wrong on our side",
    503: "Not just now",
}
SENTENCES = {
    400: "The shop could not make sense of that request. Nothing was changed.",
    403: "You may not see or do this.",
    404: "The page may have moved, or the address has a slip in it.",
    405: "This address does not take that kind of request. Nothing was changed.",
    413: "What was sent is larger than this shop accepts. Nothing was changed.",
    414: "The address is longer than this shop accepts.",
    429: "That was more often than the shop can take from one visitor. Nothing was changed; please wait and try again.",
}
FORM_EXPIRED = (
    "Nothing was changed. The page was open for a long time, or your browser does not keep this shop's cookies."
)


def register(app: Flask) -> None:
    app.register_error_handler(ShopError, refusal)
    app.register_error_handler(CSRFError, forged_or_expired)
    app.register_error_handler(RateLimitExceeded, too_often)
    app.register_error_handler(HTTPException, http_refusal)
    app.register_error_handler(500, fault)


def refusal(error: ShopError) -> ResponseReturnValue:
    """The page of a `ShopError` that no view turned into something better."""
    retry_seconds = error.retry_seconds if isinstance(error, TooManyRequests | Unavailable) else None
    return _page(error.status, error.message, retry_seconds=retry_seconds)


def http_refusal(error: HTTPException) -> ResponseReturnValue:
    code = error.code or 500
    if code < 400 or error.response is not None:
        return error  # a redirect, or a view that has its own answer
    headers = {"Allow": ", ".join(sorted(error.valid_methods or ()))} if isinstance(error, MethodNotAllowed) else {}
    return _page(code, SENTENCES.get(code, "The shop cannot answer that."), headers=headers)


def too_often(error: RateLimitExceeded) -> ResponseReturnValue:
    return _page(429, SENTENCES[429], retry_seconds=error.limit.limit.get_expiry())


def forged_or_expired(error: CSRFError) -> ResponseReturnValue:
    """A form without a good token. If the browser vouches that this shop's own page sent it, it may be sent again."""
    fields = _fields_to_send_again() if _is_from_our_own_page() else None
    page = render_template("errors/form_expired.html", sentence=FORM_EXPIRED, fields=fields, action=request.path)
    return page, 400


def fault(error: Exception) -> ResponseReturnValue:
    return _page(
        500,
        "We are sorry. What you did may or may not have been kept; please look before you try again.",
        request_id=request.environ.get(REQUEST_ID) or secrets.token_hex(6),
    )


def _page(
    status: int,
    sentence: str,
    *,
    retry_seconds: int | None = None,
    request_id: str = "",
    headers: dict[str, str] | None = None,
) -> ResponseReturnValue:
    page = render_template(
        "errors/show.html",
        status=status,
        heading=TITLES.get(status, TITLES[400]),
        sentence=sentence,
        retry_seconds=retry_seconds,
        request_id=request_id,
    )
    return page, status, {**(headers or {}), **({"Retry-After": str(retry_seconds)} if retry_seconds else {})}


def _is_from_our_own_page() -> bool:
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _fields_to_send_again() -> Sequence[tuple[str, str]]:
    return [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name != "csrf_token" and "password" not in name
    ]
