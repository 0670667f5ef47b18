"""Builds stock-tiny from scratch: corpus → tokenizer → training → model folder with a card.

An interrupted build goes on from its last checkpoint. The corpus and the tokenizer are the same
bytes on every machine, the weights are not: `check` compares their loss with the stated one.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.evaluation.answers import VERDICTS
from stock_llm.storage.atomic import move_into_place
from stock_llm.storage.checksums import digest_of
from stock_llm.synthetic.stock_tiny import ability_tests, corpus
from stock_llm.synthetic.stock_tiny.card import card
from stock_llm.synthetic.stock_tiny.train import (
    ModelShape,
    TrainingBudget,
    TrainingState,
    held_out_loss,
    train,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import MistralForCausalLM

FACTS_FILE = "facts.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
TOKENIZER_DOCUMENTS = 40_000
TOLERANCE = 0.02
"""Nats per token by which a loss may differ from the stated one: another processor, another
library."""


@dataclass(frozen=True)
class BuildFacts:
    """What the card states.

    Attributes:
        loss: of the weights in the file (bfloat16) on the held-out documents, nats per token.
        train_loss: mean of the last hundred steps.
        corpus_sha256: of the first documents, see `corpus.fingerprint`.
        abilities: see `probe.measure`.
    """

    seed: int
    steps: int
    tokens: int
    minutes: float
    threads: int
    parameters: int
    loss: float
    train_loss: float
    corpus_sha256: str
    abilities: dict[str, float]
    shape: dict[str, int]


def build(
    folder: Path,
    work: Path,
    threads: int,
    budget: TrainingBudget,
    seed: int = corpus.SEED,
    shape: ModelShape = ModelShape(),  # noqa: B008  frozen
    resume: bool = True,
    questions: int = 100,
    documents: int = TOKENIZER_DOCUMENTS,
) -> Path:
    """Trains stock-tiny from scratch into `folder` and returns it.

    Args:
        work: where checkpoints are kept until the build is finished.
        threads: CPU threads.
        resume: go on from the checkpoint of an interrupted build of the same corpus and shape;
            False: begin anew.
        questions: how many of each kind the probe asks.
        documents: how many the tokenizer is trained on.

    Raises:
        MissingExtra: the extra `train` is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from None

    old = _old(folder)
    if old.exists() and not folder.exists():  # a build was killed while it replaced the model
        old.rename(folder)
    recipe = digest_of(
        corpus=corpus.fingerprint(seed), seed=seed, shape=asdict(shape), documents=documents
    )
    work /= recipe
    checkpoint = work / "checkpoint.pt"
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    tokenizer = _tokenizer(work / "tokenizer", seed, shape.vocabulary, documents)
    trained = _trained(shape, tokenizer, seed, budget, checkpoint, threads)
    return write(folder, threads, trained, work / "tokenizer", seed, shape, questions)


