"""What models cost: the list prices of a maintained table, where none are given.

The table is that of `genai-prices`, which comes with its data: nothing is fetched. It is
imported when a bound in money is set, and not before, because that takes half a second.
A price that the caller gives goes before it, for every model.

A model's name shows where it is served: names of Bedrock and of Google Cloud have separate
prices, and a router's prefix does not change the price.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.settings import Limits
from turnlatch_states.api.checks import shown
from turnlatch_states.api.reply import Charge
from turnlatch_states.recovery.budget import Budget, Price
from turnlatch_states.request.profile import Profile

_FIELDS: Final[Mapping[str, str]] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "web_searches": "web_searches_kcount",
}
"""The name that the table has for each field of a `Price`."""


def list_price(model: str, speed: str = "") -> Price | None:
    """The list price of a model; None if the table does not have it.

    Args:
        model: Its id, as a request or a reply names it.
        speed: The speed that is paid for, as a reply names it.
    """
    found = _rates(model.rpartition("/")[2], speed)
    return None if found is None else _price(found)


def _rates(name: str, speed: str) -> Any:
    """The model's row of the table, with the current prices; None if it has no row."""
    from genai_prices import Usage, calc_price

    own = "aws" if "anthropic." in name else "google" if "@" in name else "anthropic"
    context = {"speed": speed} if speed else None
    for provider in (own, None):  # None: wherever a model of that name is
        try:
            found = calc_price(
                Usage(), name, provider_id=provider, price_context=context
            )
        except LookupError:
            continue
        return found.model_price
    return None


def _price(rates: Any) -> Price | None:
    """A row of the table as a `Price`: the whole of it for each length of a request."""
    found = {field: getattr(rates, name, None) for field, name in _FIELDS.items()}
    if found["input"] is None or found["output"] is None:
        return None
    starts = {
        tier.start for one in found.values() for tier in getattr(one, "tiers", ())
    }
    steps = tuple((start, _at(found, start + 1)) for start in sorted(starts))
    return attrs.evolve(_at(found, 0), long=steps)


def _at(found: Mapping[str, Any], tokens: int) -> Price:
    """The prices of a request that reads so many tokens."""
    prices: dict[str, Any] = {}
    for field, rate in found.items():
        if rate is None:
            continue
        price = getattr(rate, "base", rate)
        for tier in getattr(rate, "tiers", ()):
            if tokens > tier.start:
                price = tier.price
        prices[field] = float(price)
    return Price(**prices)


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
