"""Counts requests for GET /metrics, in Prometheus' format under OpenTelemetry's names for
generative AI.

Names: opentelemetry.io/docs/specs/semconv/gen-ai; dots become underscores and units become
suffixes, as OpenTelemetry's own exporter does it.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from stock_llm.gateway.query import ProviderAttempt, RequestTrace

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model")


class GatewayMetrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time that a provider took for an answer, fallbacks included.",
            _LABELS,
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from the request to the first piece of a streamed answer.",
            _LABELS,
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of an answer (output) and of its prompt (input).",
            (*_LABELS, "gen_ai_token_type"),
            registry=self.registry,
            buckets=_TOKENS,
        )
        self._added = Histogram(
            "stock_llm_gateway_overhead_seconds",
            "Time that a request spent in the gateway itself.",
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
        )
        self._dollars = Counter(
            "stock_llm_cost_dollars", "What answers cost.", _LABELS[1:], registry=self.registry
        )
        self._failed = Counter(
            "stock_llm_failures",
            "Requests that got no answer.",
            ("error_type",),
            registry=self.registry,
        )
        self._tries = Counter(
            "stock_llm_attempts_failed",
            "Tries at a provider that failed.",
            ("gen_ai_provider_name", "error_type"),
            registry=self.registry,
        )
        self._cache = Counter(
            "stock_llm_cache",
            "Requests that asked for determinism.",
            ("result",),
            registry=self.registry,
        )
        self._sentences = Counter(
            "stock_llm_sentences",
            "Sentences of answers to questions with numbers, as they were generated.",
            ("verdict", *_LABELS[1:]),
            registry=self.registry,
        )
        self._checked = Counter(
            "stock_llm_checked_answers",
            "Answers to questions with numbers: no sentence false, one false, one replaced.",
            ("result", *_LABELS[1:]),
            registry=self.registry,
        )
        self._grounded = Counter(
            "stock_llm_grounded",
            "Questions that computed numbers were added to.",
            ("kind",),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "stock_llm_requests_in_flight", "Requests being answered now.", registry=self.registry
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Adds a number that is read with the metrics."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def answered(self, served: RequestTrace, first: float | None = None) -> None:
        """Counts an answer; `first`: seconds to the first piece of a stream."""
        labels = (served.query.feature, served.choice.provider, served.answer.model)
        self._duration.labels(*labels).observe(served.provider_seconds)
        self._added.observe(max(0.0, served.total_seconds - served.provider_seconds))
        self._tokens.labels(*labels, "input").observe(served.answer.usage.prompt)
        self._tokens.labels(*labels, "output").observe(served.answer.usage.tokens_out)
        if first is not None:
            self._first.labels(*labels).observe(first)
        if served.grounding.added:
            self._grounded.labels(served.grounding.added.kind).inc()
        if check := served.check:
            for verdict in ("true", "false", "unchecked"):
                self._sentences.labels(verdict, *labels[1:]).inc(check.count(verdict))
            result = "replaced" if check.repaired else "false" if check.false else "true"
            self._checked.labels(result, *labels[1:]).inc()
        if served.dollars:
            self._dollars.labels(*labels[1:]).inc(float(served.dollars))

    def attempt_failed(self, attempt: ProviderAttempt) -> None:
        """Counts a failed try, whether or not the request was answered in the end."""
        self._tries.labels(attempt.choice.provider, attempt.failure).inc()

    def failed(self, kind: str) -> None:
        """Counts a request without an answer; `kind`: class name of the error."""
        self._failed.labels(kind).inc()

    def cache(self, hit: bool) -> None:
        """Counts a lookup in the cache."""
        self._cache.labels("hit" if hit else "miss").inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
