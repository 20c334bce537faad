"""Passwords: only an argon2id hash is ever kept (OWASP ASVS 5, appendix C: 19 MiB, 2 passes)."""

import secrets
import unicodedata
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PASSWORD_LENGTH_MAX = 1024

_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
# Each hash takes 19 MiB and a core for some 20 ms: a flood of logins waits in line instead of starving the shop.
_AT_ONCE = BoundedSemaphore(2)
# Compared against when there is no such user, so that the answer takes as long. Made from 32 random bytes that were thrown away:
# nobody knows a password that fits. Written down, because to make one takes 30 ms of each start.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$4wEYkmSkVMgpoEwaDthPUw$0Wb+rTaXG+A93gMTPRNUnLIdLGT9CYqWOo6RW73gwkE"
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without the letters and digits that are mistaken for each other


def hash_password(password: str) -> str:
    """The hash to keep, salted: two hashes of one password differ. Raises ValueError above PASSWORD_LENGTH_MAX."""
    if len(password) > PASSWORD_LENGTH_MAX:
        raise ValueError("password too long")
    with _AT_ONCE:
        return _HASHER.hash(_bytes(password))


def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether *password* made *password_hash*. None stands for an unknown user: False, after the same work."""
    known = password_hash is not None and len(password) <= PASSWORD_LENGTH_MAX
    with _AT_ONCE:
        try:
            _HASHER.verify(password_hash or _NOBODY, _bytes(password[:PASSWORD_LENGTH_MAX]))
            return known
        except (VerificationError, InvalidHashError):
            return False


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other costs than those of today; rehash at the next correct login."""
    return _HASHER.check_needs_rehash(password_hash)


def generate_password() -> str:
    """A password to be shown once: four groups of five, 99 bits, easy to read out."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def _bytes(password: str) -> bytes:
    # The same letters typed on two keyboards may be composed differently. A variable of the environment may hold bytes
    # that are no text; they arrive as lone surrogates and must not raise.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
