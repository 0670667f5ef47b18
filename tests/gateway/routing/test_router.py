"""Routing: both policies case by case and at the edges of every threshold; the cap, privacy and what is switched off."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.errors import BadRequest, NobodyAnswered, UnknownModel
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.gateway.query import QUERY_TYPES, ProviderChoice, Query, RemainingBudget, same_model
from stock_llm.gateway.routing.policy import load_policy
from stock_llm.gateway.routing.router import ProviderProfile, decide

OLLAMA = ProviderProfile(
    "ollama",
    "free",
    True,
    ("mistral:7b", "codellama:7b", "stock-llm:latest"),
    frozenset({"stream", "tools"}),
)
EMBEDDED = ProviderProfile("embedded", "free", True, ("stock-llm:latest",), frozenset({"stream"}))
CLI = ProviderProfile("claude-cli", "fixed", False, ("sonnet",), frozenset())
API = ProviderProfile(
    "claude-api", "usage", False, ("claude-opus-5-5",), frozenset({"stream", "tools"})
)
ALL = (OLLAMA, EMBEDDED, CLI, API)
PLENTY = RemainingBudget(Decimal(15), Decimal(30))
VALUES = {"keep_back": Decimal(10)}
POLICIES = {name: load_policy(name, VALUES) for name in ("service", "orchestrator")}


def chosen(policy: str, left: RemainingBudget = PLENTY, offers=ALL, **query) -> str:
    choice = decide(Query(**query), POLICIES[policy], offers, left).choice
    return choice.model if choice.provider in ("ollama", "embedded") else choice.provider


@pytest.mark.parametrize(
    ("query", "answers"),
    [
        # code and urgency < 5 → codellama, whatever the complexity
        ({"type": "code", "urgency": 1, "complexity": 10}, "codellama:7b"),
        ({"type": "code", "urgency": 4, "complexity": 5}, "codellama:7b"),
        ({"type": "code", "urgency": 5, "complexity": 5}, "mistral:7b"),
        ({"type": "code", "urgency": 5, "complexity": 9}, "claude-cli"),
        ({"type": "code", "urgency": 9, "complexity": 8}, "claude-api"),
        # complexity > 8 → Claude CLI, before urgency is looked at
        ({"type": "chat", "complexity": 8}, "mistral:7b"),
        ({"type": "chat", "complexity": 9}, "claude-cli"),
        ({"type": "analysis", "complexity": 9, "urgency": 10}, "claude-cli"),
        # urgency > 8 → Claude API
        ({"type": "chat", "urgency": 8}, "mistral:7b"),
        ({"type": "chat", "urgency": 9}, "claude-api"),
        ({"type": "translation", "urgency": 10, "complexity": 8}, "claude-api"),
        # else mistral
        ({"type": "analysis", "complexity": 1, "urgency": 1}, "mistral:7b"),
    ],
)
def test_orchestrator(query, answers):
    assert chosen("orchestrator", **query) == answers


@pytest.mark.parametrize(
    ("query", "answers"),
    [
        # urgency > 9 and complexity > 8 → Claude API
        ({"type": "chat", "urgency": 10, "complexity": 9}, "claude-api"),
        ({"type": "code", "urgency": 10, "complexity": 10}, "claude-api"),
        ({"type": "chat", "urgency": 9, "complexity": 9}, "claude-cli"),
        ({"type": "chat", "urgency": 10, "complexity": 8}, "claude-cli"),
        # code and complexity < 6 → local
        ({"type": "code", "complexity": 5}, "codellama:7b"),
        ({"type": "code", "complexity": 5, "urgency": 10}, "codellama:7b"),
        ({"type": "code", "complexity": 6}, "codellama:7b"),  # "else local": still not over 6
        ({"type": "code", "complexity": 7}, "claude-cli"),
        # analysis with data shorter than 1,000 characters → local, however complex
        ({"type": "analysis", "data_length": 0, "complexity": 8}, "stock-llm:latest"),
        ({"type": "analysis", "data_length": 999, "complexity": 10}, "stock-llm:latest"),
        ({"type": "analysis", "data_length": 1000, "complexity": 10}, "claude-cli"),
        ({"type": "chat", "data_length": 999, "complexity": 10}, "claude-cli"),
        ({"type": "analysis", "data_length": 10, "complexity": 9, "urgency": 10}, "claude-api"),
        # complexity > 6 → Claude CLI, else local
        ({"type": "chat", "complexity": 7}, "claude-cli"),
        ({"type": "chat", "complexity": 6}, "mistral:7b"),
        ({"type": "analysis", "data_length": 5000, "complexity": 6}, "stock-llm:latest"),
    ],
)
def test_service(query, answers):
    assert chosen("service", **query) == answers


@pytest.mark.parametrize(
    ("left_today", "answers"),
    [("10.01", "claude-cli"), ("10", "claude-cli"), ("9.99", "mistral:7b"), ("0.01", "mistral:7b")],
)
def test_service_keeps_the_last_dollars_of_the_day(left_today, answers):
    assert (
        chosen(
            "service", RemainingBudget(Decimal(left_today), Decimal(30)), type="chat", complexity=8
        )
        == answers
    )


def test_the_urgent_rule_stands_before_the_last_dollars():
    assert (
        chosen("service", RemainingBudget(Decimal("0.01"), Decimal(30)), urgency=10, complexity=9)
        == "claude-api"
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "left",
    [
        RemainingBudget(Decimal(0), Decimal(5)),
        RemainingBudget(Decimal(5), Decimal(0)),
        RemainingBudget(Decimal("-0.01"), Decimal(5)),
    ],
)
def test_the_cap_comes_before_every_rule(policy, left):
    decision = decide(Query(type="chat", urgency=10, complexity=10), POLICIES[policy], ALL, left)
    assert decision.choice == ProviderChoice("ollama", "mistral:7b")
    assert decision.rule.startswith("the budget is spent → local")
    assert "claude-api" not in [choice.provider for choice in decision.fallback]
    assert dict(decision.left_out)["claude-api"].startswith("the budget is spent")


SPENT = RemainingBudget(Decimal(0), Decimal(5))


def test_a_spent_budget_holds_for_a_model_that_was_asked_for_and_no_other_answers():
    with pytest.raises(NobodyAnswered, match=r"claude-api \(left out\): the budget is spent"):
        decide(Query(model="claude-opus-5-5"), POLICIES["service"], ALL, SPENT)


def test_a_rule_that_names_a_provider_that_is_off_falls_to_local_and_says_so():
    decision = decide(Query(complexity=9), POLICIES["service"], (OLLAMA, API), PLENTY)
    assert decision.choice == ProviderChoice("ollama", "mistral:7b")
    assert decision.rule == "complexity > 6 → claude-cli"
    assert decision.notes == ("claude-cli is switched off: local instead",)
    assert ("claude-cli", "is switched off") in decision.left_out


def test_fallback_goes_up_from_local_and_back_down_from_the_api():
    def order(**query):
        decision = decide(Query(**query), POLICIES["service"], ALL, PLENTY)
        return [decision.choice.provider, *(choice.provider for choice in decision.fallback)]

    assert order(complexity=1) == ["ollama", "embedded", "claude-cli", "claude-api"]
    assert order(complexity=8) == ["claude-cli", "claude-api", "ollama", "embedded"]
    assert order(complexity=9, urgency=10) == ["claude-api", "claude-cli", "ollama", "embedded"]


def test_a_remote_free_server_comes_after_this_machine():
    far = ProviderProfile("vllm", "free", False, ("qwen",))
    decision = decide(Query(), POLICIES["service"], (far, OLLAMA), PLENTY)
    assert [decision.choice.provider, decision.fallback[0].provider] == ["ollama", "vllm"]


def test_without_a_local_provider_the_next_is_asked_and_it_is_said():
    decision = decide(Query(), POLICIES["service"], (CLI, API), PLENTY)
    assert decision.choice == ProviderChoice("claude-cli", "sonnet")
    assert decision.notes == ("no provider of this machine may be asked: claude-cli instead",)


def test_a_model_that_is_not_here_is_replaced_and_it_is_said():
    decision = decide(Query(type="code", complexity=2), POLICIES["service"], (EMBEDDED,), PLENTY)
    assert decision.choice == ProviderChoice("embedded", "stock-llm:latest")
    orchestrated = decide(Query(type="code"), POLICIES["orchestrator"], (EMBEDDED,), PLENTY)
    assert orchestrated.choice == ProviderChoice("embedded", "stock-llm:latest")
    assert orchestrated.notes == ("codellama:7b not here: stock-llm:latest instead",)


@pytest.mark.parametrize(
    ("model", "choice"),
    [
        ("stock-llm", ProviderChoice("ollama", "stock-llm")),
        ("claude-opus-5-5", ProviderChoice("claude-api", "claude-opus-5-5")),
        ("claude-cli", ProviderChoice("claude-cli", "sonnet")),
        ("nobody-has-this:1b", ProviderChoice("ollama", "nobody-has-this:1b")),
    ],
)
def test_a_model_asked_for_by_name_is_asked(model, choice):
    decision = decide(
        Query(model=model, complexity=10, urgency=10), POLICIES["service"], ALL, PLENTY
    )
    assert decision.choice == choice
    assert decision.rule == f"the model '{model}' was asked for"


@pytest.mark.parametrize("providers", [(API,), (CLI, API), ()])
def test_a_model_that_is_not_here_is_unknown_and_no_other_answers(providers):
    with pytest.raises(UnknownModel, match="model 'gpt-4o' not found"):
        decide(Query(model="gpt-4o"), POLICIES["service"], providers, PLENTY)


def test_only_providers_of_the_model_follow_one_that_was_asked_for():
    decision = decide(Query(model="stock-llm"), POLICIES["service"], ALL, PLENTY)
    assert decision.fallback == (ProviderChoice("embedded", "stock-llm"),)
    assert dict(decision.left_out)["claude-cli"] == "does not have the model"
    for model in ("mistral:7b", "claude-cli", "claude-opus-5-5", "unknown"):
        assert decide(Query(model=model), POLICIES["service"], ALL, PLENTY).fallback == ()


@pytest.mark.parametrize(
    ("needs", "model", "status", "text"),
    [
        ({"tools"}, "claude-cli", 400, "'claude-cli' does not support tools"),
        ({"thinking"}, "stock-llm", 400, "'stock-llm' does not support thinking"),
        ({"embed"}, "claude-opus-5-5", 501, "'claude-opus-5-5' does not support embeddings"),
        ({"images"}, "auto", 400, "no provider that is switched on supports images"),
    ],
)
def test_what_no_provider_of_the_model_can_do_is_the_requests_fault(needs, model, status, text):
    with pytest.raises(BadRequest) as failed:
        decide(Query(model=model, needs=frozenset(needs)), POLICIES["service"], ALL, PLENTY)
    assert (failed.value.status, failed.value.reason) == (status, text)


def test_a_provider_that_lacks_a_capability_is_left_out_with_the_reason():
    decision = decide(
        Query(needs=frozenset({"tools"}), complexity=8), POLICIES["service"], ALL, PLENTY
    )
    assert decision.choice.provider == "ollama"
    assert dict(decision.left_out) == {
        "embedded": "does not support tools",
        "claude-cli": "does not support tools",
    }
    assert "claude-cli does not support tools: local instead" in decision.notes


OFFERS = st.lists(
    st.sampled_from([*ALL, ProviderProfile("vllm", "free", False, ("qwen",))]), unique=True
)
QUERIES = st.builds(
    Query,
    type=st.sampled_from(QUERY_TYPES),
    complexity=st.integers(1, 10),
    urgency=st.integers(1, 10),
    data_length=st.integers(0, 3000),
    privacy=st.sampled_from(["any", "local"]),
    model=st.sampled_from(
        ["auto", "stock-llm", "claude-opus-5-5", "claude-api", "claude-cli", "qwen", "unknown"]
    ),
)
MONEY = st.decimals(-1, 20, places=2)


@given(
    query=QUERIES, offers=OFFERS, today=MONEY, month=MONEY, policy=st.sampled_from(sorted(POLICIES))
)
def test_whatever_is_asked_private_stays_and_a_spent_budget_holds(
    query, offers, today, month, policy
):
    left = RemainingBudget(today, month)
    local = {offer.name for offer in offers if offer.local}
    paid = {offer.name for offer in offers if offer.kind == "usage"}
    try:
        decision = decide(query, POLICIES[policy], offers, left)
    except NobodyAnswered as error:
        assert {reason.provider for reason in error.reasons} >= {offer.name for offer in offers}
        return
    except UnknownModel:
        assert not any(offer.kind == "free" or offer.has(query.model) for offer in offers)
        return
    asked = [decision.choice.provider, *(choice.provider for choice in decision.fallback)]
    assert len(set(asked)) == len(asked)
    assert {*asked, *dict(decision.left_out)} >= {offer.name for offer in offers}
    if query.privacy == "local":
        assert set(asked) <= local
    if left.spent:
        assert not set(asked) & paid


def test_nobody_may_be_asked():
    with pytest.raises(
        NobodyAnswered,
        match=r"claude-cli \(left out\): is not on this machine, and the request must stay there",
    ):
        decide(Query(privacy="local"), POLICIES["service"], (CLI,), PLENTY)


def test_people_write_their_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\n[[rule]]\nwhen = { language = "th", type = ["chat", "translation"] }\nto = "claude-cli"\n'
        '[[rule]]\nwhen = { left_month = ">= keep_back", urgency = "7" }\nto = "claude-api"\nmodel = "claude-haiku-5-5"\n'
        '[[rule]]\nwhen = {}\nto = "local"\n'
    )
    mine = load_policy("mine.toml", VALUES, home=tmp_path)
    assert (
        decide(Query(language="th"), mine, ALL, PLENTY).rule
        == "language = th and type = chat or translation → claude-cli"
    )
    assert decide(Query(urgency=7), mine, ALL, PLENTY).choice == ProviderChoice(
        "claude-api", "claude-haiku-5-5"
    )
    assert (
        decide(
            Query(urgency=7), mine, ALL, RemainingBudget(Decimal(15), Decimal("9.99"))
        ).choice.provider
        == "ollama"
    )
    assert decide(Query(language="th", type="code"), mine, ALL, PLENTY).choice.provider == "ollama"


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (
            '[[rule]]\nwhen = { mood = "> 3" }\nto = "local"',
            "rule 1: there is no field 'mood'; there are type, language, complexity",
        ),
        (
            '[[rule]]\nwhen = { urgency = "very" }\nto = "local"',
            "rule 1: urgency: there is no setting 'very'; there is keep_back",
        ),
        (
            '[[rule]]\nwhen = { urgency = ">> 3" }\nto = "local"',
            'rule 1: urgency = ">> 3" is no comparison; write for example "> 8"',
        ),
        (
            '[[rule]]\nwhen = { type = "poem" }\nto = "local"',
            "rule 1: type cannot be 'poem'; it is one of analysis, code",
        ),
        (
            '[[rule]]\nwhen = { type = [] }\nto = "local"',
            "rule 1: type = [] never holds; it is one or more of analysis, code",
        ),
        ('[[rule]]\nwhen = { language = [] }\nto = "local"', "rule 1: language = [] never holds"),
        (
            '[[rule]]\nwhen = { urgency = "> 3" }\nto = "claude_apii"\nmodel = "haiku"\n[[rule]]\nwhen = {}\nto = "local"',
            "rule 1 (urgency > 3 → haiku): there is no provider 'claude_apii'",
        ),
        (
            '[[rule]]\nwhen = {}\nto = "vlllm"',
            "It is one of local, ollama, embedded, claude-cli, claude-api, vllm",
        ),
        (
            '[[rule]]\nwhen = { urgency = "> 3" }\nto = "local"',
            "the last rule must hold for everything",
        ),
        (
            '[[rule]]\nwhen = {}\nto = "vllm"\n[[rule]]\nwhen = {}\nto = "local"',
            "rule 1 holds for everything",
        ),
        ('[[rule]]\nwhen = {}\nto = ""', "rule.0.to: String should have at least 1 character"),
        ("rule = [", "not TOML"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_its_place(tmp_path, rules, complaint):
    file = tmp_path / "mine.toml"
    file.write_text(f'name = "mine"\n{rules}\n')
    with pytest.raises(InputError) as refusal:
        load_policy(str(file), VALUES, servers=["vllm"])
    assert complaint in str(refusal.value)
    assert "mine.toml" in str(refusal.value)


def test_a_rule_may_name_whatever_the_settings_can_switch_on(tmp_path):
    dials = {
        "claude_cli": True,
        "claude_api": True,
        "servers": {"vllm": {"url": "http://127.0.0.1:9/v1"}},
    }
    settings = GatewaySettings(**dials)
    registry = ProviderRegistry(settings, "http://127.0.0.1:9", tmp_path, threads=1)
    names = [provider.name for provider in registry.providers]
    rules = "".join(
        f'[[rule]]\nwhen = {{ urgency = "> {number}" }}\nto = "{name}"\n'
        for number, name in enumerate(names)
    )
    (tmp_path / "mine.toml").write_text(
        f'name = "mine"\n{rules}[[rule]]\nwhen = {{}}\nto = "local"\n'
    )
    mine = load_policy("mine.toml", VALUES, tmp_path, settings.servers)
    assert [rule.to for rule in mine.rules] == [
        "ollama",
        "embedded",
        "vllm",
        "claude-cli",
        "claude-api",
        "local",
    ]


def test_an_unknown_policy_names_the_known_ones():
    with pytest.raises(InputError, match="Known: orchestrator, service"):
        load_policy("fastest", VALUES)


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [("mistral", "mistral:latest", True), ("mistral:7b", "mistral", False)],
)
def test_a_name_without_a_tag_is_latest(name, other, same):
    assert same_model(name, other) is same
