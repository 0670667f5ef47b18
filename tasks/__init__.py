"""The stages of the pipeline, one per file; no stage imports another."""
