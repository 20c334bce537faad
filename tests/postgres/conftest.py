"""A shop on a real pair: shared and emptied for what leaves the roles as they are, and one of its own for what does not."""

from collections.abc import Iterator

import pytest

from tests.pairkit import SHARED, PairShop, pair_shop


@pytest.fixture(scope="module", autouse=True)
def _end_shared_pair() -> Iterator[None]:
    yield
    SHARED.end()


@pytest.fixture
def shop() -> PairShop:
    """Empty, and shared: it is not promoted."""
    return SHARED.shop()


@pytest.fixture
def own_shop() -> Iterator[PairShop]:
    """On servers that may be killed, promoted and joined again."""
    with pair_shop() as shop:
        yield shop
