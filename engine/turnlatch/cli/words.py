"""The meaning of turnlatch's terms, for people: kinds of fault, outcomes, closings, bounds.

The first three tables repeat the core's docstrings; a test compares them. The numbers come
from the core.
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
        "The server or the network failed temporarily; the same request may pass later."
    ),
    FaultKind.OPTIONAL_FIELD: (
        "The server refused a field that the request does not need."
    ),
    FaultKind.THREAD: (
        "The server's copy of the conversation is gone or cannot be continued."
    ),
    FaultKind.TOO_LONG: "The request does not fit: bytes, tokens, images.",
    FaultKind.BLOCK: "The server names one block of the request.",
    FaultKind.THINKING: "Signed thinking was refused.",
    FaultKind.INVALID: (
        "The server refused the request for a reason that turnlatch does not recognise."
    ),
    FaultKind.REFUSAL: "The model declined; the exchange is not history.",
    FaultKind.COMPACTION: (
        "A summary is unusable, or the server no longer accepts it; the history stays."
    ),
    FaultKind.CUT_OFF: (
        "The reply hit its limit inside a call; the reply is not history."
    ),
    FaultKind.AUTH: (
        "Credentials are missing or wrong, or the account is not allowed to do this."
    ),
    FaultKind.BILLING: "The credit is used up, or a spend limit is reached.",
    FaultKind.MODEL_GONE: "The model is unknown or retired.",
    FaultKind.TOOL: "A tool raised TerminalToolError: the turn cannot go on.",
    FaultKind.LOCAL: "turnlatch refused its own request before sending it.",
    FaultKind.BUDGET: "The turn used up its budget.",
    FaultKind.CANCELLED: "The caller stopped the turn.",
    FaultKind.INTERRUPTED: "The process ended in the middle of the turn.",
}
"""Every kind of fault in a sentence."""

OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.REST: "The turn is done.",
    Outcome.CALLS: "The turn owes one result to every call of the reply.",
    Outcome.RESUME: (
        "The server paused; it continues when the conversation is sent back unchanged."
    ),
    Outcome.TRUNCATED: (
        "The reply hit its limit; calls in it are cut off and never executed."
    ),
    Outcome.OVERFLOW: "The window is full; calls in the reply are never executed.",
    Outcome.REFUSED: "The model declined; the reply is not committed.",
    Outcome.EMPTY: (
        "The reply is whole and empty; the turn is done, and nothing is sent back."
    ),
}
"""The outcome of a whole reply, in a sentence."""

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
        "the reply is confirmed; its calls run, each once, and their results are sent",
        None,
    ),
    Outcome.RESUME: (
        "the reply is confirmed and sent back unchanged; the turn rests instead if the"
        " reply ends neither among server tools nor with a summary",
        None,
    ),
    Outcome.TRUNCATED: (
        "the reply is confirmed, and the turn rests; if it ends inside a call, turnlatch"
        " asks once more with a higher limit, or closes its calls as cut off",
        FaultKind.CUT_OFF,
    ),
    Outcome.OVERFLOW: (
        "the reply is confirmed, its calls are closed as cut off, and the context is made"
        " smaller before the next request",
        None,
    ),
    Outcome.REFUSED: ("nothing is confirmed, and the turn fails", FaultKind.REFUSAL),
    Outcome.EMPTY: ("the reply is confirmed, and the turn rests", None),
}
"""turnlatch's reaction to each outcome, and the fault that may follow."""

_RETRY: Final = RetryPolicy()
_SUMMARIES: Final = CompactionPolicy()
_SUMMARISED: Final = (
    f"at most {_SUMMARIES.per_turn_max} summaries a turn, and no more after"
    f" {_SUMMARIES.futile_max} failures in a row"
)

