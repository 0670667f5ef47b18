"""One file per skill: its builder (`row`) and its deterministic scorer (`score`) side by side.

To add a skill, write such a file and name it below.
"""

from types import ModuleType

from stock_llm.skills import (
    abstain,
    analyse,
    code,
    explain,
    follow,
    portfolio,
    review,
    sentiment,
    signal,
)

SKILLS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (analyse, signal, explain, review, portfolio, code, sentiment, follow, abstain)
}
"""Name of a skill → its module."""
