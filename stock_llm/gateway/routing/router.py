"""Decides which provider answers: pure functions of a query, a policy, the providers and the
budgets.

A request that must stay on this machine stays here. A model that was asked for by name is never
replaced by another. A spent budget means this machine. Then the rules of the policy decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stock_llm.gateway.errors import BadRequest, FailureReason, NobodyAnswered, UnknownModel
from stock_llm.gateway.providers.provider import Billing
from stock_llm.gateway.query import (
    ProviderChoice,
    Query,
    RemainingBudget,
    RoutingDecision,
    same_model,
)
from stock_llm.gateway.routing.policy import RoutingPolicy, RoutingRule

EMBED = "embed"
"""The capability that a request for embeddings needs."""

LOCAL = "local"
"""Any provider of this machine, as a rule names it."""

_CANNOT = "does not support"


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """A provider that is switched on, as the router sees it."""

    name: str
    kind: Billing
    local: bool
    models: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()

    def has(self, model: str) -> bool:
        """Whether a model is one of the known ones."""
        return any(same_model(model, name) for name in self.models)


def decide(
    query: Query, policy: RoutingPolicy, providers: Sequence[ProviderProfile], left: RemainingBudget
) -> RoutingDecision:
    """The provider to ask first, and those that come next.

    Args:
        providers: those that are on; of local ones the first is preferred.

    Raises:
        BadRequest: no provider of the model can do what the request needs.
        UnknownModel: no provider can have the model that was asked for.
        NobodyAnswered: no provider may be asked; it holds the reason of each.
    """
    candidates = providers if query.model == "auto" else _owners(query.model, providers)
    allowed, refused = _allowed(candidates, query, left)
    known = {candidate.name for candidate in candidates}
    others = [provider.name for provider in providers if provider.name not in known]
    off = {rule.to for rule in policy.rules} - {each.name for each in providers} - {LOCAL}
    left_out = (
        *refused,
        *((name, "does not have the model") for name in others),
        *((name, "is switched off") for name in sorted(off)),
    )
    if not allowed:
        raise _refusal(query, refused, left_out)
    if query.model != "auto":
        return _named(query, policy, allowed, left_out)
    wanted, rule, notes = _first_choice(query, policy, left)
    choice, more = _place(wanted, query, policy, allowed, dict(left_out))
    following = () if EMBED in query.needs else _order(allowed, choice.provider)
    fallback = tuple(_choice(provider, query, policy) for provider in following)
    return RoutingDecision(choice, rule, policy.name, (*notes, *more), fallback, left_out)


def _owners(model: str, providers: Sequence[ProviderProfile]) -> list[ProviderProfile]:
    """The providers that have a model or its name; else the first whose list may be out of date."""
    named = [provider for provider in providers if provider.name == model]
    if owners := named or [provider for provider in providers if provider.has(model)]:
        return owners
    local = [provider for provider in providers if provider.local]
    if uncertain := local or [provider for provider in providers if provider.kind == "free"]:
        return uncertain[:1]
    raise UnknownModel("gateway", f"model '{model}' not found")


def _allowed(
    providers: Sequence[ProviderProfile], query: Query, left: RemainingBudget
) -> tuple[list[ProviderProfile], list[tuple[str, str]]]:
    """The providers that may be asked, and the others with the reason."""
    allowed, refused = [], []
    for provider in providers:
        if reason := _reason_against(provider, query, left):
            refused.append((provider.name, reason))
        else:
            allowed.append(provider)
    return allowed, refused


def _reason_against(provider: ProviderProfile, query: Query, left: RemainingBudget) -> str:
    if query.privacy == LOCAL and not provider.local:
        return "is not on this machine, and the request must stay there"
    if lacking := query.needs - provider.capabilities:
        return f"{_CANNOT} {', '.join(sorted(lacking))}"
    if provider.kind == "usage" and left.spent:
        return f"the budget is spent (${left.today} left today, ${left.month} this month)"
    return ""


def _refusal(
    query: Query, refused: Sequence[tuple[str, str]], left_out: Sequence[tuple[str, str]]
) -> BadRequest | NobodyAnswered:
    """The error where no provider may be asked: the request's own where none can do what it
    needs."""
    if refused and all(reason.startswith(_CANNOT) for _, reason in refused):
        needs = refused[0][1].removeprefix(_CANNOT).strip().replace(EMBED, "embeddings")
        text = f"'{query.model}' {_CANNOT} {needs}"
        if query.model == "auto":
            text = f"no provider that is switched on supports {needs}"
        failure = BadRequest("gateway", text)
        failure.status = 501 if EMBED in query.needs else 400
        return failure
    return NobodyAnswered(tuple(FailureReason(name, "left out", why) for name, why in left_out))


def _named(
    query: Query,
    policy: RoutingPolicy,
    owners: Sequence[ProviderProfile],
    left_out: tuple[tuple[str, str], ...],
) -> RoutingDecision:
    """The decision for a model, or a provider, that was asked for by name."""
    choices = [
        _choice(owner, query, policy, "" if owner.name == query.model else query.model)
        for owner in owners
    ]
    fallback = () if EMBED in query.needs else tuple(choices[1:])
    rule = f"the model '{query.model}' was asked for"
    return RoutingDecision(choices[0], rule, policy.name, (), fallback, left_out)


def _first_choice(
    query: Query, policy: RoutingPolicy, left: RemainingBudget
) -> tuple[ProviderChoice, str, list[str]]:
    """The choice if every provider were allowed, its rule, and notes."""
    notes = [f"estimated: {', '.join(sorted(query.estimated))}"] if query.estimated else []
    if query.privacy == LOCAL:
        return ProviderChoice(LOCAL), "privacy = local → local", notes
    if left.spent:
        amounts = f"${left.today} left today, ${left.month} this month"
        return ProviderChoice(LOCAL), f"the budget is spent → local ({amounts})", notes
    rule = next(rule for rule in policy.rules if _holds(rule, query, left))
    return ProviderChoice(rule.to, rule.model), str(rule), notes


def _holds(rule: RoutingRule, query: Query, left: RemainingBudget) -> bool:
    budgets = {"left_today": left.today, "left_month": left.month}
    return all(
        condition.holds(budgets.get(condition.field, getattr(query, condition.field, "")))
        for condition in rule.when
    )


def _place(
    wanted: ProviderChoice,
    query: Query,
    policy: RoutingPolicy,
    allowed: Sequence[ProviderProfile],
    left_out: dict[str, str],
) -> tuple[ProviderChoice, list[str]]:
    """The wanted provider if it is allowed; else this machine, else the next one; with notes about
    it."""
    notes: list[str] = []
    by_name = {provider.name: provider for provider in allowed}
    if wanted.provider in by_name:
        return _choice(by_name[wanted.provider], query, policy, wanted.model), notes
    local = [provider for provider in allowed if provider.local]
    first = _order(allowed, "")[0]
    if wanted.provider != LOCAL:
        reason = left_out.get(wanted.provider, "is switched off")
        notes.append(f"{wanted.provider} {reason}: {LOCAL if local else first.name} instead")
        wanted = ProviderChoice(LOCAL)
    elif not local:
        notes.append(f"no provider of this machine may be asked: {first.name} instead")
    if not local:
        return _choice(first, query, policy), notes
    names = (wanted.model,) if wanted.model else policy.local.get(query.type, ())
    for name in names:
        for provider in local:
            if provider.has(name):
                return ProviderChoice(provider.name, name), notes
    instead = _choice(local[0], query, policy)
    if names:
        notes.append(f"{' and '.join(names)} not here: {instead.model or instead.provider} instead")
    return instead, notes


def _choice(
    provider: ProviderProfile, query: Query, policy: RoutingPolicy, model: str = ""
) -> ProviderChoice:
    """A provider with the given model, else the policy's for local ones, else its first."""
    if model:
        return ProviderChoice(provider.name, model)
    if provider.local:
        for name in policy.local.get(query.type, ()):
            if provider.has(name):
                return ProviderChoice(provider.name, name)
    return ProviderChoice(provider.name, provider.models[0] if provider.models else "")


def _order(providers: Sequence[ProviderProfile], first: str) -> list[ProviderProfile]:
    """The other providers: those of the first one's rank, then upwards (local, fixed price, usage),
    then down."""
    rank = {provider.name: _rank(provider) for provider in providers}
    start = rank.get(first, 0)
    others = [provider for provider in providers if provider.name != first]
    return sorted(others, key=lambda each: (rank[each.name] < start, abs(rank[each.name] - start)))


def _rank(provider: ProviderProfile) -> int:
    return 0 if provider.local else {"free": 1, "fixed": 2, "usage": 3}[provider.kind]
