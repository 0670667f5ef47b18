"""Whatever is sent to the documented routes: no 500, no traceback, and what is answered is
documented."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_nothing_that_can_be_sent_breaks_it(running, mode):
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    asked: dict[str, int] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.POSITIVE or operation.body or operation.headers:
            asked[operation.label] = send_all(operation, mode)
    assert {
        "POST /api/chat",
        "POST /v1/chat/completions",
        "POST /analyze",
        "POST /feedback",
    } <= set(asked)
    assert sum(asked.values()) > 100


def send_all(operation, mode):
    """How many requests were made of an operation's schema, sent, and answered as documented."""
    count = 0

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        nonlocal count
        count += 1
        response = case.call(timeout=30)
        assert response.status_code not in (500, 502), f"{operation.label}: {response.text}"
        assert "Traceback" not in response.text
        case.validate_response(
            response,
            checks=[content_type_conformance, response_schema_conformance, status_code_conformance],
        )

    send()
    return count
