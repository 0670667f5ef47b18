"""Alembic's entry for the cost store. Its version lies in its own table: it may share a database
with the feedback store."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="costs_version")
context.run_migrations()
