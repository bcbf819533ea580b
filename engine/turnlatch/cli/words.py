"""What turnlatch's words mean, for people: kinds of fault, outcomes, closings, bounds.

The first three tables say what the core says where it declares the word; a test holds
them to that. The numbers are the core's own.
"""

from collections.abc import Mapping
from typing import Final

from turnlatch_states.api.faults import FaultKind, RetryPolicy
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.doubt import ALTERNATIONS, LASTING, SUSPECT_AFTER
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.budget import Budget
from turnlatch_states.recovery.context_window import (
    MAX_TOKENS_MIN,
    OLD_RESULT_BYTES,
    SQUEEZED_BYTES,
)
from turnlatch_states.recovery.decide import RAISED_MAX
from turnlatch_states.recovery.omit import STUBS_MAX
from turnlatch_states.recovery.policies import CompactionPolicy

KINDS: Final[Mapping[FaultKind, str]] = {
    FaultKind.TRANSIENT: (
        "The server or the network had a bad moment; the same request may pass later."
    ),
    FaultKind.OPTIONAL_FIELD: "A field the request can do without was refused.",
    FaultKind.THREAD: (
        "The server's copy of the conversation is gone or cannot be continued."
    ),
    FaultKind.TOO_LONG: "The request does not fit: bytes, tokens, images.",
    FaultKind.BLOCK: "The server names one block of the request.",
    FaultKind.THINKING: "Signed thinking was refused.",
    FaultKind.INVALID: "A definite refusal that names nothing we know.",
    FaultKind.REFUSAL: "The model declined; the exchange is not history.",
    FaultKind.COMPACTION: (
        "A summary is not usable, or is not accepted any more; the history stays."
    ),
    FaultKind.CUT_OFF: (
        "The reply hit its limit inside a call; nothing of it is history."
    ),
    FaultKind.AUTH: (
        "Credentials are missing or wrong, or the account is not allowed to do this."
    ),
    FaultKind.BILLING: "Credit or a spend limit.",
    FaultKind.MODEL_GONE: "The model is unknown or retired.",
    FaultKind.TOOL: "A tool said that the turn cannot go on.",
    FaultKind.LOCAL: "turnlatch refused its own request before sending it.",
    FaultKind.BUDGET: "The turn used up what it was allowed.",
    FaultKind.CANCELLED: "The caller stopped the turn.",
    FaultKind.INTERRUPTED: "The process ended in the middle of the turn.",
}
"""Every kind of fault in a sentence."""

OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.REST: "The turn is done.",
    Outcome.CALLS: "The turn owes one result to every call of the reply.",
    Outcome.RESUME: (
        "The server paused; it goes on when the conversation is sent back unchanged."
    ),
    Outcome.TRUNCATED: (
        "The reply hit its limit; calls in it are cut off and never executed."
    ),
    Outcome.OVERFLOW: "The window is full; calls in the reply are never executed.",
    Outcome.REFUSED: "The model declined; the reply is not committed.",
    Outcome.EMPTY: (
        "A whole reply without content; the turn is done, nothing is sent back."
    ),
}
"""What follows a whole reply, in a sentence."""

CLOSINGS: Final[Mapping[Closing, str]] = {
    Closing.RESULT: "The tool returned.",
    Closing.ERROR: "The tool, or its input, failed; the result says how.",
    Closing.DENIED: "A person or a policy said no; it did not run.",
    Closing.NOT_EXECUTED: "It never started.",
    Closing.CUT_OFF: "The reply ended inside the call; it never started.",
    Closing.UNKNOWN: (
        "It started and its end was not seen; it may or may not have had its effect."
    ),
}
"""How a call was closed, in a sentence."""

FOLLOWS: Final[Mapping[Outcome, tuple[str, FaultKind | None]]] = {
    Outcome.REST: ("the reply is confirmed, and the turn rests", None),
    Outcome.CALLS: (
        "the reply is confirmed; its calls run, each once, and their results go back",
        None,
    ),
    Outcome.RESUME: (
        "the reply is confirmed and sent back as it is; one that did not end among"
        " server tools, nor as a summary, rests",
        None,
    ),
    Outcome.TRUNCATED: (
        "the reply is confirmed, and the turn rests; one that ends inside a call is asked"
        " for once more with a higher limit, and else its calls are closed as cut off",
        FaultKind.CUT_OFF,
    ),
    Outcome.OVERFLOW: (
        "the reply is confirmed, its calls are closed as cut off, and room is made before"
        " the next request",
        None,
    ),
    Outcome.REFUSED: ("nothing is confirmed, and the turn fails", FaultKind.REFUSAL),
    Outcome.EMPTY: ("the reply is confirmed, and the turn rests", None),
}
"""What turnlatch does then, and the kind of fault that it may come to."""

_RETRY: Final = RetryPolicy()
_SUMMARIES: Final = CompactionPolicy()
_SUMMARISED: Final = (
    f"at most {_SUMMARIES.per_turn_max} summaries a turn, and none after"
    f" {_SUMMARIES.futile_max} that failed in a row"
)

