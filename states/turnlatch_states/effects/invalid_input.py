"""The new input of a request, checked against the rules before it costs anything."""

import json
from typing import Any, cast

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.rules import Context, check
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.request.render import call_names, wires


def staged_fault(snapshot: Snapshot) -> Fault | None:
    """Why the staged message must not be sent; None if it may be.

    Only new content is checked, so the check costs the same at message 5,000 as at
    message 1: the staged blocks, placed after the calls that they answer. Older content
    was checked when it was staged, and the server's content is not ours to check.
    """
    turn = snapshot.turn
    if turn is None or not turn.staged:
        return None
    blocks = _shown(snapshot, turn.staged)
    calls = _answered(snapshot, turn, blocks) if turn.calls else {}
    if plainly_legal(blocks, list(calls)):
        return None
    messages: list[dict[str, Any]] = []
    if calls:
        asked: list[dict[str, Any]] = [
            {"type": "tool_use", "id": id_, "name": name, "input": {}}
            for id_, name in calls.items()
        ]
        messages.append({"role": "user", "content": "-"})
        messages.append({"role": "assistant", "content": asked})
    messages.append({"role": "user", "content": blocks})
    body = {
        "model": snapshot.profile.model,
        "max_tokens": snapshot.profile.max_tokens,
        "messages": messages,
    }
    context = Context(betas=frozenset(snapshot.profile.betas))
    for finding in check(body, context):
        if calls and finding.path.startswith("messages.1"):
            continue  # what the server said is not ours to refuse
        return Fault(
            FaultKind.LOCAL,
            f"{finding.message} ({finding.rule})",
            path=finding.path or None,
        )
    return None


def _answered(
    snapshot: Snapshot, turn: Turn, blocks: list[dict[str, Any]]
) -> dict[str, str]:
    """The calls that the blocks answer: the id that each is shown with, and its tool."""
    given = {block.get("tool_use_id") for block in blocks}
    names = call_names(snapshot.showing, snapshot.history, snapshot.base)
    known = {names.get(one.shown_id, one.shown_id): one.use.name for one in turn.calls}
    return {id_: name for id_, name in known.items() if id_ in given}


def _shown(snapshot: Snapshot, staged: bytes) -> list[dict[str, Any]]:
    """The staged blocks as the request will show them."""
    view, history = snapshot.showing, snapshot.history
    if view.reach <= len(history):
        return cast("list[dict[str, Any]]", json.loads(b"[" + staged + b"]"))
    shown = wires(view, history, snapshot.base, staged)[-1]
    return cast("list[dict[str, Any]]", json.loads(shown)["content"])


_RESULT_KEYS = frozenset({"type", "tool_use_id", "content", "is_error"})


def plainly_legal(blocks: list[dict[str, Any]], calls: list[str]) -> bool:
    """True if staged blocks are of the plain kind that no rule has a word against.

    That is: the results of exactly these calls, with text or nothing in them, and then
    text that is not blank. It decides nothing that the rules would decide otherwise (a
    property test holds it to that); it saves asking all of them about "Hello".
    """
    for index, block in enumerate(blocks):
        if index < len(calls):
            content = block.get("content", "-")
            if (
                block.get("type") != "tool_result"
                or not block.keys() <= _RESULT_KEYS
                or block.get("tool_use_id") != calls[index]
                or not isinstance(content, str)
                or not content.strip()
                or not isinstance(block.get("is_error", False), bool)
            ):
                return False
        else:
            text = block.get("text")
            if block.keys() != {"type", "text"} or block["type"] != "text":
                return False
            if not isinstance(text, str) or not text.strip() or not text.isprintable():
                return False
    return len(blocks) >= max(len(calls), 1)
