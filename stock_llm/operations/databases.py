"""The databases of a project and their schemas: which an upgrade would migrate.

Reads alone: a store is not opened, since opening migrates it, and no library is imported for the
migrations that lie in it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from stock_llm.feedback.tables import SCHEMA as FEEDBACK
from stock_llm.gateway.accounting.tables import SCHEMA as COSTS
from stock_llm.settings import Settings

_REVISION = re.compile(r"^revision(?:: *[\w| ]+)? *= *[\"'](\w+)[\"']", re.MULTILINE)
_DOWN = re.compile(r"^down_revision(?:: *[^=\n]+)? *= *(.+)$", re.MULTILINE)
_NAME = re.compile(r"[\"'](\w+)[\"']")


@dataclass(frozen=True)
class DatabaseVersion:
    """The schema of one database.

    Attributes:
        place: file or URL, without a password.
        current: its schema; empty where there is no database yet.
        newest: the schema that the installed program wants; empty where that is not installed.
        problem: why it could not be read.
    """

    name: str
    place: str
    current: str
    newest: str
    problem: str = ""

    @property
    def is_behind(self) -> bool:
        """Whether the next start of the program migrates it."""
        return bool(self.current and self.newest and self.current != self.newest)


def database_versions(settings: Settings) -> list[DatabaseVersion]:
    """The databases of feedback, costs, MLflow and Prefect."""
    services = settings.services
    prefect = services.prefect_database or f"sqlite:///{services.prefect_folder / 'prefect.db'}"
    prefect_kind = prefect.partition(":")[0].partition("+")[0]
    found = [
        _version("feedback", settings.url(settings.feedback_url), FEEDBACK.migrations / "versions"),
        _version(
            "costs",
            settings.url(settings.gateway.costs_url),
            COSTS.migrations / "versions",
            "costs_version",
        ),
    ]
    if not settings.mlflow_uri.startswith("http"):
        folder = _inside("mlflow", "store/db_migrations/versions")
        found.append(_version("MLflow", settings.url(settings.mlflow_uri), folder))
    folder = _inside("prefect", f"server/database/_migrations/versions/{prefect_kind}")
    return [*found, _version("Prefect", settings.url(prefect), folder)]


def newest_revision(migrations: Path) -> str:
    """The revision that no other follows, of Alembic scripts; empty where there are none."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for script in migrations.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        revisions.update(_REVISION.findall(text))
        for before in _DOWN.findall(text):
            followed.update(_NAME.findall(before))
    return ", ".join(sorted(revisions - followed))


def _version(
    name: str, url: str, migrations: Path | None, table: str = "alembic_version"
) -> DatabaseVersion:
    newest = newest_revision(migrations) if migrations else ""
    parsed = sa.make_url(url)
    place = parsed.database or ""
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and not Path(place).exists():
        return DatabaseVersion(name, place, "", newest)
    if not is_file:
        place = parsed.render_as_string()
    try:
        engine = _reading_engine(parsed)
        try:
            with engine.connect() as connection:
                rows: Iterable[str] = connection.execute(
                    sa.text(f"SELECT version_num FROM {table}")
                ).scalars()
                return DatabaseVersion(name, place, ", ".join(sorted(rows)), newest)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:  # ImportError: its driver is missing
        problem = str(getattr(error, "orig", error)).splitlines()[0]
        return DatabaseVersion(name, place, "", newest, problem)


def _reading_engine(url: sa.URL) -> sa.Engine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        return sa.create_engine(f"sqlite:///file:{url.database}?mode=ro&uri=true")
    if backend == "postgresql":
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 5}
        )
    return sa.create_engine(url)


def _inside(library: str, folder: str) -> Path | None:
    """A folder of an installed library; None where that is not installed."""
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / folder