BOUNDS: Final[Mapping[Remedy, str]] = {
    Remedy.WAIT: (
        f"{_RETRY.attempts_max} failures in a row at most,"
        f" {_RETRY.first_wait_seconds:g} to {_RETRY.wait_max_seconds:g} s apart; a hint"
        f" beyond {_RETRY.hint_max_seconds:g} s suspends the turn, a hint not to retry"
        " ends it"
    ),
    Remedy.PROBE: (
        f"after {SUSPECT_AFTER} equal failures in a row, {ALTERNATIONS} times at most:"
        " once is luck"
    ),
    Remedy.DROP_FIELD: "each field once",
    Remedy.REPLAY: "once",
    Remedy.UNTHREAD: "once",
    Remedy.CLAMP: f"once, and not below {MAX_TOKENS_MIN} tokens",
    Remedy.SHRINK: f"once, to {OLD_RESULT_BYTES:,} bytes a result",
    Remedy.COMPACT: _SUMMARISED,
    Remedy.TELL: (
        f"counted among the {_SUMMARIES.per_turn_max} summaries of a turn, in pieces as"
        " long as the window"
    ),
    Remedy.HIDE: "twice: as few turns as must be, then all but this one",
    Remedy.HIDE_TURN: "once, and only where the turn has calls",
    Remedy.FLATTEN: "once, and only where the turn has calls",
    Remedy.SQUEEZE: f"once, to {SQUEEZED_BYTES} bytes a result",
    Remedy.RENAME: "once, and only where the server says that ids must be unique",
    Remedy.STUB: (
        f"{STUBS_MAX} blocks, then the part around them; never what you said last"
    ),
    Remedy.RECALL: (
        f"once a request, until {LASTING} proofs make it last or everything passes"
    ),
    Remedy.IGNORE_BASE: "once a summary",
    Remedy.DROP_BOUND: "once, on models that bind thinking to what stands before it",
    Remedy.STRIP: "once, and never inside a turn that goes on",
    Remedy.BISECT: "twice at most; each halving is one trial, and counts as a request",
    Remedy.MAKE_ROOM: "once, where any part of that size may be left out",
    Remedy.RAISE: f"once, four times the limit, at most {RAISED_MAX:,} tokens",
    Remedy.CLOSE: "once a reply",
    Remedy.SKIP: "twice at most: the server's own summary, then the told one",
    Remedy.SUSPEND: "nothing is sent meanwhile, however long it takes",
}
"""How often each remedy is tried, by the numbers that hold unless you set others."""

BUDGET: Final = (
    f"{Budget().requests} requests a turn, trials included, and retry() grants as much"
    " again; rungs and failures are counted anew after each confirmed reply"
)
"""What bounds the whole."""

DEEDS: Final[Mapping[str, str]] = {
    "send": "Says something, and runs the turn until it rests.",
    "stream": "Says something, and shows the turn while it runs.",
    "steer": (
        "Says something into the turn that runs. It is durable at once, and goes along"
        " once, in order, with the next request that may say it: behind the results of"
        " the calls that run, or once the reply is there. A turn that is stopped keeps"
        " it for the next one."
    ),
    "retry": "Goes on with the turn that stopped; its input is still staged.",
    "abandon": "Gives up the failed turn: its text is dropped, its results are kept.",
    "interrupt": (
        "Stops the running turn. Calls that run are given their grace, and what they"
        " came to is told truthfully."
    ),
    "approve": (
        "Says yes to one call that waits. The yes is for exactly the call that the"
        " question was about, and is used up when it starts."
    ),
    "deny": "Says no to one call that waits; the model is told why.",
    "compact": "Replaces the context by a summary of it; nothing is deleted.",
    "configure": "Changes settings of an open conversation, from the next request on.",
    "pin": "Has a text go along with every later summary, word for word.",
    "unpin": "Lets go of a pinned text, also where a summary is in force with it.",
    "rewind": "Goes back by whole turns; nothing is deleted.",
    "fork": "Begins another conversation as this one stands.",
}
"""What can be done with a conversation, in a sentence or two."""

OPTIONS: Final[Mapping[str, str]] = {
    "approve": (
        "A rule that says yes (True) or no (False) to each call, or None: then a person"
        " is asked, durably."
    ),
    "approval_timeout": (
        "How many seconds a person has to answer; then the call is denied. No limit by"
        " default."
    ),
    "grace": (
        "How many seconds a call that is stopped may take to come to an end. One that"
        " takes longer is left to itself, and told as one whose end was not seen."
    ),
    "reconcile": (
        "Finds out by a call's key how it ended, if that was not seen: its result, not"
        " done, or unknown. It must have no effect of its own."
    ),
    "effect": (
        "What a call does to the world: once (never repeated), safe (reading only, may"
        " be repeated), ask (a person decides before each call)."
    ),
}
"""What a tool may say about its calls, with `@tool(...)`."""

BESIDE: Final[Mapping[Remedy, str]] = {
    Remedy.CLOSE: "before a request, where the last reply paused and is not resumed",
}
"""When a remedy is tried that stands in no ladder."""

SCRIPTS: Final[Mapping[FaultKind, str]] = {
    FaultKind.TRANSIENT: "529 times 2",
    FaultKind.OPTIONAL_FIELD: '400 message="diagnostics: Extra inputs are not permitted"',
    FaultKind.TOO_LONG: "413",
    FaultKind.INVALID: "400",
    FaultKind.AUTH: "401",
    FaultKind.BILLING: "402",
    FaultKind.MODEL_GONE: '404 message="model: claude-0"',
}
"""A fault of the simulator for the kinds that one fault is enough for."""

RULES_BY_WORDING: Final[tuple[tuple[str, str], ...]] = (
    ("at least one message is required", "R3"),
    ("all messages must have non-empty content", "R6"),
    ("does not support assistant message prefill", "R7"),
    ("`tool_use` ids were found without `tool_result` blocks", "R8"),
    ("unexpected `tool_use_id` found in `tool_result` blocks", "R9"),
    ("each tool_use must have a single result", "R11"),
    ("blocks with cache_control may be provided", "R24"),
    ("Could not process image", "R30"),
    ("prompt is too long", "R31"),
    ("exceed context limit", "R31"),
)
"""How the server words what a rule of ours is about; a test holds them to the rules."""
