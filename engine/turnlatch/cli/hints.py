"""What a person at the prompt can do next, and what was done for him meanwhile."""

import time
from collections.abc import Mapping
from typing import Final

from turnlatch.cli.terminal import one_line
from turnlatch.result import Turn
from turnlatch.watching.events import PrefixChanged
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.machine.remedy import AFTERWARDS, SAYS, Remedy
from turnlatch_states.machine.snapshot import Suspension

PREFIX_TOKENS_MIN: Final = 4000
"""A change of what the prompt cache holds is told from this price on."""

_IN_CHAT: Final = (
    ("configure(client=...) with", "open the chat again with"),
    ("configure(model=...) with a successor", "/configure model NAME, a successor"),
    ("configure(max_tokens=...) with more", "/configure max_tokens N, with more"),
    ("send() says something else", "a message says something else"),
    (
        "look at Turn.awaiting again, then approve() or deny()",
        "look at it again, then /approve or /deny",
    ),
    ("retry()", "/retry"),
    ("rewind()", "/undo"),
    ("send()", "say"),
)
"""How the chat words what is written for callers; a test holds that nothing is left."""

_DONE: Final[Mapping[Remedy, str]] = {
    Remedy.BISECT: "leave out the part that is refused, as trials have shown",
    Remedy.SKIP: "go on without this summary",
}
"""Remedies whose words are those of a plan and not of a deed."""


_HALF_A_DAY: Final = 43_200.0


def in_chat(text: str) -> str:
    """A text for callers, in the words of the chat."""
    for call, command in _IN_CHAT:
        text = text.replace(call, command)
    return text


def afterwards(kind: FaultKind) -> str:
    """What a person can do about a turn that failed."""
    return in_chat(AFTERWARDS[kind])


def next_step(turn: Turn) -> str:
    """What a person can do about the turn that failed; empty if it did not."""
    if turn.fault is None:
        return ""
    waits = turn.suspended
    if waits is not None and waits.until is not None:
        return f"/retry {not_before(waits)}"
    return afterwards(turn.fault.kind)


def not_before(waits: Suspension) -> str:
    """From when on a wait is over: `after 16:45:10`, with its date where it is far off;
    empty if nobody can know."""
    if waits.until is None:
        return ""
    form = "%H:%M:%S" if waits.until - time.time() < _HALF_A_DAY else "%Y-%m-%d %H:%M"
    return f"after {time.strftime(form, time.localtime(waits.until))}"


def remedy_words(remedy: Remedy) -> str:
    """A remedy that is being tried, as `shrink: show old tool results shortened`."""
    return f"{remedy.value}: {_DONE.get(remedy, SAYS[remedy])}"


def prefix_words(changed: PrefixChanged) -> str:
    """What a request changes of what the prompt cache holds; empty if it costs little."""
    change = changed.change
    if change.tokens < PREFIX_TOKENS_MIN:
        return ""
    return one_line(
        f"cache: {change.why}; up to {change.tokens:,} tokens are read anew"
        f" ({change.part}, byte {change.at:,})"
    )


def miss_words(turn: Turn) -> str:
    """Why the prompt cache could not serve the turn, in a word or two; empty if it did."""
    missed = turn.cache_miss
    # What could not be found out is no reason.
    if missed is None or missed.get("type") in (None, "unavailable"):
        return ""
    said = str(missed["type"])
    tokens = missed.get("cache_missed_input_tokens")
    return one_line(f"{said}, {tokens:,} tokens" if isinstance(tokens, int) else said)
