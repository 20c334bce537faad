"""One update of the shop, made again when another one was in its way."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from shop.errors import Crossed
from shop.units import WriteUnit
from shop.web.services import services

R = TypeVar("R")

TRIES = 3
PAUSE_SECONDS_MAX = 0.1


def keep(change: Callable[[WriteUnit], R]) -> R:
    """What *change* returns, once it is kept. It may be run several times, each time on the shop as it is then: it reads and
    writes nothing but its unit. Raises what `Repository.update` raises, `Crossed` only when every try was broken off.
    """
    for _ in range(TRIES - 1):
        try:
            return _once(change)
        except Crossed:  # nothing of it was kept
            time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))
    return _once(change)


def _once(change: Callable[[WriteUnit], R]) -> R:
    with services().repository.update() as unit:
        return change(unit)
