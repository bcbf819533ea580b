"""What one turn may cost: requests, time, tokens, money. Each bound has an effect."""

from typing import final

import attrs

from detent_states.allowed import number
from detent_states.reply import Usage
from detent_states.snapshot import Turn


@final
@attrs.frozen
class Price:
    """What tokens cost, in US dollars a million.

    Attributes:
        input: Tokens read that no cache served.
        output: Tokens written.
        cache_read: Tokens served by the prompt cache.
        cache_write: Tokens written to the prompt cache.
    """

    input: float = attrs.field(validator=number())
    output: float = attrs.field(validator=number())
    cache_read: float = attrs.field(default=0.0, validator=number())
    cache_write: float = attrs.field(default=0.0, validator=number())

    def of(self, usage: Usage) -> float:
        """What that usage cost, in US dollars."""
        total = (
            usage.input * self.input
            + usage.output * self.output
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
        )
        return total / 1_000_000


@final
@attrs.frozen
class Budget:
    """What one turn may cost before somebody asks for more.

    Attributes:
        requests: Requests, retries and trials included.
        seconds: Time at work since the turn was begun, or was last asked to go on.
        tokens: Tokens of its confirmed replies and summaries.
        dollars: What those cost; needs `price`.
        price: What tokens cost.
    """

    requests: int = 60
    seconds: float | None = None
    tokens: int | None = None
    dollars: float | None = None
    price: Price | None = None

    def spent(self, turn: Turn, seconds: float) -> str | None:
        """What a turn has used up, in words; None if it may go on.

        Args:
            turn: The turn.
            seconds: How long it was at work since it was begun, or last asked to go on.
        """
        if turn.requests >= self.requests:
            return f"the turn has sent its {self.requests} requests"
        if self.seconds is not None and seconds >= self.seconds:
            return f"the turn has had its {self.seconds:g} s"
        used = turn.usage - turn.credited
        total = used.context
        if self.tokens is not None and total >= self.tokens:
            return f"the turn has used {total} of its {self.tokens} tokens"
        if self.dollars is not None and self.price is not None:
            cost = self.price.of(used)
            if cost >= self.dollars:
                return f"the turn has cost ${cost:.4f} of its ${self.dollars:g}"
        return None
