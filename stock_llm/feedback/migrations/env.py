"""Alembic's entry: runs the numbered migrations inside the transaction of the feedback store."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
