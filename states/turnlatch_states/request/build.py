"""The one builder that makes every request, by joining what is encoded already."""

from enum import StrEnum
from typing import Any, Final, final

import attrs

from turnlatch_states.api.json_bytes import encode, text_block
from turnlatch_states.api.models import spec
from turnlatch_states.request.cache_markers import mark_last_end, out_of_reach
from turnlatch_states.request.history import Base, History, Method, user_message
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.render import base_in_force, ends_openly, wires
from turnlatch_states.request.view import (
    BINDING_BETA,
    COMPACT_BETA,
    EMPTY,
    GO_ON,
    THREADS_BETA,
    View,
)

ID: Final = "msg_"
"""How the id of a reply begins; what begins otherwise is never named to the server."""


class Copy(StrEnum):
    """How a request uses the server's copy of the conversation."""

    NONE = "none"
    """Nothing: it carries the whole conversation."""
    CREATE = "create"
    """It carries the whole conversation and asks the server to keep it."""
    CONTINUE = "continue"
    """It carries what is new since the last confirmed reply."""


@final
@attrs.frozen
class Request:
    """One request, ready to leave.

    Attributes:
        turn: The turn it is sent for.
        attempt: Which request of that turn it is, from 1.
        purpose: Whether it asks for a reply or for a summary.
        body: The exact bytes of the body.
        betas: Names for the `anthropic-beta` header.
        stream: Whether the body asks for a stream.
    """

    turn: int
    attempt: int
    purpose: Purpose
    body: bytes
    betas: tuple[str, ...] = ()
    stream: bool = False


def build(
    profile: Profile,
    history: History,
    base: Base | None,
    staged: bytes,
    *,
    view: View = EMPTY,
    copy: Copy = Copy.NONE,
    purpose: Purpose = Purpose.MESSAGE,
    max_tokens: int | None = None,
    instructions: str | None = None,
    stream: bool = False,
) -> bytes:
    """The body of a request.

    Args:
        profile: The settings.
        history: The confirmed exchanges.
        base: The summary in force, standing for the first exchanges.
        staged: The new user message's blocks, comma-separated; empty to resume a
            paused turn or to compact. A paused turn that a view shows without its pause
            ends in a few words of ours, because no request may end in the assistant's.
        view: How the history is shown.
        copy: How it uses the server's copy.
        purpose: An ordinary request, or a request for a summary.
        max_tokens: Another limit than the profile's.
        instructions: The instructions for a summary.
        stream: Ask for a stream of events.
    """
    continued = copy is Copy.CONTINUE
    compacting = purpose is Purpose.COMPACTION
    if continued:
        messages = [user_message(staged)] if staged else []
    else:
        messages = _whole(profile, history, base, staged, view)
    if (
        view.ops
        and messages
        and not (staged or compacting or ends_openly(messages[-1]))
    ):
        messages.append(user_message(text_block(GO_ON)))
    tail = b"]"
    if profile.diagnostics and not compacting and "diagnostics" not in view.dropped:
        tail += b',"diagnostics":{"previous_message_id":%s}' % _previous(history)
    held = None if compacting else container(profile, history)
    if held is not None and "container" not in view.dropped:
        tail += b',"container":%s' % encode(held)
    if copy is not Copy.NONE:
        tail += _thread(copy, history)
    tail += b',"stream":true}' if stream else b"}"
    if view.ops or continued or compacting or max_tokens is not None:
        opening = profile.opening(
            purpose=purpose,
            continued=continued,
            max_tokens=max_tokens,
            dropped=view.dropped,
            thinking=_thinking(profile) if _drops_bound(profile, view) else None,
            instructions=instructions,
        )
    else:
        opening = profile.plain_opening
    if not messages:
        return opening + tail
    # The ends are joined to the outer messages, so that the body is copied once.
    messages[0] = opening + messages[0]
    messages[-1] += tail
    return b",".join(messages)


def _whole(
    profile: Profile, history: History, base: Base | None, staged: bytes, view: View
) -> list[bytes]:
    """The messages of a request that carries the whole conversation, encoded."""
    messages = wires(view, history, base, staged)
    if out_of_reach(history, staged):
        mark = profile.mark_to_spare(view.dropped)
        if mark is not None:
            mark_last_end(messages, history, mark)
    return messages


def betas(
    profile: Profile,
    base: Base | None,
    purpose: Purpose,
    *,
    view: View = EMPTY,
    copy: Copy = Copy.NONE,
) -> tuple[str, ...]:
    """The beta names a request needs: the profile's, and those of what it uses."""
    if not (base or view.ops or copy is not Copy.NONE) and purpose is Purpose.MESSAGE:
        return profile.betas
    base = base_in_force(view, base)
    needed = list(profile.betas)
    if purpose is Purpose.COMPACTION or (base and base.method is Method.SIGNED):
        needed.append(COMPACT_BETA)
    if copy is not Copy.NONE:
        needed.append(THREADS_BETA)
    if _drops_bound(profile, view):
        needed.append(BINDING_BETA)
    return tuple(n for n in dict.fromkeys(needed) if n not in view.unnamed)


def container(profile: Profile, history: History) -> str | None:
    """The container that code ran in last; None where the settings name one.

    The files that the code made live in it, and a paused reply goes on only in its own
    one (Anthropic docs: agents-and-tools/tool-use/code-execution-tool). Replies for which
    no code ran name none, so the newest that any reply named counts. What the server said
    of its end is not looked at: it may be gone before, be kept longer by use, or be
    restored, and the server's refusal is what leaves it out.
    """
    found = history.container
    return found if found and profile.setting("container") is None else None


def _previous(history: History) -> bytes:
    # Only a confirmed reply has an id here, and only an id that has the server's form
    # is ever named: a foreign one would make every later request a 400.
    head = history.head
    if head is None:
        return b"null"
    found = head.message_id
    return encode(found) if found.startswith(ID) else b"null"


def _thread(copy: Copy, history: History) -> bytes:
    if copy is Copy.CREATE:
        return b',"thread":{"type":"create"}'
    return b',"thread":{"type":"continue","previous_message_id":%s}' % _previous(
        history
    )


def _drops_bound(profile: Profile, view: View) -> bool:
    # Another model, whose thinking is not bound, may not know the control.
    known = spec(profile.model)
    return view.drops_bound and known is not None and known.prefix_binding is True


def _thinking(profile: Profile) -> bytes:
    """The `thinking` field with the API's own control over bound thinking."""
    given = profile.setting("thinking")
    field: dict[str, Any] = {"type": "adaptive"}
    if isinstance(given, dict):
        field = {**given}
    field["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    return encode(field)
