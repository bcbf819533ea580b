"""The bounds of a turn in money: what its models cost, where the caller gives no price."""

from collections.abc import Iterator, Sequence

import attrs

from turnlatch.errors import SettingsError
from turnlatch.prices import list_price
from turnlatch.settings import Limits
from turnlatch_states.api.checks import shown
from turnlatch_states.api.reply import Charge
from turnlatch_states.recovery.budget import Budget, Price
from turnlatch_states.request.profile import Profile


def budgeted(limits: Limits, model: str, charges: Sequence[Charge]) -> Budget:
    """The bounds of a turn, with the prices of what it has used so far.

    A reply may name a model that the table does not know, as gateways' replies do: what
    it used then costs what the model costs that is asked.

    Args:
        limits: The bounds.
        model: The model of the request.
        charges: The charges of the turn so far.
    """
    budget = limits.budget
    if budget.dollars is None or budget.price is not None:
        return budget
    prices: dict[tuple[str, str], Price] = {}
    for named, speed in {one.tariff for one in charges}:
        price = list_price(named, speed) or list_price(model, speed)
        if price is not None:
            prices[named, speed] = price
    return attrs.evolve(budget, prices=prices)


def demand_price(limits: Limits | None, profile: Profile) -> None:
    """Refuse a bound in money for a model without a known price: it would not bind.

    Raises:
        SettingsError: The price of the model, or of one that it falls back to, is
            unknown.
    """
    if (
        limits is None
        or limits.dollars_per_turn_max is None
        or limits.price is not None
    ):
        return
    for model in (profile.model, *_fallbacks(profile)):
        if list_price(model) is None:
            raise SettingsError(
                "dollars_per_turn_max",
                f"the price of {shown(model)} is unknown, so the bound would be none",
                "give Limits(price=Price(input=..., output=...)) in US dollars a million"
                " tokens, or use a model with a list price",
                shown(limits.dollars_per_turn_max),
            )


def _fallbacks(profile: Profile) -> list[str]:
    """The models that a request names to fall back to."""
    match profile.setting("fallbacks"):
        case [*listed]:
            return [model for one in listed for model in _named(one)]
        case _:
            return []


def _named(one: object) -> Iterator[str]:
    match one:
        case {"model": str(model)}:
            yield model
        case _:
            pass
