"""The door through which `flask shop …` asks the running server. It answers only to who has read `shop.lock`, on this machine."""

import hmac
import ipaddress
from typing import Any

import structlog
from flask import Blueprint, Response, abort, jsonify, request

from shop.errors import ShopError
from shop.web.extensions import csrf
from shop.web.operations import Operations
from shop.web.runtime import Runtime, runtime
from shop.web.services import services

TOKEN_HEADER = "X-Shop-Token"  # noqa: S105 - the name of a header

bp = Blueprint("control", __name__, url_prefix="/_control")
csrf.exempt(bp)  # the caller is no browser and has no session; the token of shop.lock is what lets it in
_log = structlog.get_logger("control")


@bp.post("/<command>")
def perform(command: str) -> tuple[Response, int]:
    """The result of the command as JSON; `{"error": …}` with the status of the refusal. Without the token there is no such page."""
    server = _admitted()
    operations = Operations(services(), server.backup)
    if not operations.is_known(command):
        abort(404)
    try:
        result = operations.perform(command, _arguments())
    except ShopError as refusal:
        _log.warning("command refused", command=command, reason=refusal.message)
        return jsonify(error=refusal.message), refusal.status
    if not command.endswith("-progress"):  # asked five times a second while somebody looks on
        _log.info("command done", command=command)
    return jsonify(result), 200


def _admitted() -> Runtime:
    server = runtime()
    token = request.headers.get(TOKEN_HEADER, "")
    if (
        server is None
        or not _is_on_this_machine(server)
        or not hmac.compare_digest(token.encode(), server.token.encode())
    ):
        abort(404)
    return server


def _is_on_this_machine(server: Runtime) -> bool:
    # A server that listens on one address of the machine is reached from there, not from the loopback address.
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    return address.is_loopback or str(address) == server.host


def _arguments() -> dict[str, Any]:
    found = request.get_json(silent=True)
    return found if isinstance(found, dict) else {}
