"""Links that only this shop can make: whoever holds one may see the order it leads to, without an account."""

from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest

from flask import current_app
from itsdangerous import Signer


def order_address(number: str) -> str:
    """The address of an order for its customer; the token in it is all that is needed to see the order."""
    return address_with(number, _token_of(number).decode())


def address_with(number: str, token: str) -> str:
    """The same for who has a good token of the order."""
    return f"/orders/{number}?token={token}"


def is_order_token(number: str, token: str) -> bool:
    """Whether *token* was made by this shop for that order, be the order still there or not."""
    # As texts: the same bytes can be written in many ways in base64.
    return compare_digest(_token_of(number), token.encode("utf-8", "replace"))


def _token_of(number: str) -> bytes:
    return _signer(current_app.secret_key).get_signature(number)


@lru_cache(1)
def _signer(key: str | bytes | None) -> Signer:
    return Signer(key or "", salt="antipode.order-link", key_derivation="hmac", digest_method=sha256)
