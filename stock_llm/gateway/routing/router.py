"""Who is asked: pure functions from a query, a policy, the providers that are on and what is left of the budgets to a decision.

In this order: what must stay on this machine stays; a model that was asked for by name is asked; a spent budget means this
machine; then the policy's rules. Nothing is executed, no clock is read, no provider is touched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from stock_llm.gateway.errors import FailureReason, NobodyAnswered
from stock_llm.gateway.providers.provider import Billing
from stock_llm.gateway.query import ProviderChoice, Query, RoutingDecision
from stock_llm.gateway.routing.policy import RoutingPolicy, RoutingRule

EMBED = "embed"
"""What a provider must be able to do that is asked for vectors of texts."""

LOCAL = "local"
"""Any provider of this machine, as a rule names it."""


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """A provider that is switched on, as far as routing looks at it."""

    name: str
    kind: Billing
    local: bool
    models: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """Dollars that may still be spent at usage-priced providers, what is reserved for calls under way taken off."""

    today: Decimal
    month: Decimal

    @property
    def spent(self) -> bool:
        """Whether nothing is left of one of the budgets."""
        return min(self.today, self.month) <= 0


def decide(
    query: Query, policy: RoutingPolicy, offers: Sequence[ProviderProfile], left: RemainingBudget
) -> RoutingDecision:
    """Who is asked first and who comes next.

    Args:
        offers: the providers that are on; among local ones the first is preferred.

    Raises:
        NobodyAnswered: no provider that is on may be asked; it says why for each.
    """
    open_to, left_out = _sort_out(query, policy, offers, left)
    if not open_to:
        raise NobodyAnswered(tuple(FailureReason(name, "left out", why) for name, why in left_out))
    wanted, rule, notes = _first_choice(query, policy, offers, left)
    choice, more = _place(wanted, query, policy, open_to, dict(left_out))
    rest = tuple(_choice(offer, query, policy) for offer in _order(open_to, choice.provider))
    if EMBED in query.needs:
        rest = ()  # vectors of another model mean nothing beside those of this one
    return RoutingDecision(choice, rule, policy.name, (*notes, *more), rest, tuple(left_out))


def _sort_out(
    query: Query, policy: RoutingPolicy, offers: Sequence[ProviderProfile], left: RemainingBudget
) -> tuple[list[ProviderProfile], list[tuple[str, str]]]:
    """The providers that may be asked, and the others with the reason."""
    open_to, left_out = [], []
    for offer in offers:
        if why := _refusal(offer, query, left):
            left_out.append((offer.name, why))
        else:
            open_to.append(offer)
    names = {offer.name for offer in offers} | {LOCAL}
    off = sorted({rule.to for rule in policy.rules} - names)
    return open_to, left_out + [(name, "is switched off") for name in off]


def _refusal(offer: ProviderProfile, query: Query, left: RemainingBudget) -> str:
    if query.privacy == LOCAL and not offer.local:
        return "is not on this machine, and the request must stay there"
    if offer.kind == "usage" and left.spent:
        return f"the budget is spent (${left.today} left today, ${left.month} this month)"
    if lacking := query.needs - offer.capabilities:
        return f"cannot do {', '.join(sorted(lacking))}"
    return ""


def _first_choice(
    query: Query, policy: RoutingPolicy, offers: Sequence[ProviderProfile], left: RemainingBudget
) -> tuple[ProviderChoice, str, list[str]]:
    """What would be asked if everything were open, by which rule."""
    notes = (
        [f"estimated: {', '.join(sorted(query.estimated))}"]
        if query.estimated and query.model == "auto"
        else []
    )
    if query.model != "auto":
        return _asked(query.model, offers), f"the model '{query.model}' was asked for", notes
    if query.privacy == LOCAL:
        return ProviderChoice(LOCAL), "privacy = local → local", notes
    if left.spent:
        return (
            ProviderChoice(LOCAL),
            f"the budget is spent → local (${left.today} left today, ${left.month} this month)",
            notes,
        )
    rule = next(rule for rule in policy.rules if _holds(rule, query, left))
    return ProviderChoice(rule.to, rule.model), str(rule), notes


def _holds(rule: RoutingRule, query: Query, left: RemainingBudget) -> bool:
    values = {"left_today": left.today, "left_month": left.month}
    return all(
        each.holds(values[each.field] if each.field in values else getattr(query, each.field))
        for each in rule.when
    )


def _asked(model: str, offers: Iterable[ProviderProfile]) -> ProviderChoice:
    """The provider that has this model or this name; a model that nobody names is for this machine's provider to know."""
    for offer in offers:
        if model == offer.name:
            return ProviderChoice(offer.name)
        if any(same_model(model, known) for known in offer.models):
            return ProviderChoice(offer.name, model)
    return ProviderChoice(LOCAL, model)


