"""Alembic's entry: runs the numbered migrations inside the transaction of the feedback store."""

from alembic import context

from stock_llm.feedback.tables import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table=SCHEMA.version_table,
)
context.run_migrations()
