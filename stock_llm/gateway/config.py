"""The dials of the gateway: the table `[gateway]` of stock-llm.toml, or `STOCK_LLM_GATEWAY__PORT=…` in the environment.

Everything that would send a word off this machine, or spend a cent, is off. Knows nothing of what the dials are used for.
"""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ServerSettings(BaseModel):
    """One server that speaks OpenAI's API: vLLM, LM Studio, text-generation-webui, llama.cpp's server."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^https?://")
    """Base URL, as in http://127.0.0.1:8000/v1. On a loopback address it counts as this machine."""

    models: list[str] = []
    """Its models, the default first. Empty: what it lists."""

    key: SecretStr = SecretStr("")
    """Sent as a bearer token where it is set."""


class GatewaySettings(BaseModel):
    """Everything that a person may set about the gateway."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on. Anything but a loopback address needs a token."""

    port: int = Field(default=11435, ge=0, le=65535)
    """Port to listen on, one above Ollama's."""

    token: SecretStr = SecretStr("")
    """What callers must send as `Authorization: Bearer …`. Empty: nobody is asked, and only this machine can call."""

    policy: str = "service"
    """Routing rules: "service", "orchestrator", or the path of a TOML file of your own."""

    daily_dollars: Decimal = Field(default=Decimal(15), ge=0)
    """What usage-priced providers may cost in a day (UTC)."""

    monthly_dollars: Decimal = Field(default=Decimal(30), ge=0)
    """What usage-priced providers may cost in a calendar month (UTC)."""

    keep_back: Decimal = Field(default=Decimal(10), ge=0)
    """Dollars of the daily budget that the policy "service" leaves for urgent questions."""

    costs_url: str = "sqlite:///data/costs.db"
    """SQLAlchemy URL of the cost store: every call, and what is left of the budgets."""

    timeout: float = Field(default=120, gt=0)
    """Seconds that one provider has for a whole answer, or for the next piece of a stream."""

    models: list[str] = ["stock-llm:latest", "mistral:7b", "codellama:7b"]
    """Ollama models to count with before Ollama has been asked what it has, the default first."""

    parallel: int = Field(default=4, ge=1)
    """Requests that one local model works on at once. Two local models never work at once: both would spin on all cores."""

    queue: int = Field(default=128, ge=0)
    """Requests that wait for local models before the next one is told to come back later."""

    embedded: bool = True
    """Whether the published model is run by the gateway itself when no Ollama answers."""

    embedded_megabytes: int = Field(default=4096, ge=64)
    """The largest model, context included, that the gateway runs itself."""

    embedded_minutes: float = Field(default=5, gt=0)
    """How long a model that nobody asks is kept in memory."""

    servers: dict[str, ServerSettings] = {}
    """OpenAI-compatible servers by name, as in `[gateway.servers.vllm]`."""

    claude_cli: bool = False
    """Whether the `claude` command may be asked."""

    claude_command: str = "claude"
    """The command, looked for on the PATH."""

    claude_cli_models: list[str] = ["sonnet"]
    """Models to ask the command for, the default first."""

    claude_cli_uses_api_key: bool = False
    """Whether the command gets the gateway's ANTHROPIC_* variables. With a key in them it bills that key, outside the budgets."""

    claude_api: bool = False
    """Whether the Claude API may be asked; its key is ANTHROPIC_API_KEY."""

    claude_api_models: list[str] = ["claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5"]
    """Models to ask the API for, the default first. Each needs a price."""

    claude_api_url: str = "https://api.anthropic.com"
    """Where the Claude API is."""

    max_tokens: int = Field(default=2048, ge=1)
    """Longest answer of a cloud model where the caller sets no limit: what is reserved of the budget goes by it."""

    request_megabytes: float = Field(default=8, gt=0)
    """Largest request."""

    cache_megabytes: float = Field(default=16, ge=0)
    """Memory for answers to repeated requests that ask for determinism (temperature 0 or a seed). 0: no cache."""

    cache_minutes: float = Field(default=5, gt=0)
    """How long such an answer is given again."""

    keep_answers_days: float = Field(default=30, ge=0)
    """How long questions and answers are kept on this machine, so that feedback knows what it is about. 0: not at all."""

    manage_models: bool = False
    """Whether other machines may create, copy, pull, push and delete Ollama's models through the gateway; this one may."""
