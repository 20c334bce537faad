"""Links that only this shop can make: whoever holds one may see the order it leads to, without an account."""

from hashlib import sha256

from flask import current_app
from itsdangerous import Signer


def order_address(number: str) -> str:
    """The address of an order for its customer; the token in it is all that is needed to see the order."""
    return f"/orders/{number}?token={_signer().get_signature(number).decode()}"


def is_order_token(number: str, token: str) -> bool:
    """Whether *token* was made by this shop for that order, be the order still there or not."""
    return _signer().verify_signature(number, token.encode("utf-8", "replace"))


def _signer() -> Signer:
    return Signer(current_app.secret_key or "", salt="antipode.order-link", key_derivation="hmac", digest_method=sha256)
