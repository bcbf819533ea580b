"""The commit: the only code that changes history, ids, bases, views or usage.

Only the rows of the turn's table that are marked *commit* come here, and they are pulled
only by what the server confirmed.
"""

import json
from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Any, Final

import attrs

from turnlatch_states.api.faults import DEFINITE, Fault, FaultKind
from turnlatch_states.api.json_bytes import text_block
from turnlatch_states.api.models import prefix_bound
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.api.resendable import distinct_ids, to_resendable
from turnlatch_states.api.stop_reasons import only_summary, outcome
from turnlatch_states.fsm.errors import CoreBugError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.doubt import Found, failed
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.learned_limits import told_of_length
from turnlatch_states.machine.refused_parts import left_out, named
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.server_copy import without_copy
from turnlatch_states.machine.snapshot import (
    Call,
    Compacting,
    Lost,
    Paid,
    Snapshot,
    Turn,
)
from turnlatch_states.machine.synthetic_results import proposed
from turnlatch_states.machine.thread import Fire
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import (
    Base,
    Exchange,
    Method,
    container_in,
    told_block,
)
from turnlatch_states.request.pins import pinned_blocks
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.truncate import told_result
from turnlatch_states.request.view import DropBound, DropField, IgnoreBase, View

MISFIT_SAID: Final = (
    "[Automatic check: this answer does not have the required form. Answer again, in"
    " that form, and with nothing else.]"
)
"""The message to the model after a reply that is not the output asked for; the reason
follows."""


def commit(
    snapshot: Snapshot, turn: Turn, event: Event, fire: Fire
) -> tuple[Snapshot, dict[str, Any]]:
    """The snapshot after a confirmation.

    Returns the snapshot with what was committed, and the fields of the turn that
    change with it.
    """
    if isinstance(event, ev.ReplyConfirmed):
        return _reply(snapshot, turn, event)
    if isinstance(event, ev.CompactionConfirmed):
        return _summary(snapshot, turn, event.reply, fire)
    raise CoreBugError(f"{type(event).__name__} pulled a row that commits")


def _reply(
    snapshot: Snapshot, turn: Turn, event: ev.ReplyConfirmed
) -> tuple[Snapshot, dict[str, Any]]:
    """The snapshot after a confirmed reply to a message."""
    reply = event.reply
    came_to = outcome(reply)
    taken = _ids_in_use(snapshot, turn)
    sealed = Exchange.seal(turn.number, turn.staged, reply, taken)
    base = base_in_force(snapshot.showing, snapshot.base)
    shown = _view_after(snapshot, reply)
    view, found = _adopted(snapshot, turn, shown)
    first = 0 if base is None else base.covers
    committed = attrs.evolve(
        snapshot,
        history=snapshot.history.appended(sealed),
        spent=snapshot.spent + reply.usage,
        simulated=snapshot.simulated or reply.simulated,
        view=view,
        refused=0,
        doubts=(),
        found=found,
        paid=Paid(snapshot.profile, shown, base, len(snapshot.history) - first),
        said=snapshot.said[turn.taken :],
        trials=(),
        known_bad=snapshot.known_bad | left_out(snapshot, turn),
    )
    return committed, {
        "trial": None,
        "max_tokens": None,
        "tried": (),
        "unknown": 0,
        "content": _owed(turn, event),
        "taken": 0,
        "calls": tuple(
            proposed(call, came_to)
            for call in _asked_for(reply, snapshot.entries + 1, taken)
        ),
        "outcome": came_to,
        "lent": (),
        "failures": 0,
        "complaint": None,
        "alike": 0,
        "misfits": turn.misfits + 1 if event.misfit else 0,
        "misfit": event.misfit,
        "usage": turn.usage + reply.usage,
        "done": (*turn.done, *turn.calls),
    }


