"""The form on Prefect's page that starts a run: what it explains, and which base models it offers."""

import pytest
from prefect.utilities.schema_tools.validation import ValidationError as Refused
from prefect.utilities.schema_tools.validation import validate
from pydantic import TypeAdapter

from flows.collect import collect
from flows.retrain import retrain
from flows.run_page import ProfileName
from flows.train import train


def schema(flow):
    return flow.parameters.model_dump_for_openapi()


@pytest.mark.parametrize("flow", [train, retrain, collect])
def test_each_parameter_is_explained(flow):
    for name, parameter in schema(flow)["properties"].items():
        assert parameter["description"][0].isupper(), name


def test_the_base_models_that_are_here_are_offered_and_no_others(monkeypatch, bare_home):
    monkeypatch.setenv("STOCK_LLM_HOME", str(bare_home))
    (bare_home / "models" / "profiles" / "large.toml").touch()
    offered, none = TypeAdapter(ProfileName).json_schema()["anyOf"]
    assert offered == {"type": "string", "enum": ["large", "tiny"]} and none == {"type": "null"}
    form = {"type": "object", "properties": {"profile": {"anyOf": [offered, none]}}}
    validate({"profile": "tiny"}, form, raise_on_error=True)
    validate({"profile": None}, form, raise_on_error=True)
    with pytest.raises(Refused):
        validate({"profile": "huge"}, form, raise_on_error=True)
