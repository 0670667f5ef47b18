"""Build hook: puts what `stock-llm init` writes into the wheel. An editable install takes these
files from the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = ("prefect.yaml", "models/profiles", "models/stock-tiny", "data/sample")


class StarterFiles(BuildHookInterface):
    """Adds the files under stock_llm/starter/, where stock_llm/project_files.py looks for them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update(
                {name: f"stock_llm/starter/{name}" for name in FILES}
            )
