"""Static files under addresses that change with their content, so that a browser may keep them for a year."""

from hashlib import sha256
from pathlib import Path
from typing import cast

from flask import Flask, Response, request

YEAR_SECONDS = 365 * 24 * 3600


class Assets:
    """The addresses of the files below one folder. Each is read once, when a page first names it."""

    def __init__(self, folder: Path, url_path: str) -> None:
        self._folder = folder
        self._url_path = url_path
        self._addresses: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The address of *name*, like `css/base.css`; of a file that is not there, a plain one."""
        known = self._addresses.get(name)
        if known:
            return known
        path = f"{self._url_path}/{name}"
        try:
            version = sha256((self._folder / name).read_bytes()).hexdigest()[:12]
        except OSError:
            return path
        known = self._addresses[name] = f"{path}?v={version}"
        return known

    def is_current(self, name: str, version: str) -> bool:
        """Whether a page names the file with this *version*. Reads nothing: *name* comes from whoever asks."""
        return self._addresses.get(name, "").endswith(f"?v={version}")


def register(app: Flask) -> None:
    """Give the templates `asset(name)`, and static files the age their address allows."""
    assets = Assets(Path(str(app.static_folder)), str(app.static_url_path))
    app.jinja_env.globals["asset"] = assets

    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = None  # ask again, and be told 304
    send = app.view_functions["static"]

    def send_current(filename: str) -> Response:
        response = cast(Response, send(filename=filename))
        if assets.is_current(filename, request.args.get("v", "")):
            response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
        return response

    app.view_functions["static"] = send_current
