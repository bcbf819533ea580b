"""Why a prompt cache was missed: the `diagnostics` member of a reply.

A request with `diagnostics` leaves a fingerprint under its reply's id; a later one that
names this id is compared with it, model first, then system, tools and messages
(https://platform.claude.com/docs/en/build-with-claude/cache-diagnostics).
"""

from typing import Final, final

import attrs

from detent.simulator.signing import digest_of, unmarked
from detent.simulator.tokens import count_request
from detent.simulator.wire import Json, as_object, objects

_KEPT_SECONDS: Final = 3600.0


@final
@attrs.frozen
class _Fingerprint:
    at: float
    model: object
    system: bytes
    tools: bytes
    messages: tuple[bytes, ...]


@final
class Diagnoses:
    """The fingerprints a simulator keeps."""

    def __init__(self) -> None:
        self._kept: dict[str, _Fingerprint] = {}

    def diagnose(self, body: Json, whole: Json, message_id: str, at: float) -> object:
        """The `diagnostics` member of a reply; keeps the request's own fingerprint.

        Args:
            body: The request as sent.
            whole: The whole conversation it stands for.
            message_id: Of the reply.
            at: The clock.
        """
        asked = as_object(body.get("diagnostics"))
        if asked is None:
            return None
        mine = _fingerprint(whole, at)
        self._kept[message_id] = mine
        previous = asked.get("previous_message_id")
        if not isinstance(previous, str):
            return None
        reason = self._reason(previous, mine, whole, at)
        return None if reason is None else {"cache_miss_reason": reason}

    def _reason(
        self, previous: str, mine: _Fingerprint, whole: Json, at: float
    ) -> Json | None:
        theirs = self._kept.get(previous)
        if theirs is None or at - theirs.at >= _KEPT_SECONDS:
            return {"type": "previous_message_not_found"}
        if theirs.model != mine.model:
            return _missed("model_changed", whole)
        if theirs.system != mine.system:
            return _missed("system_changed", whole)
        if theirs.tools != mine.tools:
            return _missed("tools_changed", whole)
        if mine.messages[: len(theirs.messages)] != theirs.messages:
            return _missed("messages_changed", whole)
        return None


def _missed(kind: str, whole: Json) -> Json:
    return {"type": kind, "cache_missed_input_tokens": count_request(whole)}


def _fingerprint(whole: Json, at: float) -> _Fingerprint:
    return _Fingerprint(
        at,
        (whole.get("model"), whole.get("speed")),
        digest_of(unmarked(whole.get("system"))),
        digest_of(unmarked(whole.get("tools"))),
        tuple(
            digest_of(unmarked(message)) for message in objects(whole.get("messages"))
        ),
    )
