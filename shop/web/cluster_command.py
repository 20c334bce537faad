"""`flask --app app shop check-cluster`: whether the PostgreSQL servers are what the shop needs."""

import os
import sys

import click
from flask.cli import AppGroup

from shop.config import load
from shop.errors import SettingError


def add_check_cluster(shop: AppGroup) -> None:
    @shop.command("check-cluster", with_appcontext=False)
    @click.option("--workers", type=click.IntRange(1, 64), help="How many will run; else one a processor.")
    def check_cluster(workers: int | None) -> None:
        """Check the two PostgreSQL servers, and say what to change.

        The servers are those in SHOP_PRIMARY_URL and SHOP_REPLICA_URL, else those of make cluster. Nothing is written. "change"
        has to be done before the shop works right; "cannot" names what stays disabled until it is done. Exit code 1 when
        something has to be changed.
        """
        from shop.cluster import check  # the driver is loaded where it is needed
        from shop.cluster.workers import count_for_this_machine

        try:
            urls = _urls()
        except SettingError as error:
            click.echo(f"antipode: {error}", err=True)
            sys.exit(2)
        rows = check.check(urls, workers=workers or count_for_this_machine())
        click.echo(check.table(rows))
        sys.exit(check.exit_code(rows))


def _urls() -> tuple[str, str]:
    from shop.cluster.ground import shop_urls

    config = load(os.environ)
    if config.primary_url:
        return config.primary_url, config.replica_url
    urls = shop_urls(config.instance)
    if urls is None:
        raise SettingError(
            f"Set SHOP_PRIMARY_URL and SHOP_REPLICA_URL to the servers that are to be checked: there is no cluster in {config.instance}."
        )
    return urls