def _summary(
    snapshot: Snapshot, turn: Turn, reply: Reply, fire: Fire
) -> tuple[Snapshot, dict[str, Any]]:
    """The snapshot after a confirmed summary."""
    made = turn.compacting
    if made is None:
        raise CoreBugError("a summary was confirmed that was never asked for")
    signed = made.method is Method.SIGNED
    base = Base(
        made.covers,
        to_resendable(reply.content) if signed else told_block(reply.text),
        reply.message_id,
        made.method,
        pinned_blocks(snapshot.pins),
    )
    committed = attrs.evolve(
        snapshot,
        bases=(*snapshot.bases, base),
        spent=snapshot.spent + reply.usage,
        simulated=snapshot.simulated or reply.simulated,
        view=_view_behind(snapshot, turn, made),
        thread=snapshot.thread.lost(fire),
        futile=0,
    )
    return committed, {
        "failures": 0,
        "trial": None,
        "lent": (),
        "compacting": None,
        "usage": turn.usage + reply.usage,
    }


def _ids_in_use(snapshot: Snapshot, turn: Turn) -> set[str]:
    """The ids that the calls of the next reply must not have, too."""
    ids = {call.shown_id for call in (*turn.done, *turn.calls)}
    if snapshot.showing.renames:  # the service takes none back that was used before
        ids.update(id_ for one in snapshot.history for id_ in one.call_ids)
    return ids


def _asked_for(reply: Reply, entry: int, taken: Collection[str]) -> Iterator[Call]:
    """The calls of a reply that is confirmed by that entry of the journal."""
    uses, digest = reply.tool_uses, sha256(reply.meta + b"\0" + reply.content)
    shown = distinct_ids((use.id for use in uses), taken)
    for index, (use, id_) in enumerate(zip(uses, shown, strict=True)):
        renamed = "" if id_ == use.id else id_
        yield Call(
            use, entry=entry, index=index, reply=digest.hexdigest(), renamed=renamed
        )


def _view_after(snapshot: Snapshot, reply: Reply) -> View:
    """How the history is shown once a reply is confirmed: as it was, and a container
    that is new is not the one that was gone."""
    view = snapshot.showing
    if view.ops and container_in(reply.meta) is not None:
        return view.leaving(DropField("container"))
    return view


def _adopted(snapshot: Snapshot, turn: Turn, shown: View) -> tuple[View, Found | None]:
    """The view that is in force once a request was confirmed that showed it, and what
    the next request falls back to.

    What was lent is given back: the next request shows everything again. It is kept
    once enough speaks for it that this fails and that passes.
    """
    found = snapshot.found
    if found is None or not any(op in turn.lent for op in shown.ops):
        return shown, None
    found = attrs.evolve(found, view=shown, proofs=found.proofs + 1)
    return (shown, None) if found.lasts else (_kept(snapshot, turn, shown), found)


def _shaken(found: Found | None, turn: Turn, fault: Fault) -> Found | None:
    """The fallback view of the next request, after a request has failed.

    A view that fails in the way it was found for has proved nothing so far: a server
    that fails at random would give as many proofs as there are turns.
    """
    if found is None or not turn.lent or fault.kind is not found.kind:
        return found
    return attrs.evolve(found, proofs=0)


def _kept(snapshot: Snapshot, turn: Turn, shown: View) -> View:
    """A view without what is only lent."""
    if not turn.lent:
        return shown
    named = (op for op in shown.ops if op not in turn.lent)
    view = snapshot.view.adding(*named)
    gone = DropField("container")
    return view if gone in shown.ops else view.leaving(gone)


def _view_behind(snapshot: Snapshot, turn: Turn, made: Compacting) -> View:
    """How the history is shown behind a summary that is in force from now on."""
    # The summary that was ignored is another one, however much both stand for.
    view = _kept(snapshot, turn, snapshot.showing).leaving(IgnoreBase(made.covers))
    # Thinking that is kept stays valid only where its turn follows a signed summary
    # directly (Anthropic docs: build-with-claude/compaction-on-demand).
    kept = made.covers < len(snapshot.history)
    parted = made.method is not Method.SIGNED or (kept and bool(snapshot.pins))
    if parted and prefix_bound(snapshot.profile.model):
        return view.adding(DropBound())
    return view


def _owed(turn: Turn, event: ev.ReplyConfirmed) -> bytes:
    """The user's content of the turn's next request, after a reply."""
    if event.misfit:
        return text_block(f"{MISFIT_SAID}\n{event.misfit}")
    return _said_again(turn) if only_summary(event.reply) else b""


