"""The settings of the gateway: the table `[gateway]` of stock-llm.toml, or
`STOCK_LLM_GATEWAY__PORT=…` in the environment.

Everything that sends data off this machine, or costs money, is off by default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stock_llm.ollama.config import PublishSettings
from stock_llm.truth.blocks import ComputedBlock, LedgerSharing

GroundingMode = Literal["auto", "off"]


class ServerSettings(BaseModel):
    """A server that speaks OpenAI's API: vLLM, LM Studio, text-generation-webui, llama.cpp's
    server."""

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
    """What callers must send as `Authorization: Bearer …` or `x-api-key`. Empty, and no user
    tokens: nobody is asked, and only this machine can call."""

    users: dict[str, SecretStr] = {}
    """Tokens of single users, name → token: feedback that comes with one of them is that user's."""

    trust_user_header: bool = False
    """Whether callers with the common token may name the user in X-User: for a chat program that
    knows its users and passes feedback on. Without a name it is that of "shared-token"."""

    origins: list[str] = []
    """Origins of web pages that may call besides those of this machine, as in
    https://chat.example."""

    hosts: list[str] = []
    """Names under which a gateway that listens on loopback may be addressed besides localhost,
    *.local and *.internal."""

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
    """Ollama models to assume before Ollama has listed its own, the default first."""

    parallel: int = Field(default=4, ge=1)
    """Requests that one local model works on at once. Two local models never work at once: both
    would spin on all cores."""

    queue: int = Field(default=128, ge=0)
    """Requests that wait for local models before the next one is refused with 503 and
    Retry-After."""

    embedded: bool = True
    """Whether the gateway itself runs the published model when no Ollama answers."""

    true_sentences: bool = True
    """Whether a model that the gateway itself runs may only choose among the true sentences where
    a question ends with numbers as `stock-llm ask` shows them."""

    grounding: GroundingMode = "auto"
    """Whether a question that names a symbol of the candles, a trade or the portfolio gets the
    computed numbers that `stock-llm ask` adds. A request may say otherwise."""

    ledger_to_cloud: LedgerSharing = "nothing"
    """What of your positions, trades and portfolio may go to a model that is not on this machine:
    "nothing", "percentages" (weights and returns, no quantities, prices paid or dates) or
    "everything". Indicators of a stock are no part of the ledger."""

    cloud_redaction: bool = True
    """Whether account numbers, e-mail addresses, phone numbers and the like are replaced by marks
    such as [EMAIL] in what goes to a model that is not on this machine."""

    tools: dict[str, list[str]] = {}
    """Models that may call the gateway's own read-only tools over your data, by provider, as in
    `[gateway.tools]`, `ollama = ["qwen3:*"]`, `claude-api = ["*"]`. Published versions are not
    trained to call any."""

    tool_rounds: int = Field(default=4, ge=1, le=20)
    """How often a model may call tools before it must answer."""

    tool_seconds: float = Field(default=90, gt=0)
    """Seconds that an answer with tool calls may take."""

    tool_bytes: int = Field(default=24_000, ge=1000)
    """Bytes of all results for one answer together."""

    repair: bool = False
    """Whether a sentence that is false of the question's numbers is replaced by the true one of its
    kind. Otherwise it is only marked, in the answer's metadata."""

    embedded_megabytes: int = Field(default=4096, ge=64)
    """The largest model, context included, that the gateway runs itself."""

    embedded_minutes: float = Field(default=5, gt=0)
    """How long an unused model stays in memory."""

    servers: dict[str, ServerSettings] = {}
    """OpenAI-compatible servers by name, as in `[gateway.servers.vllm]`."""

    claude_cli: bool = False
    """Whether the `claude` command may be asked."""

    claude_command: str = "claude"
    """The command, looked for on the PATH."""

    claude_cli_models: list[str] = ["sonnet"]
    """Models to ask the command for, the default first."""

    claude_cli_uses_api_key: bool = False
    """Whether the command gets the gateway's ANTHROPIC_* variables. With a key in them it bills
    that key, outside the budgets."""

    claude_api: bool = False
    """Whether the Claude API may be asked; its key is ANTHROPIC_API_KEY."""

    claude_api_models: list[str] = ["claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5"]
    """Models to ask the API for, the default first. Each needs a price."""

    claude_api_url: str = "https://api.anthropic.com"
    """Base URL of the Claude API."""

    max_tokens: int = Field(default=2048, ge=1)
    """Longest answer of a cloud model where the caller sets no limit; the budget reserves for
    it."""

    request_megabytes: float = Field(default=8, gt=0)
    """Largest request body; a larger one is refused with 413."""

    cache_megabytes: float = Field(default=16, ge=0)
    """Memory for answers to repeated requests that ask for determinism (temperature 0 or a seed).
    0: no cache."""

    cache_minutes: float = Field(default=5, gt=0)
    """How long a cached answer is used."""

    keep_answers_days: float = Field(default=30, ge=0)
    """How long questions and answers are kept on this machine, so that feedback can refer to them.
    0: not at all."""

    manage_models: bool = False
    """Whether callers may create, copy, pull, push and delete Ollama's models through the
    gateway."""


