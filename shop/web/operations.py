"""What the commands do, once: inside the running server (`control.py`) or on files that the command opened itself (`commands.py`).

Each takes and returns what JSON can carry. A result always has `sentence`, for the operator; a refusal is a `ShopError`.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from shop.admins import set_password_hash
from shop.demo.seed import seed
from shop.errors import Conflict, Invalid, ShopError, WritesUnavailable
from shop.replication.contract import Difference, Outcome
from shop.units import Position
from shop.web import drills_operations
from shop.web.services import Services

Result = dict[str, Any]
OWN_FILES = ("db.json", "db.journal", "db_async.json", "db_async.journal", "secret_key", "shop.lock", "audit.jsonl")
EXIT_CODES = {Outcome.IN_SYNC: 0, Outcome.DIVERGED: 1, Outcome.INCONCLUSIVE: 3}
WHO = "command line"
NOTED = ("verify", "resync", "promote")  # in the audit list
_DIFFERENCES_SHOWN = 20


class Operations:
    """The commands over open parts. *backup* writes a consistent copy of the primary's file. Inside of *running* commits cross; where
    a server runs, they do so anyway."""

    def __init__(
        self,
        services: Services,
        backup: Callable[[Path], Position],
        running: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.running = running
        self._services = services
        self._backup = backup
        self._known: Mapping[str, Callable[[Mapping[str, Any]], Result]] = {
            "seed": self.seed,
            "status": self.status,
            "verify": self.verify,
            "verify-progress": self.verify_progress,
            "resync": self.resync,
            "promote": self.promote,
            "backup": self.backup,
            "reset-admin-password": self.reset_admin_password,
            **drills_operations.operations(services),
        }

    def is_known(self, name: str) -> bool:
        return name in self._known

    def perform(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Raises `ShopError` when it cannot be done, with a sentence that says why."""
        try:
            result = self._perform(name, arguments)
        except ShopError as refusal:
            self._note(name, f"refused: {refusal.message}")
            raise
        self._note(name, str(result["sentence"]))
        return result

    def _perform(self, name: str, arguments: Mapping[str, Any]) -> Result:
        try:
            return self._known[name](arguments)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Conflict(f"{where}{error.strerror or error}.") from error

    def _note(self, name: str, result: str) -> None:
        if self._services.audit is not None and name in NOTED:
            self._services.audit.add(WHO, name, result)

    def seed(self, _arguments: Mapping[str, Any]) -> Result:
        created = seed(self._services.repository, self._services.clock)
        if not created:
            return {"sentence": "The shop has goods already; nothing was changed.", "created": 0}
        return {"sentence": f"{created} products are on the shelves.", "created": created}

    def status(self, _arguments: Mapping[str, Any]) -> Result:
        status = self._services.replication.status()
        return {"sentence": status.sentence, "status": msgspec.to_builtins(status)}

    def verify(self, _arguments: Mapping[str, Any]) -> Result:
        verdict = self._services.replication.verify()
        shown = verdict.differences[:_DIFFERENCES_SHOWN]
        return {
            "sentence": verdict.sentence,
            "exit_code": EXIT_CODES[verdict.outcome],
            "outcome": verdict.outcome.value,
            "records": verdict.records,
            "differences": [_difference_text(one) for one in shown],
            "differences_not_shown": len(verdict.differences) - len(shown),
        }

    def verify_progress(self, _arguments: Mapping[str, Any]) -> Result:
        """How far the verification is that runs now; `total` is 0 where nobody can tell."""
        progress = self._services.replication.verifying()
        done, total = (progress.done, progress.total) if progress else (0, 0)
        return {"sentence": f"{done:,} of {total:,} records compared.", "done": done, "total": total}

    def resync(self, _arguments: Mapping[str, Any]) -> Result:
        self._services.replication.resync()
        status = self._services.replication.status()
        place = "" if status.is_wal else f", at commit {status.replica.position.lsn}"
        return {"sentence": f"{status.replica.file} is a fresh copy of the primary{place}."}

    def promote(self, _arguments: Mapping[str, Any]) -> Result:
        failover = self._services.failover
        if failover is None:
            raise Conflict("The sides of this shop cannot change their roles here.")
        promotion = failover.promote(by="command line")
        return {"sentence": promotion.sentence, "invoice": msgspec.to_builtins(promotion.invoice)}

    def backup(self, arguments: Mapping[str, Any]) -> Result:
        """To `path`, an absolute one. Replaces an existing file only when `overwrite` is true, and none of the shop's own."""
        path = Path(str(arguments.get("path", "")))
        self._check_target(path, may_replace=arguments.get("overwrite") is True)
        position = self._backup(path)
        path.chmod(0o600)
        size = f"{path.stat().st_size:,} bytes"
        return {"sentence": f"{path} holds everything up to commit {position.lsn} ({size}).", "lsn": position.lsn}

    def reset_admin_password(self, arguments: Mapping[str, Any]) -> Result:
        """To the one that made `password_hash`: the password itself never comes here."""
        password_hash = str(arguments.get("password_hash", ""))
        if not password_hash.startswith("$argon2id$"):
            raise Invalid({"password_hash": "This is no argon2id hash."})
        repository = self._services.repository
        if not repository.is_writable():
            raise WritesUnavailable(repository.why_read_only())
        with repository.update() as unit:
            set_password_hash(unit, password_hash, now=self._services.clock.now())
        sentence = "The admin's password is changed."
        if self._services.config.admin_password:
            sentence += " SHOP_ADMIN_PASSWORD is set: it wins again at the next start."
        return {"sentence": sentence}

    def _check_target(self, path: Path, *, may_replace: bool) -> None:
        if not path.is_absolute():
            raise ShopError("The path of a backup must be absolute.")
        if not path.parent.is_dir():
            raise Conflict(f"There is no folder {path.parent}.")
        if path.is_dir():
            raise Conflict(f"{path} is a folder: name a file in it.")
        if path.exists() and any(_is_same_file(path, self._services.config.instance / name) for name in OWN_FILES):
            raise Conflict(f"{path} is one of the shop's own files: name another one.")
        if path.exists() and not may_replace:
            raise Conflict(f"{path} exists already: name another file, or add --overwrite.")


def _difference_text(one: Difference) -> str:
    """The record and both of its values."""
    head = f"{one.collection} {one.id}: {one.label}"
    if not (one.on_primary and one.on_replica):
        return f"{head} (only on the {'primary' if one.on_primary else 'replica'})"
    return head + "".join(
        f"; {name}: {ours} on the primary, {theirs} on the replica" for name, ours, theirs in one.fields
    )


def _is_same_file(one: Path, other: Path) -> bool:
    return other.exists() and os.path.samefile(one, other)
