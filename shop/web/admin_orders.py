"""Not written yet."""

from flask import Blueprint

bp = Blueprint("admin_orders", __name__)