BOUNDS: Final[Mapping[Remedy, str]] = {
    Remedy.WAIT: (
        f"{_RETRY.attempts_max} failures in a row at most,"
        f" {_RETRY.first_wait_seconds:g} to {_RETRY.wait_max_seconds:g} s apart; a hint"
        f" above {_RETRY.hint_max_seconds:g} s suspends the turn, a hint not to retry"
        " ends it"
    ),
    Remedy.PROBE: (
        f"after {SUSPECT_AFTER} equal failures in a row, at most {ALTERNATIONS} times:"
        " one answer may be luck"
    ),
    Remedy.DROP_FIELD: "each field once",
    Remedy.REPLAY: "once",
    Remedy.UNTHREAD: "once",
    Remedy.CLAMP: f"once, and not below {MAX_TOKENS_MIN} tokens",
    Remedy.SHRINK: f"once, to {OLD_RESULT_BYTES:,} bytes a result",
    Remedy.COMPACT: _SUMMARISED,
    Remedy.TELL: (
        f"counts as one of the {_SUMMARIES.per_turn_max} summaries of a turn; each piece"
        " fits the window"
    ),
    Remedy.HIDE: "twice: as few turns as needed, then all but this one",
    Remedy.HIDE_TURN: "once, and only if the turn has calls",
    Remedy.FLATTEN: "once, and only if the turn has calls",
    Remedy.SQUEEZE: f"once, to {SQUEEZED_BYTES} bytes a result",
    Remedy.RENAME: "once, and only if the server says that ids must be unique",
    Remedy.STUB: (
        f"{STUBS_MAX} blocks, then the part around them; never your last message"
    ),
    Remedy.RECALL: (
        f"once a request, until {LASTING} proofs make it permanent or everything passes"
    ),
    Remedy.IGNORE_BASE: "once a summary",
    Remedy.DROP_BOUND: "once, on models that bind thinking to the text before it",
    Remedy.STRIP: "once, and never inside an open turn",
    Remedy.BISECT: "at most twice; each halving is one trial and counts as a request",
    Remedy.MAKE_ROOM: "once, if any part of that size may be left out",
    Remedy.RAISE: f"once, four times the limit, at most {RAISED_MAX:,} tokens",
    Remedy.CLOSE: "once a reply",
    Remedy.SKIP: "at most twice: the server's summary, then the prompted one",
    Remedy.SUSPEND: "no request is sent until retry()",
}
"""How often each remedy is tried, with the default numbers."""

BUDGET: Final = (
    f"{Budget().requests} requests a turn, trials included, and retry() grants as much"
    " again; the counts of rungs and failures start again after each confirmed reply"
)
"""The bound on all remedies of a turn."""

DEEDS: Final[Mapping[str, str]] = {
    "send": "Sends a message, and runs the turn until it rests.",
    "stream": "Sends a message, and shows the turn while it runs.",
    "steer": (
        "Adds a message to the running turn. It is durable at once, and is sent once, in"
        " order, with the next request that can carry it: after the results of the running"
        " calls, or after the reply. A stopped turn keeps it for the next one."
    ),
    "retry": "Continues the turn that stopped; its input is still staged.",
    "abandon": "Abandons the failed turn: its text is dropped, its results are kept.",
    "interrupt": (
        "Stops the running turn. Running calls get their grace period, and their true"
        " outcome is recorded."
    ),
    "approve": (
        "Approves one call that waits. The approval is valid for exactly the call that"
        " the question showed, and is consumed when that call starts."
    ),
    "deny": "Denies one call that waits; the model is told why.",
    "compact": "Replaces the context with a summary of it; nothing is deleted.",
    "configure": "Changes settings of an open conversation, from the next request on.",
    "pin": "Keeps a text word for word in every later context.",
    "unpin": "Removes a pinned text, also from the current summary.",
    "rewind": "Goes back by whole turns; nothing is deleted.",
    "fork": "Begins another conversation with this one's present history.",
}
"""The methods of a conversation, in a sentence or two."""

OPTIONS: Final[Mapping[str, str]] = {
    "approve": (
        "A rule that approves (True) or denies (False) each call; on None a person is"
        " asked, durably."
    ),
    "approval_timeout": (
        "How many seconds a person has to answer; then the call is denied. No limit by"
        " default."
    ),
    "grace": (
        "How many seconds a stopped call may take to end. A call that takes longer is left"
        " running, and its outcome is reported as unknown."
    ),
    "reconcile": (
        "Finds the outcome of a call by its key, if the engine did not see it: its"
        " result, not done, or unknown. It must not have an effect."
    ),
    "effect": (
        "The effect of a call on the world: once (never repeated), safe (read-only, may"
        " be repeated), ask (a person decides before each call)."
    ),
}
"""The options of `@tool(...)` that are about calls."""

OUTSIDE: Final[Mapping[Remedy, str]] = {
    Remedy.CLOSE: "before a request, if the last reply paused and is not resumed",
}
"""When a remedy is tried that is in no ladder."""

SCRIPTS: Final[Mapping[FaultKind, str]] = {
    FaultKind.TRANSIENT: "529 times 2",
    FaultKind.OPTIONAL_FIELD: '400 message="diagnostics: Extra inputs are not permitted"',
    FaultKind.TOO_LONG: "413",
    FaultKind.INVALID: "400",
    FaultKind.AUTH: "401",
    FaultKind.BILLING: "402",
    FaultKind.MODEL_GONE: '404 message="model: claude-0"',
}
"""A simulator fault that shows the kind, for kinds that a single fault can show."""

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
"""The server's wording for a violation of each rule; a test checks them."""
