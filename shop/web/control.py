"""Not written yet."""

from flask import Blueprint

bp = Blueprint("control", __name__)
