"""Trade ids and names of exports stay in the private folder: no artifact has them, and what was hashed leads back."""

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories.profiles import write_profile

from stock_llm.dataset import provenance
from stock_llm.dataset.privacy.pseudonyms import pseudonym
from stock_llm.pipeline import forgetting
from stock_llm.pipeline.private_folder import parse_cache, private_folder
from stock_llm.portfolio import holdings
from stock_llm.secrets import account_hash
from stock_llm.settings import load_settings
from stock_llm.skills.row import read_rows
from tasks.build_dataset import build_dataset
from tasks.collect import collect

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
ID, FILE = "CANARY-ID", "jane-canary-U7654321.csv"


def exports() -> tuple[str, str]:
    """The sample's trades under ids that are canaries, with a bad row, one that stands twice and two that contradict; and a file that
    overlaps with it."""
    header, *rows = csv.reader((SAMPLE / "trades.csv").read_text().splitlines())
    rows = [[f"{ID}-{row[0]}", *row[1:]] for row in rows]
    bad = [f"{ID}-bad", "someday", *rows[0][2:]]
    contradicting = [rows[5][0], *rows[6][1:]]

    def text(lines: list[list[str]]) -> str:
        out = io.StringIO()
        csv.writer(out).writerows([header, *lines])
        return out.getvalue()

    return text([*rows, rows[1], bad]), text([*rows[8:20], contradicting])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("private") / "home"
        patch.setenv("STOCK_LLM_SECRETS", str(home.parent / "secrets"))
        shutil.copytree(SAMPLE / "candles", home / "candles")
        (home / "trades").mkdir()
        for number, text in enumerate(exports()):
            (home / "trades" / f"{number} {FILE}").write_text(text)
        write_profile(home, holdout_rows=20)
        settings = load_settings(
            home=home, trades="trades", candles="candles", exchange="24/5", train_rows=80
        )  # fmt: skip
        history = collect.fn(settings)
        yield settings, history, build_dataset.fn(settings, history)


def text_of(path: Path) -> str:
    """All that a file holds, unpacked where it is Parquet."""
    if path.suffix != ".parquet":
        return path.read_bytes().decode("utf-8", "replace")
    table = pq.read_table(path)
    return json.dumps([str(table.schema.metadata), table.to_pylist()], default=str)


def test_no_artifact_has_a_trade_id_or_the_name_of_an_export(built):
    settings, _, dataset = built
    forgetting.forget(settings, "trade", f"{ID}-T00031")
    assert "trade id:" in (dataset.folder / "forgotten.json").read_text()
    files = [path for path in settings.artifacts.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        text = text_of(path)
        assert ID not in text and "canary" not in text and "U7654321" not in text, path
    private = private_folder(settings).rglob("*.parquet")
    assert any(ID in text_of(path) for path in private), "the search would find them"


def test_the_private_folder_is_for_its_owner_alone(built):
    settings, history, _ = built
    for folder in (private_folder(settings), parse_cache(settings)):
        assert folder.stat().st_mode & 0o777 == 0o700
    files = [*parse_cache(settings).iterdir(), history.trades, history.quarantine, history.findings]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_hashed_id_leads_back_to_the_line_and_can_be_forgotten(built):
    settings, _, dataset = built
    hashed = partial(account_hash, folder=settings.secrets)
    row = next(
        row
        for row in read_rows(dataset.train)
        if row.source["kind"] == "trade" and row.skill == "signal"
    )
    row_origins = provenance.find(
        settings.artifacts, private_folder(settings) / "history", row.id, (), hashed
    )
    trade = next(origin for origin in row_origins.origins if origin.what == "trade")
    lines = (settings.home / "trades" / trade.file).read_text().splitlines()
    trade_id = lines[trade.rows[0] - 1].partition(",")[0]
    assert trade_id.startswith(ID) and row.source["ref"] == pseudonym(f"generic:{trade_id}", hashed)
    assert forgetting.forget(settings, "trade", row.source["ref"]).mark == f"generic:{trade_id}"


def test_trades_of_one_day_keep_the_order_of_their_ids(built):
    _, history, _ = built
    ids = pq.read_table(history.trades, columns=["executed_at", "entry_id"]).to_pylist()
    assert ids == sorted(ids, key=lambda row: (row["executed_at"], row["entry_id"]))
    fills = holdings.read_fills(pq.read_table(history.steps))
    days = [(fill.symbol, fill.day, fill.ref) for fill in fills]
    assert len({day for _, day, _ in days}) < len(days), "some days have several"
    rank = {row["entry_id"]: place for place, row in enumerate(ids)}
    assert [rank[ref] for _, _, ref in days] == sorted(rank[ref] for _, _, ref in days)


def test_what_earlier_versions_kept_elsewhere_is_moved(tmp_path):
    settings = load_settings(home=tmp_path)
    for name in ("artifacts/history/0a", "artifacts/parts", "database"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.parquet").write_bytes(b"x")
    folder = private_folder(settings)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")) == [
        "database/x.parquet", "history/0a/x.parquet", "parts/x.parquet"
    ]  # fmt: skip
    assert not settings.path("data/database").exists() and not list(settings.artifacts.iterdir())
    (settings.artifacts / "parts").mkdir()
    assert private_folder(settings) == folder and not (settings.artifacts / "parts").exists()
