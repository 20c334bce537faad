"""The settings: one frozen `Config`, read from the environment and checked before anything opens."""

from pathlib import Path

from msgspec import Struct


class Config(Struct, frozen=True, kw_only=True):
    """What the environment decides at each start."""

    instance: Path  # SHOP_INSTANCE
    host: str = "127.0.0.1"  # HOST
    port: int = 8000  # PORT
    secret_key: str = ""  # SHOP_SECRET_KEY; "" = kept in <instance>/secret_key, generated at the first start
    admin_password: str = ""  # SHOP_ADMIN_PASSWORD; "" = generated at the first start, printed once
    replication_delay: float = 5.0  # SHOP_REPLICATION_DELAY, seconds
    replication_mode: str = "async"  # SHOP_REPLICATION_MODE: async (semi-sync and sync come with the laboratory)
    currency: str = "EUR"  # SHOP_CURRENCY, ISO 4217
