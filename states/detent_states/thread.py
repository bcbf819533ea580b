"""The server-thread machine: what the server may still hold of a conversation.

A server thread is a hint that saves bytes (Anthropic docs: build-with-claude/
message-threads). It is never the truth: whatever happens to it, the conversation is
rebuilt from its own journal. Only a confirmed reply moves it to `continuing`.
"""

from enum import StrEnum

from detent_states.machine import Role, State, Table, Transition


class ThreadState(StrEnum):
    """What the server may hold for the next request."""

    OFF = "off"
    NEW = "new"
    CONTINUING = "continuing"
    LOST = "lost"


_OFF, _NEW, _ON, _LOST = (state.value for state in ThreadState)

THREAD = Table(
    name="thread",
    promise="losing the server's copy never loses the conversation",
    states=(
        State(_OFF, "every request carries the whole history", rests=True),
        State(
            _NEW,
            "the next request asks the server to keep a copy",
            icon="◇",
            ascii="?",
            role=Role.UPKEEP,
            cell=(1, 0),
        ),
        State(
            _ON,
            "the server answered; only new messages travel",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 0),
        ),
        State(
            _LOST,
            "the server's copy is gone; replay from the journal",
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(2, 1),
        ),
    ),
    initial=_OFF,
    transitions=(
        Transition("enable", _OFF, _NEW),
        Transition("confirm", _NEW, _ON, says="a whole reply to a create"),
        Transition("confirm", _ON, _ON, says="the newest id is the one to continue"),
        Transition("lose", _ON, _LOST, says="expired, continued elsewhere, refused"),
        Transition("replay", _LOST, _NEW, says="the whole history, as a new thread"),
        Transition("disable", _NEW, _OFF),
        Transition("disable", _ON, _OFF),
        Transition("disable", _LOST, _OFF),
    ),
)
