"""`shop.server` with an application that does what a test needs and the shop has no page for; started as a process of its own.

`python small_app.py FOLDER` announces its address in FOLDER/address; `/wait` answers when FOLDER/go exists, and makes FOLDER/waiting.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from shop import logs
from shop.server import Server, bind, url_of

LARGE = b"0123456789abcdef" * 327_680  # 5 MiB
FOLDER = Path(sys.argv[1])


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/wait":
        (FOLDER / "waiting").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.005)
    body = LARGE if path == "/large" else environ["wsgi.input"].read() or b"small"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    logs.configure()
    listener = bind("127.0.0.1", 0)
    server = Server(logs.log_requests(application), listener)
    (FOLDER / "address.tmp").write_text(url_of(listener))
    (FOLDER / "address.tmp").rename(FOLDER / "address")
    server.run()
