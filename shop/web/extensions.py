"""Flask's extensions, one of each, bound to an application by `factory.create_app`."""

from flask import request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect

csrf = CSRFProtect()


def _address() -> str:
    return request.remote_addr or ""


def is_from_this_machine() -> bool:
    """Whether the caller is on the loopback: a proxy there speaks for everybody, so its address says nothing about one."""
    address = _address()
    return address == "::1" or address.startswith("127.")


# Counters in memory are right because one process serves the shop.
limiter = Limiter(key_func=_address, storage_uri="memory://", headers_enabled=False)
