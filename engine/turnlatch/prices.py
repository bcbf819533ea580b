"""The list prices of models, from a maintained table.

The table is that of `genai-prices`, which comes with its data: nothing is fetched. It is
imported when a price is looked up, and not before, because that takes half a second.

A model's name shows where it is served: names of Bedrock and of Google Cloud have separate
prices, and a router's prefix does not change the price.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from turnlatch_states.api.reply import Charge
from turnlatch_states.recovery.budget import Price

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


def cost_of(charges: Iterable[Charge], price: Price | None = None) -> float | None:
    """The cost of some requests in US dollars; None if a price is unknown.

    Args:
        charges: The charges.
        price: The price of every model; None for the list price of each.
    """
    total = 0.0
    for one in charges:
        known = price or list_price(*one.tariff)
        if known is None:
            return None
        total += known.of(one.usage)
    return total
