"""The requests that a conversation sends: messages, summaries, trials, small questions."""

from hashlib import sha256
from typing import Any

import attrs

from turnlatch_states.api.json_bytes import text_block
from turnlatch_states.effects.effect import Conditions
from turnlatch_states.machine.snapshot import Compacting, Snapshot, Turn
from turnlatch_states.recovery.context_window import piece_bytes
from turnlatch_states.request.build import Request, betas, build
from turnlatch_states.request.history import History, Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.summary import summary_text, told_body
from turnlatch_states.request.view import DropBeta, DropField, View


def digest(request: Request) -> bytes:
    """What tells one request from another: its body, and the names in its header."""
    names = ",".join(request.betas).encode()
    return sha256(names + b"\0" + request.body).digest()


def streams(snapshot: Snapshot, turn: Turn, given: Conditions) -> bool:
    """Whether the reply to a message is asked for as a stream.

    A long request is streamed, so that silence can be distinguished from work.
    """
    if given.stream:
        return True
    return (turn.max_tokens or snapshot.profile.max_tokens) > given.stream_above_tokens


def message(snapshot: Snapshot, turn: Turn, *, stream: bool) -> Request:
    """The request of the current attempt, byte for byte as it is sent."""
    profile, base, view = snapshot.profile, snapshot.base, snapshot.showing
    body = build(
        profile,
        snapshot.history,
        base,
        turn.staged,
        view=view,
        copy=turn.copy,
        max_tokens=turn.max_tokens,
        stream=stream,
    )
    names = betas(profile, base, Purpose.MESSAGE, view=view, copy=turn.copy)
    return Request(turn.number, turn.attempt, Purpose.MESSAGE, body, names, stream)


def summary(
    snapshot: Snapshot, turn: Turn, made: Compacting, given: Conditions
) -> Request:
    """The request for the summary that was announced."""
    purpose = Purpose.COMPACTION
    view, profile = snapshot.showing, snapshot.profile
    policy = given.policies.compaction
    instructions = made.instructions or policy.instructions
    if made.method is Method.TOLD:
        base = base_in_force(view, snapshot.base)
        body = told_body(
            profile,
            snapshot.history,
            summary_text(base.block, base.method) if base else "",
            snapshot.covered,
            made.covers,
            bytes_max=piece_bytes(snapshot, policy),
            instructions=instructions,
        )
        names = profile.betas
        return Request(turn.number, turn.attempt, purpose, body, names, True)
    body = build(
        profile,
        snapshot.history.until(made.covers),
        snapshot.base,
        b"",
        view=view.until(made.covers),
        purpose=purpose,
        instructions=instructions,
        stream=True,
    )
    names = betas(profile, snapshot.base, purpose, view=view)
    return Request(turn.number, turn.attempt, purpose, body, names, True)


def trial(shown: Snapshot, turn: Turn, *, definite: bool, stream: bool) -> Request:
    """A request that shows the conversation otherwise, to see whether that passes.

    Args:
        shown: The conversation as the request shows it.
        turn: The turn that failed.
        definite: A definite refusal is searched for: the shortest reply will do. Any
            other fault is searched for with the limit and the streaming that failed.
        stream: Whether the request that failed asked for a stream.
    """
    return _probe(shown, shown.showing, turn.staged, turn, definite, stream)


def small(shown: Snapshot, turn: Turn, *, definite: bool, stream: bool) -> Request:
    """A question as short as can be, with the settings that were not refused.

    Args:
        shown: The conversation as the request that failed showed it.
        turn: The turn that failed.
        definite: As for `trial`.
        stream: As for `trial`.
    """
    kept = (op for op in shown.showing.ops if isinstance(op, DropField | DropBeta))
    bare = attrs.evolve(shown, history=History(), bases=())
    staged = text_block("Say OK.")
    return _probe(bare, View(tuple(kept)), staged, turn, definite, stream)


def _probe(
    shown: Snapshot,
    view: View,
    staged: bytes,
    turn: Turn,
    definite: bool,
    stream: bool,
) -> Request:
    stream = stream and not definite
    body = build(
        shown.profile,
        shown.history,
        shown.base,
        staged,
        view=view,
        max_tokens=_least(shown) if definite else turn.max_tokens,
        stream=stream,
    )
    names = betas(shown.profile, shown.base, Purpose.MESSAGE, view=view)
    return Request(turn.number, turn.attempt, Purpose.MESSAGE, body, names, stream)


def _least(snapshot: Snapshot) -> int:
    """The shortest reply that the settings allow to ask for."""
    thinking: Any = snapshot.profile.setting("thinking")
    fixed = isinstance(thinking, dict) and "budget_tokens" in thinking
    return snapshot.profile.max_tokens if fixed else 1
