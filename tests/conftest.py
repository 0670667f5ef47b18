"""What several test files stand on: a private home for every test, and a tiny base model made once."""

import os
import random
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from factories import public_texts, vendor_candles
from factories.further_samples import SHARED
from fakes import postgres_server
from hypothesis import settings

from stock_llm import environment

environment.prepare()

settings.register_profile("same", derandomize=True)
settings.load_profile("same")
"""The same examples on every run, so that what passed once passes again; `make soak` looks for new ones."""

RECORDED = Path(__file__).parent / "recorded" / "ollama.json"
"""What a real Ollama was asked and answered, exchange by exchange."""

TINY_PROFILE = """
name = "tiny"
path = "models/tiny"
revision = ""
licence = "Apache-2.0"
knowledge_cutoff = 2020-12-31

[lora]
rank = 4
alpha = 8
dropout = 0.0

[training]
epochs = 1
batch = 4
accumulate = 1
learning_rate = 5e-3
warmup_ratio = 0.0
max_tokens = 640
precision = "float32"

[gguf]
quantization = "Q8_0"

[serving]
temperature = 0.0
num_ctx = 1024
num_predict = 160

[evaluation]
holdout_rows = 20
"""


@pytest.fixture(scope="session", params=["own", "shared"] if SHARED.is_dir() else ["own"])
def public_data(request, tmp_path_factory) -> Path:
    """Folder of candles, headlines and instructions as people publish them: made up for the tests, and real ones where they are."""
    if request.param == "shared":
        return SHARED
    folder = tmp_path_factory.mktemp("public")
    vendor_candles.write_all(folder / "ohlcv")
    return public_texts.write_all(folder)


@pytest.fixture(autouse=True)
def _private(monkeypatch, tmp_path):
    """No test reads the user's settings, secrets or servers."""
    for name in [name for name in os.environ if name.startswith("STOCK_LLM_")] + ["OLLAMA_HOST"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "secrets"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A home folder whose profile `tiny` is a random Mistral of 0.4 M parameters with a real SentencePiece tokenizer."""
    import torch
    from factories.rows import rows_of_all_skills
    from transformers import MistralConfig, MistralForCausalLM

    from stock_llm.synthetic.stock_tiny.tokenizer import train_tokenizer

    home = tmp_path_factory.mktemp("tiny")
    (home / "models" / "profiles").mkdir(parents=True)
    (home / "models" / "profiles" / "tiny.toml").write_text(TINY_PROFILE)
    lines = [
        line
        for row in rows_of_all_skills(400)
        for line in f"{row.instruction}\n{row.input}\n{row.output}".split("\n")
        if line
    ]
    random.Random(1).shuffle(lines)
    folder = home / "models" / "tiny"
    train_tokenizer(lines, folder, vocab_size=600)
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=600, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=4,
        head_dim=32, max_position_embeddings=1024, sliding_window=None, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    MistralForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return home


@pytest.fixture(scope="session")
def _empty_registry(tmp_path_factory) -> Path:
    """MLflow's database with nothing in it: making one takes MLflow seconds, copying it none."""
    from stock_llm.pipeline import registry
    from stock_llm.settings import load_settings

    home = tmp_path_factory.mktemp("registry")
    registry.connect(load_settings(home=home))
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def bare_home(tmp_path) -> Path:
    """A home folder with the profile `tiny`, which has no weights."""
    home = tmp_path / "home"
    (home / "models" / "profiles").mkdir(parents=True)
    (home / "models" / "profiles" / "tiny.toml").write_text(TINY_PROFILE)
    return home


@pytest.fixture
def registry_home(bare_home, _empty_registry) -> Path:
    """The same with an empty registry."""
    (bare_home / "mlflow").mkdir()
    shutil.copy(_empty_registry, bare_home / "mlflow")
    return bare_home


@pytest.fixture(scope="session")
def _postgres_server():
    pytest.importorskip(
        "psycopg",
        reason="psycopg is not installed: pip install -c constraints.txt -e '.[postgres]'",
    )
    programs = postgres_server.folder_of_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    with postgres_server.running(programs) as url:
        yield url


@contextmanager
def _new_database(_postgres_server: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(
        f"{_postgres_server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield f"{_postgres_server}/{name}"
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgres(_postgres_server):
    """URL of a new, empty PostgreSQL database."""
    with _new_database(_postgres_server) as url:
        yield url


@pytest.fixture
def postgres_databases(_postgres_server):
    """Makes new, empty PostgreSQL databases: their URLs, one for each name."""
    with ExitStack() as made:
        yield lambda *names: {
            name: made.enter_context(_new_database(_postgres_server)) for name in names
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    """URL of a store that is not there yet, in each kind of database that holds one."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    return f"sqlite:///{tmp_path}/a folder/100%/store.db"