def _said_again(turn: Turn) -> bytes:
    """What was sent, as it can be said behind a summary: results without their calls."""
    told = [
        text_block(
            f"[Record: {call.use.name} answered:]\n"
            f"{told_result(json.loads(call.result))}"
        )
        for call in turn.calls
        if call.result
    ]
    return b",".join([*told, turn.content] if turn.content else told)


def written_elsewhere(reply: Reply) -> bool:
    """True if another model wrote a reply: such a turn is kept in no thread.

    Source: Anthropic docs, build-with-claude/refusals-and-fallback.
    """
    return b'"fallback_message"' in reply.meta


def learned(
    snapshot: Snapshot,
    turn: Turn,
    event: ev.RequestSent | ev.ReplyConfirmed | ev.TurnFailed,
    fire: Fire,
) -> Snapshot:
    """The facts learned from the outcome of a request, apart from the history.

    Raises:
        IllegalEventError: The request continues a copy that does not exist.
    """
    thread = snapshot.thread
    match event:
        case ev.RequestSent():
            given_up = Remedy.REPLAY in turn.tried
            thread = thread.sent(event.copy, fire, given_up=given_up)
        case ev.ReplyConfirmed():
            elsewhere = written_elsewhere(event.reply)
            # The server keeps what it was shown, and not what was left out of that.
            apart = elsewhere or bool(turn.lent)
            thread = thread.confirmed(turn.copy, fire, elsewhere=apart)
            without = turn.copy is Copy.NONE and not thread.unproved
            if without and turn.tried[-1:] == (Remedy.UNTHREAD,):
                thread = attrs.evolve(thread, refused=True)  # it was for its sake
        case ev.TurnFailed() if turn.state == TurnState.SENT:
            fault = event.fault
            if fault.kind is FaultKind.THREAD and fault.spent is not None:
                thread = thread.doubted(fire)
                snapshot = attrs.evolve(snapshot, lost=snapshot.lost + fault.spent)
            elif fault.kind is FaultKind.THREAD or (
                turn.copy is Copy.CONTINUE and fault.kind in DEFINITE
            ):
                unsupported = fault.code == "thread_unsupported_request"
                thread = thread.failed(turn.copy, fire, unsupported=unsupported)
                if fault.code == "thread_already_continued" and turn.unknown:
                    snapshot = attrs.evolve(snapshot, lost=_lost_unseen(snapshot))
            elif without_copy(turn, fault) is not None:
                pass  # it says nothing about the conversation yet
            elif fault.definite or fault.kind is FaultKind.COMPACTION:
                count, bad = snapshot.refused + 1, snapshot.known_bad
                if fault.kind in (FaultKind.INVALID, FaultKind.BLOCK):
                    bad |= named(snapshot, turn, fault)
                snapshot = attrs.evolve(snapshot, refused=count, known_bad=bad)
            elif fault.kind is FaultKind.REFUSAL:
                thread = thread.lost(fire)  # it may hold the turn that was refused
            found = _shaken(snapshot.found, turn, fault)
            doubts = failed(snapshot.doubts, fault)
            snapshot = attrs.evolve(snapshot, doubts=doubts, found=found)
            snapshot = told_of_length(snapshot, event.fault)
        case ev.TurnFailed() if turn.state == TurnState.COMPACTING:
            snapshot = told_of_length(snapshot, event.fault)
            if event.fault.kind not in (FaultKind.CANCELLED, FaultKind.INTERRUPTED):
                snapshot = attrs.evolve(snapshot, futile=snapshot.futile + 1)
        case ev.TurnFailed():
            pass
    if thread is snapshot.thread:
        return snapshot
    return attrs.evolve(snapshot, thread=thread)


def _lost_unseen(snapshot: Snapshot) -> Lost:
    """A reply was confirmed at the server, was paid, and is nowhere to be had."""
    head = snapshot.history.head
    read = 0 if head is None else head.reply.usage.context
    return snapshot.lost + Usage(input=read)
