"""What is done about each kind of fault: finite ladders, as data.

A ladder is climbed from the left, one rung a failure. Every rung waits, or changes the
request; none sends again what met a definite refusal. Behind the last rung the turn rests
in `failed`, with its reason, its history untouched and its input still staged. The turn's
budget bounds the whole.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, final

import attrs

from turnlatch_states.api.faults import FaultKind


class Remedy(StrEnum):
    """One thing to do about a fault."""

    WAIT = "wait"
    PROBE = "probe"
    DROP_FIELD = "drop field"
    REPLAY = "replay"
    UNTHREAD = "unthread"
    CLAMP = "clamp"
    SHRINK = "shrink"
    COMPACT = "compact"
    TELL = "tell"
    HIDE = "hide"
    HIDE_TURN = "hide turn"
    FLATTEN = "flatten"
    SQUEEZE = "squeeze"
    RENAME = "rename calls"
    STUB = "stub"
    RECALL = "recall"
    IGNORE_BASE = "ignore summary"
    DROP_BOUND = "drop bound thinking"
    STRIP = "strip thinking"
    BISECT = "bisect"
    MAKE_ROOM = "make room"
    RAISE = "raise limit"
    CLOSE = "close server tools"
    SKIP = "skip"
    SUSPEND = "suspend"


SAYS: Final[Mapping[Remedy, str]] = {
    Remedy.WAIT: "wait (the server's hint, else a growing backoff) and send it again",
    Remedy.PROBE: "send a short request and this one in turn, to see which fails",
    Remedy.DROP_FIELD: "leave out the optional field that is named",
    Remedy.REPLAY: "send the whole conversation again as a new server thread",
    Remedy.UNTHREAD: "send the whole conversation without a server thread",
    Remedy.CLAMP: "ask for a shorter reply, so that both fit the window",
    Remedy.SHRINK: "show old tool results shortened and old media as a note",
    Remedy.COMPACT: "replace the context by the server's own summary of it",
    Remedy.TELL: "have the conversation summarised in pieces that fit",
    Remedy.HIDE: "leave out the oldest turns and say so in their place",
    Remedy.HIDE_TURN: "leave out the open turn, too, all but its last answers",
    Remedy.FLATTEN: "show the open tool turn as a written record",
    Remedy.SQUEEZE: "shorten the results that are about to be sent, too",
    Remedy.RENAME: "give calls that have one id names of their own",
    Remedy.STUB: "put a note in the place of the block that is named",
    Remedy.RECALL: "show it as it last passed in the same trouble",
    Remedy.IGNORE_BASE: "show again what the refused summary stood for",
    Remedy.DROP_BOUND: "let the server drop the thinking that it cannot place",
    Remedy.STRIP: "leave out the thinking of the turns that are done",
    Remedy.BISECT: "find the part that is refused, by trials without effect, and leave it out;"
    " until a definite refusal or many failures have proved it, the next request shows"
    " everything again first",
    Remedy.MAKE_ROOM: "take it for too long, as trials have shown, and make room",
    Remedy.RAISE: "ask once more with a higher limit for the reply",
    Remedy.CLOSE: "leave out the server tool that was never finished",
    Remedy.SKIP: "do without the summary that failed",
    Remedy.SUSPEND: "wait for the world to change; retry() goes on",
}
"""Each remedy in words."""

ROOM: Final = (
    Remedy.CLAMP,
    Remedy.SHRINK,
    Remedy.COMPACT,
    Remedy.TELL,
    Remedy.HIDE,
    Remedy.FLATTEN,
    Remedy.SQUEEZE,
    Remedy.HIDE_TURN,
)
"""The ladder of what is too long. The last four need no server."""

WITHOUT_COPY: Final = (Remedy.REPLAY, Remedy.UNTHREAD)
"""What is done first about any definite refusal of a request that continues a thread:
it may be for the sake of what the server holds."""

WORLD: Final = (Remedy.SUSPEND, Remedy.RECALL, Remedy.PROBE, Remedy.BISECT)
"""The ladder of what waits for the world. The second time in a row it is asked whether
something short is answered; only then can a part of the conversation be to blame."""

LADDERS: Final[Mapping[FaultKind, tuple[Remedy, ...]]] = {
    FaultKind.TRANSIENT: (
        Remedy.WAIT,
        Remedy.RECALL,
        Remedy.REPLAY,
        Remedy.DROP_FIELD,
        Remedy.PROBE,
        Remedy.BISECT,
    ),
    FaultKind.OPTIONAL_FIELD: (*WITHOUT_COPY, Remedy.DROP_FIELD),
    FaultKind.THREAD: WITHOUT_COPY,
    FaultKind.TOO_LONG: (*WITHOUT_COPY, *ROOM),
    FaultKind.BLOCK: (
        *WITHOUT_COPY,
        Remedy.RENAME,
        Remedy.STUB,
        Remedy.FLATTEN,
        Remedy.HIDE,
        Remedy.SHRINK,
        Remedy.IGNORE_BASE,
        Remedy.BISECT,
    ),
    FaultKind.THINKING: (
        *WITHOUT_COPY,
        Remedy.DROP_BOUND,
        Remedy.STRIP,
        Remedy.FLATTEN,
    ),
    FaultKind.INVALID: (
        *WITHOUT_COPY,
        Remedy.DROP_FIELD,
        Remedy.RENAME,
        Remedy.STUB,
        Remedy.RECALL,
        Remedy.PROBE,
        Remedy.BISECT,
        Remedy.MAKE_ROOM,
        Remedy.IGNORE_BASE,
    ),
    FaultKind.COMPACTION: (Remedy.IGNORE_BASE, Remedy.SKIP, Remedy.TELL),
    FaultKind.CUT_OFF: (Remedy.RAISE,),
    FaultKind.AUTH: WORLD,
    FaultKind.BILLING: WORLD,
    FaultKind.MODEL_GONE: WORLD,
    FaultKind.REFUSAL: (Remedy.RECALL, Remedy.BISECT),
    FaultKind.TOOL: (),
    FaultKind.LOCAL: (),
    FaultKind.BUDGET: (),
    FaultKind.CANCELLED: (),
    FaultKind.INTERRUPTED: (),
}
"""The ladder of each kind; a test holds that every kind has one.

