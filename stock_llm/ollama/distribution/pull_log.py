"""Which version each consumer took last: a small JSON file, written whole or not at all."""

import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from stock_llm.storage.checksums import read_record, write_record

FILE = "data/pulls.json"
"""In the home folder."""


@dataclass(frozen=True)
class Pull:
    """What a consumer asked the manifest of.

    Attributes:
        tag: as it was asked for: `latest`, `v7`.
        digest: of the manifest (hex).
        since: when this digest was asked for first under this tag, ISO 8601, UTC.
        last: when it was asked for last.
    """

    tag: str
    digest: str
    since: str
    last: str


@dataclass(frozen=True)
class PullLog:
    """The pulls of all consumers.

    Args:
        file: need not be there.
    """

    file: Path

    def all(self) -> dict[str, list[Pull]]:
        """Consumer → their last pull under each tag, the newest first."""
        names = (read_record(self.file) or {}).get("pulls", {})
        return {
            name: sorted((Pull(**pull) for pull in pulls), key=lambda pull: pull.last, reverse=True)
            for name, pulls in names.items()
        }

    def is_damaged(self) -> bool:
        """Whether it cannot be told any more who pulled which version."""
        return self.file.exists() and read_record(self.file) is None

    def note(self, name: str, tag: str, digest: str) -> None:
        """Remember that a consumer asked for a manifest; a full disk is no reason to refuse it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.file.with_name(f".{self.file.name}.lock")):
                if self.is_damaged():  # to write it anew would forget what the others have
                    print(f"the pull of {name} is not noted. Delete {self.file}", file=sys.stderr)
                    return
                known = self.all()
                pulls = {pull.tag: pull for pull in known.get(name, [])}
                before = pulls.get(tag)
                since = before.since if before and before.digest == digest else now
                pulls[tag] = Pull(tag, digest, since, now)
                known[name] = list(pulls.values())
                values = {who: [asdict(pull) for pull in own] for who, own in known.items()}
                write_record(self.file, {"pulls": values})
        except OSError as error:
            print(
                f"{self.file}: {error.strerror}; the pull of {name} is not noted", file=sys.stderr
            )
