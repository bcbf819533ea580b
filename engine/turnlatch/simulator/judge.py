"""The server's checks of the blocks that it signed, when they come back."""

from collections.abc import Mapping
from typing import Final, final

from turnlatch.simulator.signing import Notary, Places, is_thinking
from turnlatch.simulator.wire import Json, as_object, latest_turn

BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"

_CANNOT_BE_MODIFIED: Final = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be"
    " modified. These blocks must remain as they were in the original response."
)


@final
class Judge:
    """The server's knowledge of its signatures, for one request (`rules.Verifier`)."""

    def __init__(
        self, notary: Notary, places: Places, whole: Json, betas: frozenset[str]
    ) -> None:
        self._notary = notary
        self._places = places
        self._model = str(whole.get("model"))
        self._betas = betas
        binding = as_object(
            (as_object(whole.get("thinking")) or {}).get("block_binding")
        )
        self._wanted = (binding or {}).get("prefix_mismatch_behavior")
        self._altered = _altered(notary, whole, self._model)
        self.enforced = True
        self.transformed: list[Json] = []

    def thinking(
        self, block: Mapping[str, object], *, path: str, body: Mapping[str, object]
    ) -> str | None:
        """Why this thinking block is refused; None if it is not."""
        del body
        problem = self._notary.thinking_problem(
            block, self._places.of(block), self._model
        )
        if problem != "tampered" and block is self._altered:
            return _CANNOT_BE_MODIFIED
        member = "data" if block.get("type") == "redacted_thinking" else "signature"
        invalid_mark = f"Invalid `{member}` in `{block.get('type')}` block"
        match problem:
            case "tampered":
                return invalid_mark
            case "other model":
                self._report("thinking_dropped", path, "model_binding_mismatch")
            case "moved" if self._wanted == "drop_block":
                self._report("thinking_dropped", path, "prefix_binding_mismatch")
            case "moved" if self.enforced or self._wanted == "error":
                return f"{invalid_mark}. {self._moved_advice()}"
            case "moved":
                kind = "thinking_mismatch_allowed"
                self._report(kind, path, "prefix_binding_mismatch")
            case _:
                pass
        return None

    def compaction(self, block: Mapping[str, object]) -> tuple[str, str] | None:
        """Why this summary is refused: code and reason; None if it is not."""
        # Without a signature there is nothing to judge: the rules say where such a
        # block may stand.
        if block.get("signature") is None:
            return None
        return self._notary.compaction_problem(block)

    def _moved_advice(self) -> str:
        advice = (
            "The block is bound to a different conversation. Remove the block, or set"
            ' `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
        )
        if BINDING_BETA not in self._betas:
            advice += f" That setting requires the `{BINDING_BETA}` value in the"
            advice += " `anthropic-beta` header."
        return advice

    def _report(self, kind: str, path: str, reason: str) -> None:
        self.transformed.append({"type": kind, "path": path, "reason": reason})


def _altered(notary: Notary, whole: Json, model: str) -> Json | None:
    """The first thinking block of the latest assistant turn that is out of its order.

    The thinking of each reply in it has to be there in order and without a gap, or not at
    all (https://platform.claude.com/docs/en/api/errors; that it may be removed as a whole
    was seen live). Where only the end is missing, the last block that is there is named.
    Thinking of other models is dropped anyway.
    """
    expected, last = dict[bytes, int](), dict[bytes, tuple[int, Json]]()
    for block in filter(is_thinking, latest_turn(whole)):
        share = notary.share_of(block, model)
        if share is None:
            continue
        if share.number != expected.get(share.reply, 0):
            return block
        expected[share.reply] = share.number + 1
        last[share.reply] = (share.count, block)
    for reply, (count, block) in last.items():
        if expected[reply] != count:
            return block
    return None
