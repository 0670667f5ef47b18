"""Alembic's entry for the cost store. Its version lies in its own table: it may share a database
with the feedback store."""

from alembic import context

from stock_llm.gateway.accounting.tables import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table=SCHEMA.version_table,
)
context.run_migrations()
