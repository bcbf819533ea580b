"""The remedies: everything that may be done about a fault, one by one.

The journal records each one that is chosen. Which remedy follows which fault, and how
often, is in the ladders (`recovery/ladder.py`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


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
    Remedy.WAIT: "wait (as the server asks, else a growing backoff), then send it again",
    Remedy.PROBE: "send a short request and the full one in turn, to see which fails",
    Remedy.DROP_FIELD: "leave out an optional field",
    Remedy.REPLAY: "send the whole conversation again as a new server thread",
    Remedy.UNTHREAD: "send the whole conversation without a server thread",
    Remedy.CLAMP: "ask for a shorter reply, so that prompt and reply fit the window",
    Remedy.SHRINK: "shorten old tool results, and replace old media by a note",
    Remedy.COMPACT: "replace the context by the server's own summary of it",
    Remedy.TELL: "have the conversation summarised in pieces that fit",
    Remedy.HIDE: "leave out whole turns, with a note in their place",
    Remedy.HIDE_TURN: "leave out the open turn, too, except its last results",
    Remedy.FLATTEN: "show the open tool turn as a written record",
    Remedy.SQUEEZE: "shorten the results that are about to be sent, too",
    Remedy.RENAME: "give calls that share one id new ids",
    Remedy.STUB: "replace the refused block by a note",
    Remedy.RECALL: "show the history as it last passed during the same trouble",
    Remedy.IGNORE_BASE: "show the messages that the refused summary replaced",
    Remedy.DROP_BOUND: "let the server drop the thinking that it cannot place",
    Remedy.STRIP: "leave out the thinking of closed turns",
    Remedy.BISECT: "find the part that is refused, by trials without effect, and leave it out;"
    " until a definite refusal or many failures have proved it, the next request shows"
    " everything again first",
    Remedy.MAKE_ROOM: "treat it as too long, as trials have shown, and make it shorter",
    Remedy.RAISE: "ask once more with a higher limit for the reply",
    Remedy.CLOSE: "leave out the server tool call that never finished",
    Remedy.SKIP: "go on without the summary that failed",
    Remedy.SUSPEND: "wait for a change outside the conversation; retry() goes on",
}
"""Each remedy in words."""
