"""The answers of the world: replies, faults, and what its tools do."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.call_effects import CallRun, Ending, ToolFacts
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Profile

TOOLS: Final = {
    "look": ToolFacts("safe"),
    "pay": ToolFacts("once", reconciles=True),
    "post": ToolFacts("once"),
    "ask": ToolFacts("ask"),
}
"""One tool of each promise: read-only, once with and without `reconcile`, asked for."""

_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search"}
_DECLARED: Final = [
    {"name": name, "description": name, "input_schema": {"type": "object"}}
    for name in TOOLS
]
PROFILE: Final = Profile(
    "claude-sonnet-5-5", 1024, (("tools", encode([*_DECLARED, _SEARCH])),)
)

CALLED: Final = (
    ("look",),
    ("pay",),
    ("post",),
    ("ask",),
    ("look", "pay"),
    ("ask", "post"),
)
"""The calls that a reply may make."""

SAID: Final = encode({"type": "text", "text": "Go on."})
STEERED: Final = encode({"type": "text", "text": "And more."})

_KINDS: Final = (
    FaultKind.TRANSIENT,
    FaultKind.OPTIONAL_FIELD,
    FaultKind.THREAD,
    FaultKind.TOO_LONG,
    FaultKind.BLOCK,
    FaultKind.THINKING,
    FaultKind.INVALID,
    FaultKind.AUTH,
    FaultKind.BILLING,
    FaultKind.MODEL_GONE,
    FaultKind.LOCAL,
)

FAULTS: Final = (
    *((f"it fails: {kind}", Fault(kind, f"a {kind} fault")) for kind in _KINDS),
    (
        "its reply is cut off",
        Fault(FaultKind.TRANSIENT, "the stream ended early", outcome_unknown=True),
    ),
)
"""The failures of a request, in words. The other kinds are made from replies (refusal,
cut off, compaction), from tools, or by the engine."""

SUMMARY_FAULTS: Final = FAULTS[:1] + FAULTS[3:4] + FAULTS[7:8]


def replies(serial: int, calls: int, faults: int) -> Iterator[tuple[str, Reply, int]]:
    """The whole replies to a message: in words, the reply, and how many calls it makes.

    Args:
        serial: A number that makes its ids unique.
        calls: Calls that are left.
        faults: Faults that are left: a refusal is one.
    """
    yield "the model answers", text_reply(serial), 0
    for names in CALLED:
        if len(names) <= calls:
            yield f"the model calls {' and '.join(names)}", _called(serial, names), -1
    if calls:
        yield (
            "the reply ends inside a call",
            _called(serial, ("post",), "max_tokens"),
            1,
        )
        yield "the server pauses", _paused(serial), 1
    if faults:
        yield "the model declines", _reply(serial, "refusal"), 0


def summaries(serial: int, method: Method, faults: int) -> Iterator[tuple[str, Reply]]:
    """The replies to a request for a summary, in words."""
    if method is Method.TOLD:
        yield "the summary arrives", text_reply(serial)
        return
    block = {"type": "compaction", "content": "x", "signature": "s"}
    yield "the summary arrives", _reply(serial, "compaction", block)
    if faults:
        yield "an empty summary arrives", _reply(serial, "compaction")


def text_reply(serial: int) -> Reply:
    """A whole reply that calls nothing."""
    return _reply(serial, "end_turn", {"type": "text", "text": "Well."})


def result(run: CallRun, closing: Closing, told: str) -> Ending:
    """How a call ends."""
    return Ending(closing, closed_result(run.call.use.id, told))


@lru_cache(maxsize=100_000)
def _called(serial: int, names: tuple[str, ...], stop: str = "tool_use") -> Reply:
    blocks: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"toolu_{serial}_{at}", "name": name, "input": {}}
        for at, name in enumerate(names)
    ]
    return _reply(serial, stop, *blocks)


@lru_cache(maxsize=100_000)
def _paused(serial: int) -> Reply:
    name, id_ = "web_search", f"srvtoolu_{serial}"
    block: dict[str, Any] = {
        "type": "server_tool_use",
        "id": id_,
        "name": name,
        "input": {},
    }
    return _reply(serial, "pause_turn", block)


def _reply(serial: int, stop: str, *blocks: dict[str, Any]) -> Reply:
    facts = {
        "id": f"msg_{serial}",
        "model": PROFILE.model,
        "stop_reason": stop,
        "usage": {"input_tokens": 10, "output_tokens": 3},
    }
    return Reply(b",".join(map(encode, blocks)), encode(facts))
