"""Every fault in every wording that a ladder tells apart, and services that answer so."""

from collections.abc import Iterator

import attrs
from tests.states.conversation_strategies import (
    PARTS,
    Conversation,
    given_up,
    paused,
    plain,
    stopped,
    summarised,
    tools,
)
from tests.states.recovery_simulator import Service
from tests.states.strategies import FAULTS as PLAIN

from turnlatch_states.api.faults import OPTIONAL_FIELDS, Fault, FaultKind, named_path
from turnlatch_states.machine.thread import Thread, ThreadState
from turnlatch_states.request.profile import Threads

K = FaultKind


def said(kind: FaultKind, message: str, status: int = 400, code: str = "") -> Fault:
    """A fault as the adapter makes it of an answer."""
    path = named_path(message)
    return Fault(kind, message, status=status, code=code or None, path=path)


def _wordings() -> Iterator[Fault]:
    """Each kind in every wording that a ladder tells apart."""
    yield from PLAIN
    yield said(K.INVALID, "no idea")
    yield said(K.INVALID, "Output blocked by content filtering policy")
    for at in range(5):
        yield said(K.BLOCK, f"messages.{at}: bad")
        for block in range(3):
            yield said(K.BLOCK, f"messages.{at}.content.{block}: bad")
    inner = "messages.2.content.0.tool_result.content.1.image.source: bad"
    yield said(K.BLOCK, inner)
    yield said(K.BLOCK, "system.0: bad")
    yield said(K.BLOCK, "messages.1.content.0: `tool_use` ids must be unique")
    yield said(K.INVALID, "`tool_use` ids must be unique")
    yield Fault(K.BLOCK, "file_011 has expired", status=400, code="file_expired")
    lost = "messages.1.content.0: Invalid `signature` in `thinking` block"
    yield said(K.THINKING, lost)
    for words in (
        "prompt is too long: 213462 tokens > 200000 maximum",
        "prompt is too long: 900 tokens > 500 maximum",
        "input length and `max_tokens` exceed context limit: 1 + 1024 > 900, and",
        "input length and `max_tokens` exceed context limit: 1 + 1024 > 1025, and",
        "max_tokens: 1024 > 512, which is the maximum allowed number of output tokens",
        "max_tokens: 1024 > 9999, which is the maximum allowed number of output tokens",
        "too many images and documents: 601 + 0 > 600",
    ):
        yield said(K.TOO_LONG, words)
    yield said(K.TOO_LONG, "Request exceeds the maximum size", 413)
    for name in (*OPTIONAL_FIELDS, "Unexpected value(s) `a-beta` for the"):
        words = f"{name} `anthropic-beta` header: Extra inputs are not permitted"
        yield said(K.OPTIONAL_FIELD, words)
    for code in (
        "thread_not_found",
        "thread_already_continued",
        "thread_unsupported_request",
        "thread_fingerprint_mismatch",
    ):
        yield said(K.THREAD, code, 404 if code.endswith("found") else 400, code)
    yield said(K.COMPACTION, "bad", 400, "compaction_signature_invalid")
    for status in (None, 429, 500, 529):
        for hint in (None, 5.0, 9999.0):
            yield Fault(K.TRANSIENT, "busy", status=status, retry_after=hint)
    yield Fault(K.TRANSIENT, "no", status=500, retry_refused=True)
    yield Fault(K.TRANSIENT, "reset", outcome_unknown=True)


WORDINGS = tuple(_wordings())
MODES = ("nothing", "small", "summaries", "told", "trials")
"""What the service does answer, beside the message, which it never does."""

_ANSWERED = {
    "nothing": (),
    "small": ("small",),
    "summaries": ("small", "summary", "told"),
    "told": ("small", "told"),
    "trials": ("small", "told", "trial"),
}
PLANS: tuple[list[tuple[int, int]], ...] = (
    [],
    [(PARTS.index(plain), 3), (PARTS.index(tools), 5)],
    [
        (PARTS.index(plain), 4),
        (PARTS.index(paused), 0),
        (PARTS.index(stopped), 1),
        (PARTS.index(plain), 2),
        (PARTS.index(summarised), 1),
        (PARTS.index(given_up), 2),
        (PARTS.index(tools), 7),
    ],
)


def refusing(fault: Fault, mode: str = "nothing") -> Service:
    """A service that answers every message with the same fault."""
    return lambda sent: None if sent.what in _ANSWERED[mode] else fault


def in_a_thread(chat: Conversation) -> Conversation:
    """The conversation, with a copy of it at the server and a container there."""
    snapshot = chat.snapshot
    settings_ = (*snapshot.profile.settings, ("container", b'"c_1"'))
    profile = attrs.evolve(
        snapshot.profile, threads=Threads.ON, settings=settings_, betas=("a-beta",)
    )
    held = Thread(ThreadState.CONTINUING if snapshot.history.head else ThreadState.OFF)
    chat.snapshot = attrs.evolve(snapshot, profile=profile, thread=held)
    return chat
