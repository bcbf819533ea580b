"""Why a prompt cache was missed: the `diagnostics` member of a reply.

A request with `diagnostics` leaves a fingerprint under its reply's id; a later one that
names this id is compared with it, model first, then system, tools and messages
(https://platform.claude.com/docs/en/build-with-claude/cache-diagnostics). What is the same
here is the same to the cache of `cache.py`: where nothing differs, what was marked in the
earlier request can be read in the later one.
"""

from collections.abc import Sequence
from typing import Final, final

import attrs

from turnlatch.simulator.cache import Section, chained, pieces, rendering
from turnlatch.simulator.wire import Json, as_object

_KEPT_SECONDS: Final = 3600.0


@final
@attrs.frozen
class _Fingerprint:
    """A request: digests of its parts, and how many tokens they have.

    Of the messages it holds one digest of all pieces, and how many there are.
    """

    at: float
    model: object
    system: bytes
    tools: bytes
    rendering: bytes
    messages: bytes
    count: int
    tokens: dict[Section, int]


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
        mine, chain = _read(whole, at)
        self._kept[message_id] = mine
        previous = asked.get("previous_message_id")
        if not isinstance(previous, str):
            return None
        reason = self._reason(previous, mine, chain, at)
        return None if reason is None else {"cache_miss_reason": reason}

    def _reason(
        self, previous: str, mine: _Fingerprint, chain: Sequence[bytes], at: float
    ) -> Json | None:
        theirs = self._kept.get(previous)
        if theirs is None or at - theirs.at >= _KEPT_SECONDS:
            return {"type": "previous_message_not_found"}
        if theirs.model != mine.model:
            return _missed("model_changed", theirs, "tools", "system", "messages")
        if theirs.system != mine.system:
            # The cache has the tools before the system prompt, so they may differ too.
            if theirs.tools == mine.tools:
                return _missed("system_changed", theirs, "system", "messages")
            return _missed("system_changed", theirs, "tools", "system", "messages")
        if theirs.tools != mine.tools:
            return _missed("tools_changed", theirs, "tools", "system", "messages")
        if theirs.rendering != mine.rendering:
            return {"type": "unavailable"}
        if len(chain) <= theirs.count or chain[theirs.count] != theirs.messages:
            return _missed("messages_changed", theirs, "messages")
        return None


def _missed(kind: str, theirs: _Fingerprint, *sections: Section) -> Json:
    """A reason, with the earlier request's tokens from the section that differs on."""
    missed = sum(theirs.tokens[section] for section in sections)
    return {"type": kind, "cache_missed_input_tokens": missed}


def _read(whole: Json, at: float) -> tuple[_Fingerprint, Sequence[bytes]]:
    """A fingerprint, and the digests of the first 0, 1, 2 … pieces of the messages."""
    parts = {"tools": b"", "system": b""}
    tokens: dict[Section, int] = {"tools": 0, "system": 0, "messages": 0}
    chain = [b""]
    for piece in pieces(whole):
        tokens[piece.section] += piece.tokens
        content = piece.content.encode(errors="surrogatepass")
        if piece.section == "messages":
            chain.append(chained(chain[-1], content))
        else:
            parts[piece.section] = chained(parts[piece.section], content)
    mine = _Fingerprint(
        at,
        (whole.get("model"), whole.get("speed")),
        parts["system"],
        parts["tools"],
        rendering(whole),
        chain[-1],
        len(chain) - 1,
        tokens,
    )
    return mine, chain