A rung that has nothing to work on is passed over: without a server thread there is
nothing to replay, without a summary none to ignore."""

AFTERWARDS: Final[Mapping[FaultKind, str]] = {
    FaultKind.TRANSIENT: "retry() later, or send() something else; nothing is left out for"
    " an outage",
    FaultKind.OPTIONAL_FIELD: "change the setting that is named, then retry()",
    FaultKind.THREAD: "retry()",
    FaultKind.TOO_LONG: "send() something shorter, or rewind()",
    FaultKind.BLOCK: "send() it without the block that is named",
    FaultKind.THINKING: "rewind() to before the turn whose thinking is refused",
    FaultKind.INVALID: "read the message; send() something else, or rewind()",
    FaultKind.COMPACTION: "go on as before: the old context is in force",
    FaultKind.CUT_OFF: "configure(max_tokens=...) with more, then retry()",
    FaultKind.AUTH: "configure(client=...) with good credentials, or have the account"
    " allowed what the message names; then retry()",
    FaultKind.BILLING: "restore the credit or raise the limit, then retry()",
    FaultKind.MODEL_GONE: "configure(model=...) with a successor, then retry()",
    FaultKind.REFUSAL: "send() it in other words; where an earlier part is declined, the"
    " second refusal in a row has it found and left out, and rewind() goes back before it",
    FaultKind.TOOL: "do what the tool says, then retry() or send()",
    FaultKind.LOCAL: "send() what the API can take",
    FaultKind.BUDGET: "retry() grants as much again",
    FaultKind.CANCELLED: "retry(), or send() something else",
    FaultKind.INTERRUPTED: "retry(), or send() something else",
}
"""What a person can do once a turn rests in `failed` for that kind."""


@final
@attrs.frozen
class Ladder:
    """What is done about one kind of fault, to be printed.

    Attributes:
        kind: The kind.
        rungs: The remedies in the order in which they are tried.
        afterwards: What a person can do when none of them helped.
    """

    kind: FaultKind
    rungs: tuple[Remedy, ...]
    afterwards: str


def ladder(kind: FaultKind) -> Ladder:
    """The ladder of a kind."""
    return Ladder(kind, LADDERS[kind], AFTERWARDS[kind])
