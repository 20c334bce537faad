"""Who is logged in. A browser holds a random id in its signed cookie; everything else is kept here, in the memory of the process.

Never in the store, and so never replicated: a signed cookie alone opens nothing, and a restart logs everybody out.
"""

import secrets
import threading
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

IDLE_SECONDS_MAX = 30 * 60
AGE_SECONDS_MAX = 12 * 3600
SESSIONS_MAX = 100  # of all admins; above, whoever was idle longest has to log in again


class AdminSession(Struct, frozen=True):
    """One login."""

    admin_id: str
    password_hash: str  # the one that let the admin in; a session does not outlive it
    began: float  # on the monotonic clock, like `seen`
    seen: float


class AdminSessions:
    """The logins of one process. Safe from many threads; `_lock` guards `_sessions`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, AdminSession] = {}

    def begin(self, admin_id: str, password_hash: str) -> str:
        """A new session; returns its id, which nobody has known before."""
        now, sid = self._monotonic(), secrets.token_urlsafe(32)
        with self._lock:
            self._forget(lambda session: not _is_alive(session, now))
            while len(self._sessions) >= SESSIONS_MAX:
                del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].seen)]
            self._sessions[sid] = AdminSession(admin_id, password_hash, now, now)
        return sid

    def find(self, sid: str) -> AdminSession | None:
        """The session, if it has not ended; being asked for keeps it from being idle."""
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(sid)
            if session is None:
                return None
            if not _is_alive(session, now):
                del self._sessions[sid]
                return None
            self._sessions[sid] = replace(session, seen=now)
            return session

    def end(self, sid: str) -> None:
        """From now on the id opens nothing, whoever holds a copy of the cookie."""
        with self._lock:
            self._sessions.pop(sid, None)

    def end_others_than(self, admin_id: str, password_hash: str | None) -> None:
        """End the admin's sessions that another password opened: all of them for None."""
        with self._lock:
            self._forget(lambda session: session.admin_id == admin_id and session.password_hash != password_hash)

    def _forget(self, is_over: Callable[[AdminSession], bool]) -> None:
        self._sessions = {sid: session for sid, session in self._sessions.items() if not is_over(session)}


def _is_alive(session: AdminSession, now: float) -> bool:
    return now - session.seen < IDLE_SECONDS_MAX and now - session.began < AGE_SECONDS_MAX