def write(
    folder: Path,
    threads: int,
    trained: TrainingState,
    tokenizer_folder: Path,
    seed: int,
    shape: ModelShape,
    questions: int,
) -> Path:
    """Writes weights, tokenizer and card of a training beside the old ones, then puts them in their
    place."""
    import torch
    from tokenizers import Tokenizer
    from transformers import MistralForCausalLM

    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    trained.model.to(torch.bfloat16).save_pretrained(partial)  # type: ignore[arg-type]
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer_folder / name, partial / name)
    tokenizer = Tokenizer.from_file(str(partial / "tokenizer.json"))
    written = MistralForCausalLM.from_pretrained(partial, dtype=torch.float32)
    facts = BuildFacts(
        seed=seed,
        steps=trained.steps,
        tokens=trained.tokens,
        minutes=round(trained.seconds / 60, 1),
        threads=threads,
        parameters=written.num_parameters(),
        loss=round(held_out_loss(written, tokenizer, seed), 4),
        train_loss=round(trained.loss, 4),
        corpus_sha256=corpus.fingerprint(seed),
        abilities={
            name: round(share, 2)
            for name, share in ability_tests.measure(written, tokenizer, seed, questions).items()
        },
        shape=asdict(shape),
    )
    (partial / FACTS_FILE).write_text(json.dumps(asdict(facts), indent=1) + "\n", encoding="utf-8")
    (partial / "README.md").write_text(
        card(asdict(facts), _samples(written, tokenizer)), encoding="utf-8"
    )
    old = _old(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    move_into_place(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def check(folder: Path) -> float:
    """Computes the held-out loss of the model in `folder`.

    Raises:
        InputError: there is no such model.
        StockLLMError: the corpus is not the stated one, or the loss is off by more than
            `TOLERANCE`.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import MistralForCausalLM

    if not (folder / FACTS_FILE).is_file():
        raise InputError(
            "there is no stock-tiny to check", file=folder, remedy="Make it: stock-llm base build"
        )
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    if (fingerprint := corpus.fingerprint(facts["seed"])) != facts["corpus_sha256"]:
        raise StockLLMError(
            f"the corpus of seed {facts['seed']} is {fingerprint[:12]}, the card says "
            f"{facts['corpus_sha256'][:12]}"
        )
    model = MistralForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loss = held_out_loss(model, Tokenizer.from_file(str(folder / "tokenizer.json")), facts["seed"])
    if abs(loss - facts["loss"]) > TOLERANCE:
        raise StockLLMError(f"the held-out loss is {loss:.4f}, the card says {facts['loss']:.4f}")
    return loss


def tokenizer_lines(seed: int, documents: int) -> Iterator[str]:
    """The lines that the tokenizer is trained on: those of documents without the signs of a turn,
    and with a space between the letters of a symbol.

    So a symbol has one token a letter, as a number has one a digit, and is copied like one; pieces
    of two or three letters would each be seen too seldom.
    """
    for text in corpus.documents(seed, corpus.HELD_OUT, documents):
        for sign in ("[INST]", "[/INST]", "</s>"):
            text = text.replace(sign, "\n")
        text = _CAPITALS.sub(_spaced, text)
        yield from filter(None, text.splitlines())


_CAPITALS = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2,}(?![A-Za-z0-9])")
_TERMS = {"ATR", "EMA", "MACD", "RSI", "SMA", "VWAP"}.union(*VERDICTS.values())


def _spaced(word: re.Match[str]) -> str:
    return word[0] if word[0] in _TERMS else " ".join(word[0])


def _tokenizer(folder: Path, seed: int, vocabulary: int, documents: int) -> "Tokenizer":
    """Trains the tokenizer unless it is there already."""
    from tokenizers import Tokenizer

    from stock_llm.synthetic.stock_tiny.tokenizer import train_tokenizer

    if not folder.exists():
        partial = folder.with_name("tokenizer.partial")
        train_tokenizer(tokenizer_lines(seed, documents), partial, vocabulary)
        move_into_place(partial, folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _trained(
    shape: ModelShape,
    tokenizer: "Tokenizer",
    seed: int,
    budget: TrainingBudget,
    checkpoint: Path,
    threads: int,
) -> TrainingState:
    """The training, with a bar."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from stock_llm.progress import WatchedProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with WatchedProgress(*columns, TextColumn("left"), TimeRemainingColumn()) as bar:
        task = bar.add_task("Training stock-tiny", total=1.0)
        trained = None
        for spent, loss, trained in train(shape, tokenizer, seed, budget, checkpoint, threads):
            bar.update(
                task,
                completed=spent,
                description=f"Training stock-tiny, step {trained.steps}, loss {loss:.2f}",
            )
    assert trained is not None
    return trained


def _samples(model: "MistralForCausalLM", tokenizer: "Tokenizer") -> dict[str, str]:
    """Beginnings and how the model goes on, greedily."""
    beginnings = (
        "What is RSI?\n",
        "แนวรับ คืออะไร\n",
        "Market report, 2024-05-20\n\n",
        "รายงานตลาด 2024-05-20\n\n",
    )
    return dict(
        zip(beginnings, ability_tests.generate(model, tokenizer, list(beginnings), 60), strict=True)
    )
