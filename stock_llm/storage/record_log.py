"""A file to which records are appended as they come, each line with its own SHA-256.

A kill or a full disk damages the last line at most. What is damaged is left out when the file is
read, told in one line, and taken out of the file. Lines are not waited for on the disk: they can be
made again.
"""

import json
import sys
from pathlib import Path
from typing import Any

from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import digest_of


class RecordLog:
    """The records of a file, and those that are appended to it.

    Attributes:
        records: in their order, as dictionaries of JSON values.

    Args:
        path: JSON Lines; it need not be there.
    """

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        read = [(line, _record(line)) for line in lines]
        self.records = [record for _, record in read if record is not None]
        if damaged := len(read) - len(self.records):
            print(f"{path}: {damaged} damaged line(s) are dropped", file=sys.stderr)
            with atomic_path(path, durable=False) as whole:
                whole.write_bytes(b"".join(line for line, record in read if record is not None))

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record, which is in the file when this returns."""
        line = json.dumps({"sha256": digest_of(record=record), **record}, ensure_ascii=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(line.encode() + b"\n")
        self.records.append(record)


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it is damaged."""
    try:
        record: dict[str, Any] = json.loads(line)
        if line.endswith(b"\n") and record.pop("sha256") == digest_of(record=record):
            return record
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return None
