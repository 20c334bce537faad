"""The implementations of the laboratory, so that one suite can be run over each: a shop in real time with everything behind it at work."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from shop.replication.contract import Laboratory, Replication
from shop.repository.contract import Repository
from tests.drillkit import LiveShop
from tests.pairkit import SHARED


class Lab(Protocol):
    """One shop, empty at first, whose link has no delay. Opened on a folder of its own; `close` ends all of its threads."""

    repository: Repository
    replication: Replication
    laboratory: Laboratory

    def close(self) -> None: ...


class EmbeddedLab:
    """Two files and the schedule between them."""

    def __init__(self, folder: Path) -> None:
        self._shop = LiveShop(folder, delay_seconds=0.0)
        self.repository = self._shop.repository
        self.replication = self._shop.replication
        self.laboratory = self._shop.replication.laboratory

    def close(self) -> None:
        self._shop.close()


class PostgresLab:
    """A real pair, shared by the tests and emptied for each."""

    def __init__(self, folder: Path) -> None:
        shop = SHARED.shop()
        self.repository = shop.repository
        self.replication = shop.replication
        self.laboratory = shop.laboratory

    def close(self) -> None:
        """The pair goes on; `end_shared_pair` ends it."""


LABORATORIES: Mapping[str, Callable[[Path], Lab]] = {"embedded": EmbeddedLab, "postgres": PostgresLab}