class ToolDefinition(Protocol):
    """A tool as a model is told of it."""

    @property
    def name(self) -> str:
        """What a call names."""

    @property
    def description(self) -> str:
        """What it tells."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its arguments as a JSON schema."""


class ToolBox(Protocol):
    """Read-only tools over the user's own data."""

    def definitions(self, sharing: LedgerSharing) -> Sequence[ToolDefinition]:
        """The tools that have something to tell where so much of the ledger is shared."""

    async def call(self, name: str, arguments: Any, sharing: LedgerSharing) -> str:
        """The result as JSON; a mistake of the caller is a result as well."""


class NumbersSource(Protocol):
    """The numbers of the user's own candles and ledger."""

    async def block_for(self, question: str) -> ComputedBlock | None:
        """The numbers that a question needs; None where it names nothing of the user's.

        Raises:
            InputError: it names something that cannot be computed; the message says why.
        """

    def holds_ledger(self, question: str) -> bool:
        """Whether the numbers that a question gets, or once got, are in part from the ledger."""

    def refresh(self) -> object:
        """Begins to read files that have changed."""

    async def close(self) -> None:
        """Ends what is under way."""


@dataclass(frozen=True)
class GatewayContext:
    """What the gateway needs from the rest of the project.

    Attributes:
        home: the project folder; a policy's relative path starts here.
        ollama_host: URL of the Ollama behind the gateway; empty: none.
        ollama_store: folder in Ollama's format with the published models.
        threads: CPU threads for the embedded model.
        costs_url, feedback_url: SQLAlchemy URLs with absolute paths.
        signing_key: key that signs response ids.
        uses_sample: whether feedback is about the committed sample data.
        daily_limit: items of feedback of one user on one ticker in a day; further ones wait.
        owner_names: users who are the owner of this machine, as `feedback.item.user_name` writes
            them.
        retrain_after: items of feedback after which Prefect is told that a retrain is due.
        prefect_api_url: the server that is told; empty: none.
        publish: whether and to whom published versions are given.
        consumers: file with the keys of those who may pull them.
        pulls: file that says who pulled which.
        numbers: the user's own; None: questions are passed on as they are.
        tools: over the same numbers; None: no model is offered any.
        redact: takes identities out of a text that leaves this machine.
    """

    home: Path
    ollama_host: str
    ollama_store: Path
    threads: int
    costs_url: str
    feedback_url: str
    signing_key: bytes
    uses_sample: bool
    daily_limit: int
    owner_names: tuple[str, ...]
    publish: PublishSettings
    consumers: Path
    pulls: Path
    retrain_after: int = 100
    prefect_api_url: str = ""
    numbers: NumbersSource | None = None
    tools: ToolBox | None = None
    redact: Callable[[str], str] = str
