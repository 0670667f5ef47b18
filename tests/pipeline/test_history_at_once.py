"""A gateway, a run and a command that see a new file at the same time make one history of it."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stock_llm.pipeline import history
from stock_llm.settings import load_settings

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def test_a_history_is_made_once_however_many_ask_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "secrets"))
    candles = tmp_path / "data" / "sample" / "candles"
    candles.mkdir(parents=True)
    shutil.copy(SAMPLE / "candles" / "KESTRO.csv", candles)
    trades = "date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,3,239.5\n"
    (tmp_path / "data" / "sample" / "trades.csv").write_text(trades)
    settings = load_settings(home=tmp_path, ollama_host="")
    made, build = [], history.build_history

    def slowly(*arguments):
        made.append(arguments)
        time.sleep(0.3)
        return build(*arguments)

    monkeypatch.setattr(history, "build_history", slowly)
    history.open_feedback(settings)  # its tables are made before three ask for them
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: history.current(settings), range(3)))
    assert len(made) == 1
    assert len({each.folder for each in found}) == 1 and found[0].trades.is_file()
