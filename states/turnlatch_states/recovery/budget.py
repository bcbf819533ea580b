"""What one turn may cost: requests, time, tokens, money. Each bound has an effect."""

from collections.abc import Mapping
from typing import Final, cast, final

import attrs

from turnlatch_states.api.checks import Allowed, number, optional, whole
from turnlatch_states.api.reply import Usage
from turnlatch_states.machine.snapshot import Turn

_SHARE_READ: Final = 0.1
_SHARE_WRITE: Final = 1.25
_SHARE_WRITE_1H: Final = 2.0
"""What cached tokens cost at the API, as shares of the price of input; some models read
from the cache for less (Anthropic docs: build-with-claude/prompt-caching)."""


def _are_steps(given: object) -> bool:
    if not isinstance(given, tuple):
        return False
    return all(map(_is_step, cast("tuple[object, ...]", given)))


def _is_step(given: object) -> bool:
    if not isinstance(given, tuple):
        return False
    pair = cast("tuple[object, ...]", given)
    return len(pair) == 2 and whole(1).holds(pair[0]) and isinstance(pair[1], Price)


@final
@attrs.frozen
class Price:
    """The price of a model, in US dollars a million tokens.

    Attributes:
        input: Tokens read that no cache served.
        output: Tokens written.
        cache_read: Tokens served by the prompt cache; None for a tenth of `input`.
        cache_write: Tokens written to the prompt cache; None for 1.25 times `input`.
        cache_write_1h: Those that it keeps for an hour; None for twice `input`.
        web_searches: A thousand searches of the web that the server makes.
        long: Other prices for long requests: each pair is a number of tokens, and the
            prices of a request that reads more than that.

    Raises:
        SettingsError: A price is not a finite number, 0 or more.
    """

    input: float = attrs.field(validator=number())
    output: float = attrs.field(validator=number())
    cache_read: float | None = attrs.field(default=None, validator=optional(number()))
    cache_write: float | None = attrs.field(default=None, validator=optional(number()))
    cache_write_1h: float | None = attrs.field(
        default=None, validator=optional(number())
    )
    web_searches: float = attrs.field(default=10.0, validator=number())
    long: "tuple[tuple[int, Price], ...]" = attrs.field(
        default=(), validator=Allowed("pairs of tokens and Price(...)", _are_steps)
    )

    def of(self, usage: Usage) -> float:
        """The cost of one request with that usage, in US dollars."""
        for above, price in sorted(self.long, key=lambda step: -step[0]):
            if usage.read_in > above:
                return price.of(usage)
        read, write, write_1h = self.cache_read, self.cache_write, self.cache_write_1h
        total = (
            usage.input * self.input
            + usage.output * self.output
            + usage.cache_read * (self.input * _SHARE_READ if read is None else read)
            + (usage.cache_write - usage.cache_write_1h)
            * (self.input * _SHARE_WRITE if write is None else write)
            + usage.cache_write_1h
            * (self.input * _SHARE_WRITE_1H if write_1h is None else write_1h)
        )
        return total / 1_000_000 + usage.web_searches * self.web_searches / 1000


@final
@attrs.frozen
class Budget:
    """The bounds on one turn until the caller grants more.

    Attributes:
        requests: Requests, retries and trials included.
        seconds: Time at work since the turn was begun, or was last asked to go on.
        tokens: Tokens of all that since then, as far as the server said them.
        dollars: Their cost in US dollars.
        price: The price of every model; None for `prices`.
        prices: The price of each model, by `Charge.tariff`.
    """

    requests: int = 60
    seconds: float | None = None
    tokens: int | None = None
    dollars: float | None = None
    price: Price | None = None
    prices: Mapping[tuple[str, str], Price] = attrs.field(
        factory=dict[tuple[str, str], Price]
    )

    def spent(self, turn: Turn, seconds: float) -> str | None:
        """The bound that a turn has reached, in words; None if it may continue.

        Args:
            turn: The turn.
            seconds: How long it was at work since it was begun, or last asked to go on.
        """
        if turn.requests >= self.requests:
            return f"the turn has sent its {self.requests} requests"
        if self.seconds is not None and seconds >= self.seconds:
            return f"the turn has had its {self.seconds:g} s"
        if self.tokens is not None:
            total = sum(one.usage.context for one in turn.charged)
            if total >= self.tokens:
                return f"the turn has used {total} of its {self.tokens} tokens"
        return None if self.dollars is None else self._overspent(turn, self.dollars)

    def _overspent(self, turn: Turn, dollars: float) -> str | None:
        cost = 0.0
        for one in turn.charged:
            price = self.price or self.prices.get(one.tariff)
            if (
                price is None
            ):  # a cost without a known price cannot be bounded, so the turn stops
                return f"the price of {one.model!r} is unknown, so its cost is, too"
            cost += price.of(one.usage)
        if cost < dollars:
            return None
        return f"the turn has cost ${cost:.6g} of its ${dollars:g}"
