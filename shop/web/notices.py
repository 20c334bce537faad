"""Tells a visitor, on the next page, that the write just made is recorded here but not yet at the far side."""

from flask import Flask, flash
from flask.wrappers import Response

from shop.web.services import services_of


def register(app: Flask) -> None:
    @app.before_request
    def _forget() -> None:
        """What an earlier request on this thread was to be told and did not live to hear."""
        laboratory = services_of(app).laboratory
        if laboratory is not None:
            laboratory.take_notice()

    @app.after_request
    def _tell(response: Response) -> Response:
        laboratory = services_of(app).laboratory
        notice = laboratory.take_notice() if laboratory is not None else ""
        if notice:
            flash(notice, "warning")
        return response
