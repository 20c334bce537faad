"""Not written yet."""

from flask import Blueprint

bp = Blueprint("admin_products", __name__)
