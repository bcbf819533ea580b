"""Hints at the prompt: the next step after a failed turn, and the remedies tried."""

import time
from collections.abc import Mapping
from typing import Final

from turnlatch.cli.terminal import one_line
from turnlatch.result import Turn
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.machine.remedy import SAYS, Remedy
from turnlatch_states.machine.snapshot import Suspension
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.recovery.ladder import LADDERS

PREFIX_TOKENS_MIN: Final = 4000
"""The chat reports a change of the cached prefix from this many tokens on."""

_IN_CHAT: Final = (
    ("configure(client=...) with", "open the chat again with"),
    ("configure(model=...) with a successor", "/configure model NAME, a successor"),
    ("configure(max_tokens=...) with more", "/configure max_tokens N, with more"),
    ("send() says something else", "a message says something else"),
    (
        "look at Turn.awaiting again, then approve() or deny()",
        "look at it again, then /approve or /deny",
    ),
    ("approve()", "/approve"),
    ("deny()", "/deny"),
    ("retry()", "/retry"),
    ("rewind()", "/undo"),
    ("send()", "say"),
)
"""The chat's words for API names; a test checks that no API name is left."""

_DONE: Final[Mapping[Remedy, str]] = {
    Remedy.BISECT: "leave out the refused part, which trials have found",
    Remedy.SKIP: "go on without this summary",
}
"""Words for remedies whose description in `SAYS` is a plan, not an action."""


_HALF_A_DAY: Final = 43_200.0


def in_chat(text: str) -> str:
    """A text for API users, in the words of the chat."""
    for call, command in _IN_CHAT:
        text = text.replace(call, command)
    return text


def afterwards(kind: FaultKind) -> str:
    """The steps that a person can take after a fault of this kind."""
    return in_chat(LADDERS[kind].afterwards)


def next_step(turn: Turn) -> str:
    """The next step after a failed turn, in words; empty if the turn did not fail."""
    if turn.fault is None:
        return ""
    waits = turn.suspended
    if waits is not None and waits.until is not None:
        return f"/retry {not_before(waits)}"
    return afterwards(turn.fault.kind)


def not_before(waits: Suspension) -> str:
    """The end of a wait: `after 16:45:10`, with the date if it is half a day or more away;
    empty if the end is unknown."""
    if waits.until is None:
        return ""
    form = "%H:%M:%S" if waits.until - time.time() < _HALF_A_DAY else "%Y-%m-%d %H:%M"
    return f"after {time.strftime(form, time.localtime(waits.until))}"


def remedy_words(remedy: Remedy) -> str:
    """A remedy in words, such as `shrink: shorten old tool results`."""
    return f"{remedy.value}: {_DONE.get(remedy, SAYS[remedy])}"


def prefix_words(change: PrefixChange) -> str:
    """How much of the cached prefix a request changes; empty if it costs little."""
    if change.tokens < PREFIX_TOKENS_MIN:
        return ""
    return one_line(
        f"cache: {change.why}; up to {change.tokens:,} tokens are read again"
        f" ({change.part}, byte {change.at:,})"
    )


def miss_words(turn: Turn) -> str:
    """Why the prompt cache missed, in a word or two; empty if it did not miss."""
    missed = turn.cache_miss
    # "unavailable" means that the server does not know the reason.
    if missed is None or missed.get("type") in (None, "unavailable"):
        return ""
    said = str(missed["type"])
    tokens = missed.get("cache_missed_input_tokens")
    return one_line(f"{said}, {tokens:,} tokens" if isinstance(tokens, int) else said)