def _place(
    wanted: ProviderChoice,
    query: Query,
    policy: RoutingPolicy,
    open_to: Sequence[ProviderProfile],
    left_out: dict[str, str],
) -> tuple[ProviderChoice, list[str]]:
    """The wanted provider if it is open; else this machine, else the next that is open; with what is to be told about it."""
    notes: list[str] = []
    by_name = {offer.name: offer for offer in open_to}
    if wanted.provider in by_name:
        return _choice(by_name[wanted.provider], query, policy, wanted.model), notes
    local = [offer for offer in open_to if offer.local]
    first = _order(open_to, "")[0]
    if wanted.provider != LOCAL:
        notes.append(
            f"{wanted.provider} {left_out.get(wanted.provider, 'is switched off')}: {LOCAL if local else first.name} instead"
        )
        wanted = ProviderChoice(LOCAL)
    elif not local:
        notes.append(f"no provider of this machine may be asked: {first.name} instead")
    if not local:
        return _choice(first, query, policy), notes
    names = (wanted.model,) if wanted.model else policy.local.get(query.type, ())
    for name in names:
        for offer in local:
            if any(same_model(name, known) for known in offer.models):
                return ProviderChoice(offer.name, name), notes
    if wanted.model and query.model != "auto":
        return ProviderChoice(local[0].name, wanted.model), notes
    instead = _choice(local[0], query, policy)
    if names:
        notes.append(f"{' and '.join(names)} not here: {instead.model or instead.provider} instead")
    return instead, notes


def _choice(
    offer: ProviderProfile, query: Query, policy: RoutingPolicy, model: str = ""
) -> ProviderChoice:
    """A provider with the model that suits the query: the given one, the policy's for local ones, else its first."""
    if model:
        return ProviderChoice(offer.name, model)
    if offer.local:
        for name in policy.local.get(query.type, ()):
            if any(same_model(name, known) for known in offer.models):
                return ProviderChoice(offer.name, name)
    return ProviderChoice(offer.name, offer.models[0] if offer.models else "")


def _order(offers: Sequence[ProviderProfile], first: str) -> list[ProviderProfile]:
    """Who comes after the first choice: other providers of its rank, then upwards (local, fixed price, usage), then back down."""
    rank = {offer.name: _rank(offer) for offer in offers}
    start = rank.get(first, 0)
    others = [offer for offer in offers if offer.name != first]
    upwards = sorted(
        (offer for offer in others if rank[offer.name] >= start), key=lambda offer: rank[offer.name]
    )
    downwards = sorted(
        (offer for offer in others if rank[offer.name] < start), key=lambda offer: -rank[offer.name]
    )
    return upwards + downwards


def _rank(offer: ProviderProfile) -> int:
    return 0 if offer.local else {"free": 1, "fixed": 2, "usage": 3}[offer.kind]


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: a name without a tag means the tag `latest`, as Ollama reads it."""
    return _tagged(one) == _tagged(other)


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
