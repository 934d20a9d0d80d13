"""Run by Alembic: migrate on the connection, and in the transaction, that `cluster.metadata.migrate` gives."""

from __future__ import annotations

from alembic import context

from cluster.metadata.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
