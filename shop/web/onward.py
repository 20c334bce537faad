"""Where a browser goes after a form was sent."""

from wsgiref.types import WSGIEnvironment

from flask import Response
from werkzeug.datastructures import Headers


class _SeeOther(Response):
    """The address is the shop's own, in ASCII: it is fit for a header as it is, and nobody reads what such an answer would say."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        return self.headers


def see_other(address: str) -> Response:
    """Have the browser look at *address*, which the shop has made up itself; a reload does not send the form again."""
    return _SeeOther(status=303, headers={"Location": address, "Content-Length": "0"})
