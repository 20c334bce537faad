"""The repository over the embedded store: what the file shows, and what a customer is told when the disk gives up."""

import errno
from pathlib import Path

import pytest

from shop.clock import ManualClock
from shop.errors import NotFound, WritesUnavailable
from shop.repository.embedded import EmbeddedRepository
from shop.repository.schema import INDEXES, SCHEMA
from shop.store import Files, Store, create_store, open_store
from shop.units import CatalogQuery, Position, WriteUnit
from tests.builders import a_cart, a_product, cart_in, catalog, keep, keep_products, names, order_of


class FailingFiles(Files):
    """Works until it is told not to."""

    def __init__(self) -> None:
        self.write_error = 0
        self.sync_error = 0

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if self.write_error:
            raise OSError(self.write_error, "as asked")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        if self.sync_error:
            raise OSError(self.sync_error, "as asked")
        super().sync(fd)


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock, files: FailingFiles) -> Store:
    return create_store(tmp_path / "db.json", SCHEMA, indexes=INDEXES, clock=clock, files=files)


def test_the_file_shows_an_order_when_the_update_has_been_left(repository: EmbeddedRepository, tmp_path: Path) -> None:
    product = a_product()
    keep_products(repository, product)

    order = order_of(repository, (product, 1))

    assert f'"number":"{order.number}"' in (tmp_path / "db.json").read_text()


def test_a_full_disk_refuses_the_write_with_a_hint_and_keeps_nothing(
    repository: EmbeddedRepository, files: FailingFiles
) -> None:
    keep(repository, a_cart(id="before"))
    files.write_error = errno.ENOSPC

    with pytest.raises(WritesUnavailable, match="Nothing was changed") as refusal:
        keep(repository, a_cart(id="refused"))

    assert refusal.value.retry_seconds == 5
    assert not repository.is_writable()
    assert repository.why_read_only()
    with repository.view() as unit:
        assert unit.cart("before") is not None
        assert unit.cart("refused") is None


def test_writes_go_on_when_there_is_space_again(repository: EmbeddedRepository, files: FailingFiles) -> None:
    files.write_error = errno.ENOSPC
    with pytest.raises(WritesUnavailable):
        keep(repository, a_cart(id="refused"))
    files.write_error = 0

    keep(repository, a_cart(id="after"))

    assert repository.is_writable()
    assert repository.why_read_only() == ""
    assert cart_in(repository, "after").id == "after"


def test_a_failed_fsync_says_that_the_outcome_is_unknown_and_ends_writing(
    repository: EmbeddedRepository, files: FailingFiles
) -> None:
    keep(repository, a_cart(id="before"))
    files.sync_error = errno.EIO

    with pytest.raises(WritesUnavailable, match="once, or not at all") as unknown:
        keep(repository, a_cart(id="unknown"))
    files.sync_error = 0
    with pytest.raises(WritesUnavailable, match="read but not changed") as refused:
        keep(repository, a_cart(id="refused"))

    assert unknown.value.retry_seconds is None
    assert refused.value.retry_seconds is None
    assert "restarted" in repository.why_read_only()
    with repository.view() as unit:
        assert unit.cart("before") is not None
        assert unit.cart("unknown") is None
        assert unit.catalog(CatalogQuery()).total == 0


def test_writes_held_back_for_a_while_come_with_a_hint(repository: EmbeddedRepository, store: Store) -> None:
    store.refuse_writes("a switchover is under way in /some/folder")

    with pytest.raises(WritesUnavailable) as refusal:
        keep(repository, a_cart())

    assert refusal.value.retry_seconds == 5
    assert not repository.is_writable()
    assert "/some/folder" not in refusal.value.message + repository.why_read_only()
    store.allow_writes()
    assert repository.is_writable()


def test_an_update_inside_an_update_is_an_error_and_not_a_deadlock(repository: EmbeddedRepository) -> None:
    with repository.update() as unit:
        with pytest.raises(RuntimeError, match="inside"), repository.update():
            pass
        unit.put_cart(a_cart(id="outer"))

    assert cart_in(repository, "outer").id == "outer"


