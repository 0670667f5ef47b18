"""One stage of the line per file: a Prefect task, the work itself inside. No stage imports another."""
