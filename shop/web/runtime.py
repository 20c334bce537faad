"""What only the running server knows, handed to the pages for machines. Without it (in a test's application) they do without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flask import Flask, current_app

from shop.units import Position

_KEY = "antipode.runtime"


@dataclass(frozen=True)
class Runtime:
    """The server and the store beneath the parts in `Services`."""

    token: str  # what a command shows to be let in; it stands in shop.lock
    host: str  # where the server listens: who comes from that address is on this machine
    queue_depth: Callable[[], int]  # requests that wait for a thread
    connections: Callable[[], int]
    is_stopping: Callable[[], bool]
    counters: Callable[[], Mapping[str, float]]  # of the store, by metric name; they only grow
    backup: Callable[[Path], Position]  # writes a consistent copy of db.json; raises OSError
    worker: int = 0  # its number among those that share the door; 0 = there are no others


def install(app: Flask, runtime: Runtime) -> None:
    """Let the application's pages see *runtime*."""
    app.extensions[_KEY] = runtime


def runtime() -> Runtime | None:
    """The server's side of the running application, None where no server runs it."""
    return cast(Runtime | None, current_app.extensions.get(_KEY))
