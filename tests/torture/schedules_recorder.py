"""A shop that is written to, its model, and whoever looks at the far side and writes down what is there: what all fault schedules share."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shop.clock import Clock
from shop.models import Cart, Counter
from shop.replication import contract
from shop.replication.embedded import EmbeddedReplication
from shop.replication.pair import Pair, open_pair
from shop.repository.schema import SCHEMA
from shop.store import Files, Position, StoreError
from tests.builders import a_product
from tests.torture.schedules_history import Committed, Figures, History, Page, Seen, Side, digest, tokens_in

CURRENCY = "EUR"
PRODUCTS = 8
CARTS = 5
AGAIN_SECONDS = 0.002  # between two looks at a page that moves
EVERY_CUSTOMER_LEAVES = 7  # this many writes after the other a cart is deleted
EVERY_CHANGE_OF_MIND = 4  # this many writes after the other one is begun and given up

Model = dict[str, dict[str, Any]]


class ChangedMind(Exception):
    """Raised inside of an update: nothing of it may ever be seen."""


class Recorder:
    """One pair, open, with a replication over it. Whoever drives it owns the time."""

    agree_seconds = 0.0  # how long the page may differ from the files: where the schedule owns the time, never

    def __init__(self, history: History, clock: Clock, folder: Path, files: Files) -> None:
        self.history = history
        self.clock = clock
        self.folder = folder
        self.files = files
        self.text = ""  # in each product, to make commits as long as a schedule wants them
        self.pair: Pair
        self.replication: EmbeddedReplication
        self._model: Model = {name: {} for name in SCHEMA}
        self._models: dict[tuple[int, int], Model] = {}  # after each commit, for a primary that was put back
        self._token = 0

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    # ---- opening and closing

    def open(self) -> None:
        """As the program starts. Raises as it does."""
        self.pair = open_pair(self.folder, self.clock, files=self.files)
        self.replication = EmbeddedReplication(
            self.pair, clock=self.clock, delay_seconds=self.history.delay, currency=CURRENCY
        )
        self.pair.replica.on_commit(self._moved)
        if not self.history.committed:
            self._note_commit(0, self.now)
        self._model_goes_back_to(self.pair.primary.position)

    def _model_goes_back_to(self, position: Position) -> None:
        """The primary may have been put back to an older state."""
        self._model = copied(self._models[position.timeline, position.lsn])

    # ---- writing

    def commit(self) -> None:
        """One write, and now and then another that is given up half-way. A primary that takes none refuses it."""
        self._token += 1
        if self._token % EVERY_CHANGE_OF_MIND == 0:
            self._change_mind()
        began, after = self.now, copied(self._model)
        try:
            with self.pair.primary.update() as unit:
                self._write(unit, after)
        except StoreError:
            self.history.refused.append(self._token)
            return
        self._model = after
        self._note_commit(self._token, began)

    def _write(self, unit: Any, after: Model) -> None:
        number = self._token
        put(unit, after, "counters", Counter(id="sold", value=number))
        product = a_product(id=f"p{number % PRODUCTS}", version=number, description=self.text)
        put(unit, after, "products", msgspec.structs.replace(product, sku=product.id, slug=product.id))
        cart = f"c{number % CARTS}"
        if number % EVERY_CUSTOMER_LEAVES == 0 and cart in after["carts"]:
            unit.delete("carts", cart)
            del after["carts"][cart]
        else:
            put(unit, after, "carts", Cart(id=cart, checkout_key=f"key-{number}", updated_at="2026-01-01T12:00:00Z"))

    def _change_mind(self) -> None:
        try:
            with self.pair.primary.update() as unit:
                self._write(unit, copied(self._model))
                raise ChangedMind
        except (ChangedMind, StoreError):
            self.history.refused.append(self._token)
        self._token += 1

    def _note_commit(self, token: int, at: float) -> None:
        position = Position(*self.pair.primary.position)
        self._models[position.timeline, position.lsn] = self._model
        self.history.committed.append(Committed(at, position, digest(self._model), token))

    def timeline_has_begun(self) -> None:
        """By an operator's decision, without a write of its own."""
        self._note_commit(0, self.now)

    # ---- looking

    def _moved(self, lsn: int) -> None:
        self.history.states.append(self._state())

    def _state(self) -> Seen:
        state = self.pair.replica.state
        contents = {
            name: {id: msgspec.to_builtins(record) for id, record in state.items(name)} for name in state.collections()
        }
        return Seen(self.now, Position(*state.position), digest(contents), tokens_in(contents))

    def look(self) -> None:
        """The replica as its readers see it, its file, and the page beside the files."""
        self.history.states.append(self._state())
        self.look_at_file()
        self.look_at_page()

    def look_at_file(self) -> None:
        name = self.pair.replica.path.name
        position, contents = read_checkpoint(self._read(name))
        self.history.shown.append(Seen(self.now, position, digest(contents), tokens_in(contents)))

    def look_at_page(self) -> None:
        """Nothing stands still for it: in real time a commit may be in its file and not yet on the page. Then it is looked at again."""
        until = time.monotonic() + self.agree_seconds
        while True:
            page = self._page()
            if page.said == page.files or time.monotonic() >= until:
                break
            time.sleep(AGAIN_SECONDS)
        self.history.pages.append(page)

    def _page(self) -> Page:
        status = self.replication.status()
        files = figures_in(self._read, status.primary.file, status.replica.file)
        said = Figures(side_said(status.primary), side_said(status.replica), status.lag.commits)
        return Page(self.now, status.state.value, said, files)

    def _read(self, name: str) -> bytes:
        return self.files.read(self.folder / name)


def side_said(side: contract.Side) -> Side:
    position = Position(side.position.timeline, side.position.lsn, side.position.checksum)
    return Side(side.file, position, side.counts, side.file_bytes, side.journal_bytes)


def put(unit: Any, model: Model, collection: str, record: Any) -> None:
    unit.put(collection, record.id, record)
    model[collection][record.id] = msgspec.to_builtins(record)


def copied(model: Model) -> Model:
    return {name: dict(records) for name, records in model.items()}


# ---- reading the files as any program could, without the store


def read_checkpoint(data: bytes) -> tuple[Position, Model]:
    """What a checkpoint file shows by itself."""
    whole = json.loads(data)
    position = Position(whole["timeline"], whole["lsn"], whole["checksum"])
    return position, {name: whole.get(name, {}) for name in SCHEMA}


def figures_in(read: Callable[[str], bytes], primary: str, replica: str) -> Figures:
    """The page's figures, from the files alone."""
    here, there = side_in(read, primary), side_in(read, replica)
    return Figures(here, there, max(0, here.position.lsn - there.position.lsn))


def side_in(read: Callable[[str], bytes], name: str) -> Side:
    """A side by its two files: the checkpoint with the journal's commits laid over it."""
    data, journal = read(name), read(name.replace(".json", ".journal")).rstrip(b"\0")
    position, model = read_checkpoint(data)
    for line in journal.split(b"\n")[:-1]:
        commit = json.loads(line)
        if commit["lsn"] != position.lsn + 1 or commit["prev"] != position.checksum:
            continue  # the checkpoint has it
        for collection, id, record in commit["ops"]:
            model[collection].pop(id, None) if record is None else model[collection].update({id: record})
        position = Position(commit["timeline"], commit["lsn"], commit["checksum"])
    counts = {collection: len(records) for collection, records in model.items()}
    return Side(name, position, counts, len(data), len(journal))
