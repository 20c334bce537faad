"""Who may enter /admin: one account. Only the hash of its password is ever kept."""

from datetime import datetime

from shop.models import Admin, timestamp
from shop.passwords import generate_password, hash_password, verify_password
from shop.units import WriteUnit

ADMIN_ID = "admin"


def arrange(unit: WriteUnit, setting: str, *, now: datetime) -> str:
    """See to it that there is an admin; returns the password if one had to be made up, to be shown once, else "".

    *setting* (SHOP_ADMIN_PASSWORD) wins over what was set before, at each start; nothing is written when it is that already.
    """
    admin = unit.admin(ADMIN_ID)
    if setting:
        if admin is None or not verify_password(admin.password_hash, setting):
            set_password_hash(unit, hash_password(setting), now=now)
        return ""
    if admin is not None:
        return ""
    password = generate_password()
    set_password_hash(unit, hash_password(password), now=now)
    return password


def set_password_hash(unit: WriteUnit, password_hash: str, *, now: datetime) -> None:
    """Let *password_hash* decide from now on who is the admin."""
    unit.put_admin(Admin(id=ADMIN_ID, password_hash=password_hash, changed_at=timestamp(now)))
