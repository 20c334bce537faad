"""Who is logged in. A browser holds a random id in its signed cookie; everything else is kept here, in the memory of the process.

Never in the store, and so never replicated: a signed cookie alone opens nothing, and a restart logs everybody out. Where several
processes serve the shop they keep it together instead; see `shop.access`.
"""

import secrets
import threading
from collections.abc import Callable

from msgspec.structs import replace

from shop.access import SESSIONS_MAX, AdminSession


class AdminSessions:
    """The logins of one process: `shop.access.Logins`. Safe from many threads; `_lock` guards `_sessions`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, AdminSession] = {}

    def begin(self, admin_id: str, password_hash: str) -> str:
        now, sid = self._monotonic(), secrets.token_urlsafe(32)
        with self._lock:
            self._forget(lambda session: not session.is_alive(now))
            while len(self._sessions) >= SESSIONS_MAX:
                del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].seen)]
            self._sessions[sid] = AdminSession(admin_id, password_hash, now, now)
        return sid

    def find(self, sid: str) -> AdminSession | None:
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(sid)
            if session is None:
                return None
            if not session.is_alive(now):
                del self._sessions[sid]
                return None
            self._sessions[sid] = replace(session, seen=now)
            return session

    def end(self, sid: str) -> None:
        with self._lock:
            self._sessions.pop(sid, None)

    def end_others_than(self, admin_id: str, password_hash: str | None) -> None:
        with self._lock:
            self._forget(lambda session: session.admin_id == admin_id and session.password_hash != password_hash)

    def _forget(self, is_over: Callable[[AdminSession], bool]) -> None:
        self._sessions = {sid: session for sid, session in self._sessions.items() if not is_over(session)}