def test_after_commit_is_told_of_commits_alone(repository: EmbeddedRepository, store: Store) -> None:
    told: list[Position] = []
    repository.after_commit.append(told.append)

    def refuse(unit: WriteUnit) -> None:
        unit.put_cart(a_cart())
        raise NotFound("There is no such thing.")

    with repository.update():
        pass
    with pytest.raises(NotFound), repository.update() as unit:
        refuse(unit)
    keep(repository, a_cart())

    assert told == [Position(*store.position)]


def test_order_numbers_name_the_timeline_and_run_on_over_it(repository: EmbeddedRepository, store: Store) -> None:
    product = a_product()
    keep_products(repository, product)
    first = order_of(repository, (product, 1))

    store.advance_timeline(2)
    second = order_of(repository, (product, 1))

    assert (first.number, second.number) == ("A1-10001", "A2-10002")


def test_lists_follow_commits_that_came_another_way(
    repository: EmbeddedRepository, store: Store, tmp_path: Path, clock: ManualClock
) -> None:
    """A replica's store gets its commits from the primary's journal, not from its own repository."""
    far_store = create_store(
        tmp_path / "db_async.json", SCHEMA, indexes=INDEXES, clock=clock, store_id=store.store_id, snapshot=store.state
    )
    far = EmbeddedRepository(far_store)
    for name in ("Cup", "Pot", "Bowl"):
        keep_products(repository, a_product(name=name, category_id="kitchen"))
        assert far_store.apply(store.lines(far_store.position.lsn)) == 1
        assert names(catalog(far).items) == names(catalog(repository).items)

    assert names(catalog(far, words="kitchen").items) == ["Bowl", "Cup", "Pot"]
    far_store.close()


def test_lists_follow_a_snapshot_that_replaces_everything(
    repository: EmbeddedRepository, store: Store, tmp_path: Path, clock: ManualClock
) -> None:
    keep_products(repository, a_product(name="Old"))
    assert names(catalog(repository).items) == ["Old"]
    other = create_store(tmp_path / "other.json", SCHEMA, indexes=INDEXES, clock=clock)
    keep_products(EmbeddedRepository(other), a_product(name="New"))

    store.install(other.state, other.store_id, None)

    assert names(catalog(repository).items) == ["New"]
    assert catalog(repository, words="old").total == 0
    other.close()


def test_an_unknown_outcome_is_there_once_or_not_at_all_after_a_restart(
    repository: EmbeddedRepository, store: Store, files: FailingFiles, tmp_path: Path, clock: ManualClock
) -> None:
    product = a_product(stock=10)
    keep_products(repository, product)
    files.sync_error = errno.EIO
    with pytest.raises(WritesUnavailable):
        order_of_kept_cart(repository, product.id)
    store.close()

    reopened = open_store(tmp_path / "db.json", SCHEMA, indexes=INDEXES, clock=clock)

    with EmbeddedRepository(reopened).view() as unit:
        kept = unit.product(product.id)
        assert kept is not None
        assert (kept.stock, unit.cart("new") is not None) in {(9, True), (10, False)}
    reopened.close()


def order_of_kept_cart(repository: EmbeddedRepository, product_id: str) -> None:
    """One commit that touches two records."""
    with repository.update() as unit:
        product = unit.product(product_id)
        assert product is not None
        unit.put_product(a_product(id=product.id, sku=product.sku, slug=product.slug, stock=product.stock - 1))
        unit.put_cart(a_cart(id="new"))


def test_each_commit_is_one_step_and_one_that_changes_nothing_none(repository: EmbeddedRepository) -> None:
    def position() -> Position:
        with repository.view() as unit:
            return unit.position()

    start = position()
    keep(repository, a_cart(), a_cart())
    keep(repository, a_cart())
    end = position()
    with repository.update() as unit:
        unit.delete_cart("unknown")

    assert (end.lsn, end.timeline) == (start.lsn + 2, start.timeline)
    assert end.checksum != start.checksum
    assert position() == end


def test_a_number_of_a_discarded_update_is_free_again(repository: EmbeddedRepository) -> None:
    def issue_and_raise() -> None:
        with repository.update() as unit:
            unit.next_order_number()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        issue_and_raise()

    with repository.update() as unit:
        assert [unit.next_order_number() for _ in range(2)] == ["A1-10001", "A1-10002"]
