"""Answers of a base with an adapter in PyTorch, several prompts at once.

What is published is asked through llama.cpp (`llama_cpp.py`); this is for decisions inside of
training, where there is no file yet. Importing it takes seconds (torch, peft).
"""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from stock_llm.llm.base import LoadedBase
from stock_llm.progress import progress


def write_answers(
    base: LoadedBase,
    adapter: Path,
    prompts: list[str],
    stop: tuple[str, ...],
    limit: int,
    batch: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """What the adapted model answers to each rendered prompt, the end not included. The base is
    left as it was.

    Args:
        stop: texts that end an answer.
        limit: tokens of an answer, at most.
        batch: prompts at once; those of like length go together.
        temperature: answers are sampled with it; 0: the most likely token each time.
        seed: of the sampling.
    """
    model: Any = PeftModel.from_pretrained(base.model, str(adapter)).eval()
    ids = base.tokenizer(prompts).input_ids
    end = base.tokenizer.eos_token_id
    known = base.tokenizer.get_vocab()
    ends = sorted({end} | {known[text] for text in stop if text in known})
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    answers = [""] * len(ids)
    groups = [order[start : start + batch] for start in range(0, len(order), batch)]
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    for group in progress(groups, "asking the validation questions"):
        longest = max(len(ids[place]) for place in group)
        missing = [longest - len(ids[place]) for place in group]
        with torch.inference_mode():
            written = model.generate(
                input_ids=torch.tensor(
                    [[end] * pad + ids[place] for pad, place in zip(missing, group, strict=True)],
                    device=base.model.device,
                ),
                attention_mask=torch.tensor(
                    [[0] * pad + [1] * (longest - pad) for pad in missing],
                    device=base.model.device,
                ),
                **sampling,
                max_new_tokens=limit,
                eos_token_id=ends,
                pad_token_id=end,
            )
        for place, row in zip(group, written[:, longest:].tolist(), strict=True):
            length = next((at for at, token in enumerate(row) if token in ends), len(row))
            text = str(base.tokenizer.decode(row[:length]))
            answers[place] = min((text.partition(mark)[0] for mark in stop), key=len).strip()
    model.unload()
    return answers
