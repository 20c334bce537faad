"""Ids that nobody can guess and no two copies of the shop can both issue."""

import secrets


def new_id() -> str:
    """Sixteen hexadecimal characters, for a record."""
    return secrets.token_hex(8)


def new_checkout_key() -> str:
    """Thirty-two hexadecimal characters: at most one order is ever made of it."""
    return secrets.token_hex(16)
