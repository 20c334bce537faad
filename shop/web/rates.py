"""Where the counters of the rate limits stand: in memory, or where the workers of one shop share them."""

from typing import Any, ClassVar

from limits.storage import Storage

from shop.access import Counters

MEMORY = "memory://"
SHARED = "antipode-shared://"


class SharedStorage(Storage):
    """What Flask-Limiter asks of a storage, answered by `Counters`."""

    STORAGE_SCHEME: ClassVar[list[str]] = ["antipode-shared"]  # type: ignore[misc]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions)
        self._counters: Counters = options["counters"]

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self._counters.add(key, amount, expiry)

    def get(self, key: str) -> int:
        return self._counters.get(key)[0]

    def get_expiry(self, key: str) -> float:
        return self._counters.get(key)[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        self._counters.clear()
        return None

    def clear(self, key: str) -> None:
        self._counters.clear(key)


def settings(counters: Counters | None) -> dict[str, object]:
    """The application's settings for these *counters*; None: in memory, which is right where one process serves the shop."""
    if counters is None:
        return {"RATELIMIT_STORAGE_URI": MEMORY}
    return {"RATELIMIT_STORAGE_URI": SHARED, "RATELIMIT_STORAGE_OPTIONS": {"counters": counters}}
