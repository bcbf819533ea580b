"""Whether a request continues the server's copy, and whether its reply proves that copy.

A request that continues a server thread carries only what is new. A gateway that drops
the field `thread` answers it all the same, and the model has seen nothing but the last
message. Only the count of tokens read shows it: a server with the copy has read at least
the tokens read for the reply before, and those added since.

A count that is missing, zero or unchanged proves nothing, and neither does one that the
new message could explain alone. So a request continues a copy only where its count can
show that there is one (`least_count`), and its reply is committed only if it does
(`unproved`). A false alarm costs one reply and the saving, never a message.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, cast

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.thread import Thread, ThreadState
from turnlatch_states.request.build import ID, Copy
from turnlatch_states.request.history import History, user_message
from turnlatch_states.request.profile import Threads
from turnlatch_states.request.tokens import bound

BYTES_PER_TOKEN_MAX: Final = 64
"""No text of some length has fewer tokens than one for so many bytes."""

LOSSES_MAX: Final = 2
"""Copies lost in a row after which `auto` gives up keeping one."""

_SERVER_CALLS: Final = (b'"server_tool_use"', b'"mcp_tool_use"')


def choose_copy(
    thread: Thread,
    wanted: Threads,
    *,
    on_trial: bool,
    unthreaded: bool,
    provable: bool = True,
) -> Copy:
    """How the next request uses the server's copy.

    Args:
        thread: The server's copy.
        wanted: The profile's setting.
        on_trial: The view differs from the server's copy.
        unthreaded: This turn goes without.
        provable: The reply can show that the server holds what it continues.
    """
    if wanted is Threads.OFF or unthreaded or thread.unproved:
        return Copy.NONE
    given_up = thread.refused or thread.losses >= LOSSES_MAX
    if wanted is Threads.AUTO and given_up:
        return Copy.NONE
    if thread.state is ThreadState.CONTINUING and provable and not on_trial:
        return Copy.CONTINUE
    return Copy.CREATE


def provable(snapshot: Snapshot) -> bool:
    """True if the count of a reply can show that the server holds the copy.

    It can where all that is held is more than the new message can be by itself.
    Otherwise there is little to save by continuing, and the whole conversation is sent.
    """
    if snapshot.thread.state is not ThreadState.CONTINUING:
        return False
    least, turn = least_count(snapshot), snapshot.turn
    if least is None or turn is None:
        return False
    return least > bound(user_message(turn.staged))


def least_count(snapshot: Snapshot) -> int | None:
    """The fewest tokens that a server which holds the copy reads for the next request;
    None if the last reply does not say what was read for it, or has no id of the API's.

    That is what was read for the last reply, and something for the text of that reply
    and of the new message. Thinking of a tool turn that is over may not be read any
    more. Among server tools the model was sampled several times, and the count may be
    the sum.
    """
    turn, history = snapshot.turn, snapshot.history
    head = history.head
    if turn is None or head is None or not head.message_id.startswith(ID):
        return None
    samples = 1 + sum(head.resendable.count(name) for name in _SERVER_CALLS)
    before = _top(head.reply) // samples
    if not before:
        return None
    if turn.content:
        before -= _thought(history)
    texts = (*_texts(head.resendable), *_texts(turn.staged))
    new = sum(1 + len(one) // BYTES_PER_TOKEN_MAX for one in texts)
    return before + max(new, 1)


def unproved(snapshot: Snapshot, reply: Reply) -> Fault | None:
    """Why a whole reply does not show that the server holds what it continues; None if
    it does, or if it continues nothing."""
    turn = snapshot.turn
    if turn is None or turn.copy is not Copy.CONTINUE:
        return None
    least, read = least_count(snapshot), _read(reply)
    if least is not None and read >= least:
        return None
    counted = f"counts {read} input tokens" if read else "counts no input tokens"
    said = (
        f"the reply to a continued thread {counted}, where the conversation has at"
        f" least {least}: the endpoint does not keep the thread, and the model saw the"
        " last message only; the whole conversation is sent instead"
    )
    return Fault(
        FaultKind.THREAD,
        said,
        status=200,
        request_id=reply.request_id,
        spent=reply.usage,
    )


def _thought(history: History) -> int:
    """At most how many tokens of thinking stood before the last reply in its tool turn."""
    total = 0
    for index in range(len(history) - 1, 0, -1):
        one, before = history[index], history[index - 1]
        if one.user_size and b'"tool_result"' not in one.user:
            break
        if b'thinking"' in before.wire:
            total += before.reply.usage.output
    return total


def _top(reply: Reply) -> int:
    """Tokens that were read for the reply itself, without those of a compaction."""
    usage: Any = reply.facts.get("usage")
    if isinstance(usage, dict):
        usage = {**cast("dict[str, Any]", usage), "iterations": None}
    return _prompt(Usage.read(usage))


def _read(reply: Reply) -> int:
    """Tokens that were read for a reply, with what the server says that it cleared or
    summarised before: that was read from the copy, too."""
    read = _prompt(reply.usage)
    match reply.facts.get("context_management"):
        case {"applied_edits": [*edits]}:
            for edit in cast("list[object]", edits):
                match edit:
                    case {"cleared_input_tokens": int() as cleared} if cleared > 0:
                        read += cleared
                    case _:
                        pass
        case _:
            pass
    return read


def _prompt(usage: Usage) -> int:
    return usage.input + usage.cache_read + usage.cache_write


def _texts(blocks: bytes) -> Iterator[str]:
    """The texts of some encoded blocks, and of the results among them."""
    for block in cast("list[dict[str, Any]]", json.loads(b"[" + blocks + b"]")):
        match block:
            case {"type": "tool_result", "content": str() as text} | {
                "text": str() as text
            }:
                yield text
            case {"type": "tool_result", "content": [*parts]}:
                for part in cast("list[object]", parts):
                    match part:
                        case {"text": str() as text}:
                            yield text
                        case _:
                            pass
            case _:
                pass
