"""How fast a published file answers one person at a time: seconds to the first word, tokens a
second after it, memory.

Measured on questions of the holdout while a model is judged, in a process of its own, so that the
memory is the model's and not that of training. Judging itself asks many rows at once, which nobody
who waits for an answer does. The answers are compared with those of judging: that several rows at
once change no text is counted, not assumed.

    python -m stock_llm.pipeline.judging.speed < REQUEST     what the process reads and writes: JSON
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stock_llm.errors import StockLLMError
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import Profile
from stock_llm.llm.runtime.devices import find_device
from stock_llm.pipeline.judging.asking import ModelAnswers, answers_folder, question
from stock_llm.pipeline.judging.contestants import Contestant
from stock_llm.settings import Settings
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of, read_record, write_record

QUESTIONS = 8

SECONDS = 120.0
"""After which no further question is asked."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        first_seconds: median time to the first word, the whole prompt included.
        tokens_per_second: of an answer after its first token; the median.
        memory: most bytes that the process had in main memory, the mapped file included.
        gpu_memory: bytes that it took of the GPU; 0 without one.
        asked: how many questions.
        same: how many of the answers are those of judging.
    """

    first_seconds: float
    tokens_per_second: float
    memory: int
    gpu_memory: int
    asked: int
    same: int


def measure(
    settings: Settings,
    profile: Profile,
    contestant: Contestant,
    rows: list[Row],
    answers: ModelAnswers,
) -> Speed:
    """The speed of a contestant on this machine; the same file is measured once.

    Args:
        answers: those of judging, to all `rows`.

    Raises:
        StockLLMError: the process ended with an error.
    """
    places = list(range(0, len(rows), max(1, len(rows) // QUESTIONS)))[:QUESTIONS]
    request = {
        "gguf": str(contestant.gguf),
        "threads": settings.threads,
        "context": profile.serving.num_ctx,
        "limit": profile.serving.num_predict,
        "stop": contestant.stop,
        "prompts": [question(profile, contestant, rows[place]).prompt for place in places],
    }
    known = {**request, "gguf": contestant.sha256, "answers": [answers.answers[p] for p in places]}
    cache = answers_folder(settings) / f"{digest_of(speed=known)}.json"
    if (record := read_record(cache)) is None:
        seen = _in_own_process(request | {"lora": str(contestant.lora or "")})
        asked = seen["answers"]
        pairs = zip(asked, places, strict=False)
        speeds = [each["tokens_per_second"] for each in asked if each["tokens_per_second"]]
        record = asdict(
            Speed(
                first_seconds=median(each["first_seconds"] for each in asked),
                tokens_per_second=median(speeds) if speeds else 0.0,
                memory=seen["memory"],
                gpu_memory=seen["gpu_memory"],
                asked=len(asked),
                same=sum(each["text"] == answers.answers[place] for each, place in pairs),
            )
        )
        write_record(cache, record)
    return Speed(**record)


def _in_own_process(request: dict[str, Any]) -> dict[str, Any]:
    """
    Raises:
        StockLLMError: the process ended with an error.
    """
    process = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last = (process.stderr.strip() or "no word").splitlines()[-1]
        raise StockLLMError(f"measuring the speed of {request['gguf']} failed: {last}")
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answer


def _ask(
    gguf: str,
    threads: int,
    context: int,
    limit: int,
    stop: Sequence[str],
    prompts: list[str],
    lora: str = "",
) -> dict[str, Any]:
    """The answers with their times, and the memory that they took."""
    device = find_device()
    started = time.monotonic()
    answers: list[dict[str, Any]] = []
    with LlamaModel(Path(gguf), threads, context, Path(lora) if lora else None) as model:
        model.generate(prompts[0], max_tokens=1)  # pages of the file are read, buffers made
        for prompt in prompts:
            if answers and time.monotonic() - started > SECONDS:
                break
            answers.append(_timed(model, prompt, limit, stop))
        after = find_device()
        taken = max(0, device.free - after.free) if device and after else 0
    return {"answers": answers, "memory": _peak_memory(), "gpu_memory": taken}


def _timed(model: LlamaModel, prompt: str, limit: int, stop: Sequence[str]) -> dict[str, Any]:
    """An answer, when its first word came, and how fast the rest did."""
    model.generate("\n", max_tokens=1)  # so that nothing of the prompt is in the cache
    begun = time.perf_counter()
    first = 0.0
    pieces = model.pieces(prompt, limit, stop)
    while True:
        try:
            next(pieces)
            first = first or time.perf_counter() - begun
        except StopIteration as end:
            generation = end.value
            break
    whole = time.perf_counter() - begun
    rest = generation.tokens_out - 1
    return {
        "text": generation.text,
        "first_seconds": first or whole,
        "tokens_per_second": rest / (whole - first) if first and rest > 0 and whole > first else 0,
    }


def _peak_memory() -> int:
    """Most bytes that this process had in main memory (proc(5), VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return next(
        int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")
    )


if __name__ == "__main__":
    print(json.dumps(_ask(**json.load(sys.stdin))))
