"""Not written yet."""

from flask import Blueprint

bp = Blueprint("replication", __name__)
