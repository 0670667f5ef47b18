"""Alembic's entry: runs the numbered migrations on the connection that stock_llm.feedback.store hands over, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
