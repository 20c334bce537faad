"""The two servers and their roles: which is primary is what the shop has agreed on (`cluster.json`), never what a server says of itself."""

from typing import Protocol

from shop.replication.postgres.servers import Server


class Roles(Protocol):
    """What all workers of this machine have agreed on. Safe from any thread; reading costs a look at a file's date."""

    @property
    def primary(self) -> int:
        """0: the server that SHOP_PRIMARY_URL names, 1: the other."""
        ...

    @property
    def timeline(self) -> int:
        """The highest that was ever seen: a server below it takes no writes of ours."""
        ...


class ServerPair:
    """Both servers, by role. The roles may change between two questions: ask once and keep the answer."""

    def __init__(self, servers: tuple[Server, Server], roles: Roles) -> None:
        self.servers = servers
        self.roles = roles

    @property
    def primary(self) -> Server:
        return self.servers[self.roles.primary]

    @property
    def standby(self) -> Server:
        return self.servers[1 - self.roles.primary]

    def close(self) -> None:
        for server in self.servers:
            server.close()
