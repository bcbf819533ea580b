"""The caller's policies for retries and compaction."""

from typing import final

import attrs

from turnlatch_states.api.checks import flag, number, optional, text, whole
from turnlatch_states.api.faults import RetryPolicy
from turnlatch_states.request.preflight import INSTRUCTIONS_MAX


@final
@attrs.frozen
class CompactionPolicy:
    """When the context is replaced by a summary; other values are a `SettingsError`.

    Attributes:
        auto: Compact before the window is full, without being asked.
        at: Share of the window at which that is done, 0 to 1.
        gain_min: Share by which a summary must be smaller than what it stands for.
        per_turn_max: Most summaries one turn may ask for.
        futile_max: Summaries that may fail in a row before none is asked for any more,
            until the caller asks for one.
        window: Tokens of the window; None for the model's own.
        instructions: The instructions for a summary; None for the server's prompt.
    """

    auto: bool = attrs.field(default=True, validator=flag())
    at: float = attrs.field(default=0.8, validator=number(0, 1, above=True))
    gain_min: float = attrs.field(default=0.1, validator=number(0, 1))
    per_turn_max: int = attrs.field(default=8, validator=whole(0))
    futile_max: int = attrs.field(default=3, validator=whole(0))
    window: int | None = attrs.field(default=None, validator=optional(whole(1)))
    instructions: str | None = attrs.field(
        default=None, validator=optional(text(1, INSTRUCTIONS_MAX))
    )


@final
@attrs.frozen
class Policies:
    """The caller's policies for faults.

    Attributes:
        retry: How passing faults are waited out.
        compaction: When the context is replaced by a summary.
    """

    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    compaction: CompactionPolicy = attrs.field(factory=CompactionPolicy)
