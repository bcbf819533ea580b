"""The defects that a verdict names: what each one means, and how a client is mended.

This table is what `turnlatch simulate --verdict`, `messages_api.verdict()` and
docs/testing.md print.
"""

from enum import StrEnum
from typing import Final, final

import attrs


class DefectKind(StrEnum):
    """A way in which a client breaks a conversation."""

    ILLEGAL_REQUEST = "illegal_request"
    TRUNCATED_REPLY_ACCEPTED = "truncated_reply_accepted"
    RETRY_AFTER_IGNORED = "retry_after_ignored"
    RETRIED_DEFINITE_REFUSAL = "retried_definite_refusal"
    RETRY_STORM = "retry_storm"
    NO_BACKOFF = "no_backoff"
    GAVE_UP = "gave_up"
    NO_READ_TIMEOUT = "no_read_timeout"
    TEXT_DOUBLED = "text_doubled"
    EFFECT_REPEATED = "effect_repeated"
    EFFECT_FORGOTTEN = "effect_forgotten"
    RESULT_SWAPPED = "result_swapped"
    PARTIAL_COMMITTED = "partial_committed"
    POISON_RESENT = "poison_resent"
    UNCONFIRMED_ID_USED = "unconfirmed_id_used"
    CACHE_PREFIX_BROKEN = "cache_prefix_broken"


@final
@attrs.frozen
class DefectRow:
    """One row of the table of defects.

    Attributes:
        means: The client's act, as a sentence.
        mend: The change that the client needs, as a sentence.
    """

    means: str
    mend: str


STORM: Final = 15
"""The same request more often than this, each time failed, is a storm."""

BACKOFF_SECONDS_MIN: Final = 0.1
"""Two retries in a row that come sooner than this after the failure do not back off."""

READ_SECONDS_MAX: Final = 900.0
"""A client that waits longer than this for the next byte has no read timeout."""

HINT_SECONDS_MAX: Final = 60.0
"""A `retry-after` of more than this may be taken for "not in this run"."""

DEFECTS: Final[dict[DefectKind, DefectRow]] = {
    DefectKind.ILLEGAL_REQUEST: DefectRow(
        "The client sent a request that the Messages API refuses.",
        "Read the finding: it names the rule and the place in the request.",
    ),
    DefectKind.TRUNCATED_REPLY_ACCEPTED: DefectRow(
        "The client took a reply that was cut off for a whole one and went on.",
        "Commit a reply only after `message_stop`, or a complete body.",
    ),
    DefectKind.RETRY_AFTER_IGNORED: DefectRow(
        "The client sent the request again before the time that `retry-after` names.",
        "Wait at least as long as the header says.",
    ),
    DefectKind.RETRIED_DEFINITE_REFUSAL: DefectRow(
        "The client sent the same request again after a 400, 404, 413 or 422.",
        "Change the request, or fail the turn: the same bytes get the same answer.",
    ),
    DefectKind.RETRY_STORM: DefectRow(
        f"The client sent the same request more than {STORM} times in a row.",
        "Limit the attempts, then fail the turn and keep the conversation.",
    ),
    DefectKind.NO_BACKOFF: DefectRow(
        "The client retried twice in a row without a pause.",
        "Wait between attempts, longer each time, with some randomness.",
    ),
    DefectKind.GAVE_UP: DefectRow(
        "The client never retried a request that failed for a reason that may pass.",
        "Retry 408, 409, 429, 5xx, resets and cut replies.",
    ),
    DefectKind.NO_READ_TIMEOUT: DefectRow(
        "The client waited without a limit for an answer that had stopped.",
        "Give the HTTP client a read timeout.",
    ),
    DefectKind.TEXT_DOUBLED: DefectRow(
        "The conversation holds a text twice after a retry.",
        "Build the request again from what is confirmed; never append in a retry loop.",
    ),
    DefectKind.EFFECT_REPEATED: DefectRow(
        "A tool's effect happened more often than the model asked for it.",
        "Record that a call starts before it starts, and look there after a crash.",
    ),
    DefectKind.EFFECT_FORGOTTEN: DefectRow(
        "A tool's effect happened, and the model was never told of it.",
        "Keep the call in the history, with its result or with an unknown outcome.",
    ),
    DefectKind.RESULT_SWAPPED: DefectRow(
        "The results of parallel calls stand under each other's ids.",
        "Take each result's `tool_use_id` from its call, not from the order of the ends.",
    ),
    DefectKind.PARTIAL_COMMITTED: DefectRow(
        "The part of a reply that was cut off stayed in the history after a retry.",
        "Drop what arrived of a failed attempt before the next one.",
    ),
    DefectKind.POISON_RESENT: DefectRow(
        "The client went on with a history that had been refused, and was refused again.",
        "Leave out the refused part, or take the turn back, before the next message.",
    ),
    DefectKind.UNCONFIRMED_ID_USED: DefectRow(
        "A request names the id of a reply or a call that never arrived whole.",
        "Take ids only from replies that were confirmed.",
    ),
    DefectKind.CACHE_PREFIX_BROKEN: DefectRow(
        "A request changes what an earlier one had marked for the prompt cache.",
        "Append to the history; do not rewrite system, tools or earlier messages.",
    ),
}
"""The meaning of each defect, and its mending."""


@final
@attrs.frozen
class Defect:
    """Something that a client did wrong, seen on the wire.

    Attributes:
        kind: Which row of the table.
        requests: The numbers of the requests that show it, in the simulator's log.
        text: What happened, as a sentence with its numbers.
    """

    kind: DefectKind
    requests: tuple[int, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"
