"""The settings of publishing: the table `[publish]` of stock-llm.toml, or
`STOCK_LLM_PUBLISH__KEEP=…` in the environment.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PublishSettings(BaseModel):
    """Where versions go besides the folder and the Ollama of this project, and how many stay."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["merged", "adapter"] = "merged"
    """What a version is: one file with the adapter merged into the base, or the base's file, which
    all versions share, and the adapter beside it, so that an update moves the adapter alone."""

    keep: int = Field(default=5, ge=1)
    """How many versions stay where they are published, the newest. The champion, the one before it
    and what a consumer still has stay besides. The files that a version was made from are not
    touched: `stock-llm rollback` and `publish` bring it back."""

    serve: bool = False
    """Whether the gateway gives versions to the Ollama servers of others: `ollama pull
    HOST:PORT/library/stock-llm`. On this machine everybody may pull, elsewhere the keys of
    `stock-llm consumers`."""

    proxies: list[str] = []
    """Addresses of reverse proxies whose X-Forwarded-Proto and X-Forwarded-Host are believed, as
    in 127.0.0.1 for an nginx on this machine. Who comes through one is not on this machine."""

    registry: str = Field(default="", pattern=r"^(https?://[^/\s]+(/[\w-]+)?/?)?$")
    """A registry of your company that versions are pushed to, https://HOST/NAMESPACE, as
    deploy/registry makes one. Empty: none."""

    safetensors: bool = False
    """Whether each version is also written as a folder of merged safetensors, for vLLM, TGI and
    transformers: models/safetensors/vN."""

    address: str = Field(default="", pattern=r"^([\w.-]+|\[[0-9a-fA-F:]+\])?(:\d+)?$")
    """HOST:PORT at which the Ollama of another machine reaches this project's gateway, to pull
    versions from it. Empty: files are uploaded to such an Ollama instead."""
