"""Where a request that the prompt cache cannot reach from its end gets one more marker.

The cache is looked for at the place of each marker and up to 19 positions before it
(Anthropic docs: build-with-claude/prompt-caching). The marker at the end of a request
finds what the last one wrote at its own end, unless a long reply or a message of many
blocks has come between. Then a second marker stands where the last request ended.
"""

import json
from typing import Any, Final

from turnlatch_states.api.json_bytes import parts
from turnlatch_states.request.history import History

LOOKBACK: Final = 20
"""How many positions a marker is compared at, its own the first."""

_TYPE: Final = b'"type"'
_RUNS: Final = frozenset({"tool_use", "tool_result"})


def out_of_reach(history: History, staged: bytes) -> bool:
    """True if a marker at the end of the next request cannot find the last one's end.

    Args:
        history: The confirmed exchanges.
        staged: The blocks of the next user message.
    """
    head = history.head
    if head is None:
        return False
    new = b",".join(filter(None, (head.resendable, staged)))
    return new.count(_TYPE) >= LOOKBACK and positions(new) >= LOOKBACK


def positions(blocks: bytes) -> int:
    """How many positions some blocks take: calls made in parallel, and their results,
    are one each."""
    count, before = 0, ""
    for data in parts(blocks):
        block: dict[str, Any] = json.loads(data)
        type_ = str(block.get("type"))
        count += not (type_ == before and type_ in _RUNS)
        before = type_
    return count


def mark_last_end(messages: list[bytes], history: History, mark: bytes) -> bool:
    """Put a marker where the last request ended; False if none can stand there.

    Args:
        messages: The exchanges as they are sent, and behind them the staged message.
        history: The confirmed exchanges.
        mark: The marker, as JSON.
    """
    head = history.head
    if head is None:
        return False
    exchange, reply = head, False
    if not head.user_size:  # what was paused was sent back, and no message behind it
        if len(history) < 2:
            return False
        exchange, reply = history[-2], True
    made = exchange.marked(mark, reply=reply)
    for at in range(len(messages) - 1, max(len(messages) - 4, -1), -1):
        # A view that shows it otherwise has changed what the cache holds, too.
        if messages[at] is exchange.wire and made is not None:
            messages[at] = made
            return True
    return False
