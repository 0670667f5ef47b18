"""The checks that a GGUF passes before anybody asks it: writings, tokens and limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import Profile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.parity.limits import check_limits, read_keys
from stock_llm.parity.prompts import Question, Tokens, check_rendering, check_tokens


@dataclass(frozen=True)
class Serving:
    """What was trained, and how it will be asked.

    Attributes:
        base: the folder of the base, with its tokenizer.
        tokens: how training tokenizes.
        asked: the questions that have to be the same everywhere.
    """

    home: Path
    base: Path
    profile: Profile
    tokens: Tokens
    asked: Sequence[Question]

    def check(self, gguf: Path, model: LlamaModel, is_ours: bool = True) -> dict[str, Any]:
        """The limits of a file, when all of it is as in training.

        Args:
            model: the same file, loaded.
            is_ours: whether its chat template is; that of another file is not looked at, since the
                Modelfile's is used in its place.

        Raises:
            ParityError: something differs; names it.
        """
        profile = self.profile
        modelfile = modelfile_of(profile, gguf, self.home)
        keys = read_keys(gguf)
        limits = check_limits(keys, self.base, profile, modelfile)
        jinja = keys.get("tokenizer.chat_template", "") if is_ours else profile.format.jinja
        check_rendering(self.asked, profile.format, jinja, modelfile)
        context = profile.serving.num_ctx
        check_tokens(self.asked, profile.format, self.tokens, model, context)
        return limits
