"""Not written yet."""

from flask import Blueprint

bp = Blueprint("admin_auth", __name__)
