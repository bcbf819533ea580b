"""Strategies for replies, faults and whole event sequences of the pure core."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.commands import Command, next_command
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.view import Hide, Shrink, View

PROFILE = Profile("claude-sonnet-5-5", 1024)

STOPS = (
    "end_turn",
    "tool_use",
    "pause_turn",
    "max_tokens",
    "stop_sequence",
    "model_context_window_exceeded",
    "refusal",
    "compaction",
    "a_reason_of_tomorrow",
)


def text(words: str = "Hello") -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


def call(id_: str, name: str = "look") -> dict[str, Any]:
    """A tool_use block."""
    return {"type": "tool_use", "id": id_, "name": name, "input": {}}


def search(number: int = 1) -> dict[str, Any]:
    """A server tool that the server has not finished."""
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{number}",
        "name": "web_search",
        "input": {},
    }


def reply(number: int, stop: str, *blocks: dict[str, Any], **meta: Any) -> Reply:
    """A whole reply."""
    facts = {
        "id": f"msg_{number}",
        "model": "claude-sonnet-5-5",
        "stop_reason": stop,
        "usage": {"input_tokens": 10, "output_tokens": 3},
        **meta,
    }
    return Reply(
        b",".join(encode(block) for block in blocks), json.dumps(facts).encode()
    )


@lru_cache(maxsize=4096)
def _replies(fresh: int) -> tuple[Reply, ...]:
    """Every stop reason with every kind of content; read once, however often seen."""
    two = (text(), call(f"toolu_{fresh}a"), call(f"toolu_{fresh}b"))
    contents = ((text(),), (), (text(), search(fresh)), two)
    return tuple(reply(fresh, stop, *blocks) for stop in STOPS for blocks in contents)


@lru_cache(maxsize=4096)
def summary(number: int) -> Reply:
    """A usable summary."""
    block = {"type": "compaction", "content": "so far", "signature": "s"}
    return reply(number, "compaction", block)


LATE = reply(10**6, "end_turn", text("late"))

FAULTS = tuple(Fault(kind, f"a {kind.value} fault") for kind in FaultKind)


def legal_events(
    snapshot: Snapshot, fresh: int, *, threads: bool = True
) -> Iterator[Event]:
    """Everything the world could report to a conversation that stands here.

    The environment of the machine: what a driver and a server may do next. `fresh`
    makes ids that were not used before; without `threads` the server keeps no copies.
    """
    turn = snapshot.turn
    if snapshot.resting:
        yield ev.TurnOpened(snapshot.turns + 1, encode(text(f"say {fresh}")))
        yield ev.TurnOpened(snapshot.turns + 1, b"", None, Purpose.COMPACTION)
        yield ev.ProfileChanged(Profile("claude-opus-5", 512))
        yield ev.Rewound(len(snapshot.history))
        yield ev.Rewound(0)
        yield ev.Pinned("task", "never forget")
        yield ev.Pinned("task", None)
    if not snapshot.said:
        yield ev.Steered(snapshot.turns, encode(text(f"and {fresh}")))
    if turn is None:
        return
    n, attempt = turn.number, turn.attempt
    failing = ev.TurnFailed(n, attempt, FAULTS[fresh % len(FAULTS)])
    match turn.state:
        case "pending":
            yield ev.RequestSent(n, attempt + 1)
            if threads:
                yield ev.RequestSent(n, attempt + 1, Copy.CREATE)
                yield ev.RequestSent(n, attempt + 1, Copy.CONTINUE)
            yield from _summaries(snapshot, n, attempt)
            yield ev.RemedyChosen(n, Remedy.SHRINK, "full", _view(snapshot))
            yield failing
        case "sent":
            for each in _replies(fresh):
                yield ev.ReplyConfirmed(n, attempt, each)
            yield failing
        case "compacting":
            yield ev.CompactionConfirmed(n, attempt, summary(fresh))
            yield failing
        case "failed":
            yield ev.TurnRetried(n, asked=True)
            yield ev.TurnRetried(n, asked=True, results_only=True)
            yield ev.TurnRetried(n, asked=False)
            yield ev.RetryScheduled(n, turn.failures, 1.0, 2.0)
            yield ev.RetryCancelled(n)
            yield ev.TurnAbandoned(n)
            yield from _summaries(snapshot, n, attempt)
            yield ev.RemedyChosen(n, Remedy.HIDE, "no room", _view(snapshot), 99)
            view = _view(snapshot)
            yield ev.RemedyChosen(n, Remedy.BISECT, "found", view, passing=True)
            yield ev.Probed(n, "a small request", True, ev.Question.SMALL)
            yield ev.Probed(n, "all trials", False, ev.Question.SEARCH)
            yield ev.Probed(n, "a trial", passed=False)
            yield ev.TurnSuspended(n, "credit", 3.0)
        case _:
            yield ev.TurnContinued(n)
            yield ev.TurnContinued(n, results_only=True)
            yield failing
            for one in turn.open_calls:
                id_ = one.use.id
                yield ev.CallClosed(n, id_, Closing.RESULT, closed_result(id_, "x"))
                yield ev.CallAsked(n, id_, "this", 9.0)
                yield ev.CallApproved(n, id_, one.digest)
                yield ev.CallApproved(n, id_, "that")
                yield ev.CallDenied(n, id_, "no")
                yield ev.CallStarted(n, id_, "key", safe=id_.endswith("a"))
                yield ev.CallLost(n, id_)


def _summaries(snapshot: Snapshot, n: int, attempt: int) -> Iterator[Event]:
    """Requests for a summary of everything, and of everything but the last."""
    size = len(snapshot.history)
    for covers in {size, max(size - 1, 0)}:
        yield ev.CompactionSent(n, attempt + 1, covers)
    yield ev.CompactionSent(n, attempt + 1, size, Method.TOLD)


def _view(snapshot: Snapshot) -> View:
    """A view that shows the first exchange otherwise, if there is one."""
    size = min(len(snapshot.history), 1)
    return snapshot.showing.adding(Hide(0, size, "gone"), Shrink(size, 64))


def one_of_each(snapshot: Snapshot) -> Iterator[Event]:
    """One event of every kind, for the current turn, whether it is legal or not."""
    turn = snapshot.turn
    n, attempt = snapshot.turns, 0 if turn is None else turn.attempt
    call = turn.calls[0].use.id if turn is not None and turn.calls else "toolu_nobody"
    yield ev.ConversationOpened(PROFILE)
    yield ev.ProfileChanged(PROFILE)
    yield ev.Forked("parent", 1)
    yield ev.TurnOpened(n + 1, b"{}")
    yield ev.TurnOpened(n, b"{}")
    yield ev.RequestSent(n, attempt + 1)
    yield ev.RequestSent(n, attempt + 2)
    yield ev.ReplyConfirmed(n, attempt, reply(9, "end_turn", text()))
    yield ev.ReplyConfirmed(n, attempt, reply(9, "refusal", text()))
    yield ev.TurnFailed(n, attempt, Fault(FaultKind.TRANSIENT, "fault"))
    yield ev.RetryScheduled(n, 1, 1.0, 2.0)
    yield ev.RetryCancelled(n)
    yield ev.TurnRetried(n, asked=True)
    yield ev.TurnRetried(n, asked=False)
    yield ev.Steered(n, b"{}")
    yield ev.Steered(n, b"")
    yield ev.CallAsked(n, call, "this")
    yield ev.CallApproved(n, call, "this")
    yield ev.CallDenied(n, call, "no")
    yield ev.CallStarted(n, call, "key")
    yield ev.CallLost(n, call)
    yield ev.CallClosed(n, call, Closing.RESULT, b"{}")
    yield ev.TurnContinued(n)
    yield ev.CompactionSent(n, attempt + 1, len(snapshot.history))
    yield ev.CompactionConfirmed(n, attempt, summary(9))
    yield ev.RemedyChosen(n, Remedy.HIDE, "no room")
    yield ev.Probed(n, "a trial", passed=True)
    yield ev.TurnSuspended(n, "credit")
    yield ev.Pinned("task", None)
    yield ev.TurnAbandoned(n)
    yield ev.Rewound(0)
    yield ev.Rewound(-1)


def stale_events(snapshot: Snapshot) -> Iterator[Event]:
    """Late completions of dead turns and dead attempts."""
    turn = snapshot.turn
    if turn is None:
        return
    for n, attempt in (
        (turn.number - 1, turn.attempt),
        (turn.number, turn.attempt - 1),
    ):
        yield ev.ReplyConfirmed(n, attempt, LATE)
        yield ev.CompactionConfirmed(n, attempt, summary(10**6))
        yield ev.TurnFailed(n, attempt, FAULTS[0])
    yield ev.CallClosed(turn.number, "toolu_nobody", Closing.RESULT, b"{}")


def waits(snapshot: Snapshot) -> bool:
    """True if the conversation needs nothing more."""
    return next_command(snapshot) is Command.REST
