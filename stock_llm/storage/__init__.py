"""Where things are kept: databases, atomic writes, checksums, Parquet, parsed files, quarantine."""
