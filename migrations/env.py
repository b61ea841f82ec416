"""Alembic's entry: runs revisions on the connection it is given, or on GATEWAY_DATABASE_URL."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from gateway.stores.postgres.batch_tables import metadata
from gateway.stores.postgres.migrate import on_connection


def run(connection: Connection) -> None:
    """Run the asked-for revisions, each in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    on_connection(os.environ["GATEWAY_DATABASE_URL"], run)
