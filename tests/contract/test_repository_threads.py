"""Many buyers and shopkeepers at once: nothing is sold twice, nothing gets lost. Block E of the torture runs more rounds of the races."""

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from shop import cart as carts
from shop.repository.contract import Repository
from shop.units import CatalogQuery
from tests.builders import NOW, a_cart, a_product, cart_in, keep, keep_products
from tests.contract.races import RACES, at_once, buyers_of_the_last_ones, threads_take_turns_very_often

ROUNDS = 20


@pytest.fixture(autouse=True)
def _threads_take_turns_very_often() -> Iterator[None]:
    with threads_take_turns_very_often():
        yield


def test_64_buyers_of_a_stock_of_10_get_10(repository: Repository) -> None:
    for _ in range(ROUNDS):
        buyers_of_the_last_ones(repository)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
def test_a_race_has_a_winner_and_breaks_no_rule(race: Callable[[Repository], None], repository: Repository) -> None:
    for _ in range(ROUNDS):
        race(repository)


def test_numbers_are_issued_once_each(repository: Repository) -> None:
    def issue() -> list[str]:
        issued = []
        for _ in range(10):
            with repository.update() as unit:
                issued.append(unit.next_order_number())
        return issued

    results = at_once([issue] * 16)

    numbers = [number for result in results if isinstance(result, list) for number in result]
    assert len(set(numbers)) == 160
    assert all(number.startswith("A1-") and int(number[3:]) > 10_000 for number in numbers)


def test_adding_from_two_tabs_adds_up(repository: Repository) -> None:
    product = a_product(stock=1000)
    keep_products(repository, product)
    cart = a_cart()
    keep(repository, cart)

    def add() -> None:
        for _ in range(5):
            with repository.update() as unit:
                carts.add(unit, cart.id, product.id, 1, NOW)

    at_once([add] * 8)

    assert [line.quantity for line in cart_in(repository, cart).lines] == [40]


def test_readers_never_see_half_of_an_update(repository: Repository) -> None:
    """Two products change hands in one commit each time; their sum is the same in every view, read in whatever way."""
    left, right = a_product(name="Left", stock=50), a_product(name="Right", stock=50)
    keep_products(repository, left, right)
    stop = threading.Event()

    def move() -> None:
        for number in range(150):
            with repository.update() as unit:
                found = unit.products([left.id, right.id])
                step = 1 if number % 7 else -5
                unit.put_product(replace(found[left.id], stock=found[left.id].stock - step))
                unit.put_product(replace(found[right.id], stock=found[right.id].stock + step))
        stop.set()

    def read() -> int:
        seen = 0
        while not stop.is_set() or not seen:
            with repository.view() as unit:
                found = unit.products([left.id, right.id])
                assert found[left.id].stock + found[right.id].stock == 100
                page = unit.catalog(CatalogQuery(in_stock=True))
                assert sum(product.stock for product in page.items) == 100
            seen += 1
        return seen

    results = at_once([move, read, read, read])

    assert all(isinstance(result, int) and result > 0 for result in results[1:]), results
