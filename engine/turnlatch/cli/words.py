"""The meaning of turnlatch's terms, for people: kinds of fault, outcomes, closings.

The first three tables repeat the core's docstrings; a test compares them. The numbers come
from the core.
"""

from collections.abc import Mapping
from typing import Final

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.budget import Budget

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
    FaultKind.OUTPUT: "No reply was the output that the caller asked for.",
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
    Remedy.CLOSE: "before a request, once a reply, if the last reply paused in a server"
    " tool and is not resumed",
    Remedy.MAKE_ROOM: "once, if a search (bisect) shows that the length is refused and no"
    " part of it: any part of that size may be left out",
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
