"""The connection machine: a server of tools that may die, restart and change its tools.

A connection is ready once the server has listed its tools. A call is sent only by a
connection that is ready. A lost connection is opened again before the next call, where
its transport can be opened again; the calls that were in flight are not sent again.
"""

from enum import StrEnum

from turnlatch_states.fsm.table import Guard, Role, State, Table, Transition, each


class ConnectionState(StrEnum):
    """Where a connection to a server of tools stands."""

    NEW = "new"
    CONNECTING = "connecting"
    READY = "ready"
    LOST = "lost"
    CLOSED = "closed"


_NEW, _CONNECTING, _READY, _LOST, _CLOSED = (state.value for state in ConnectionState)

REOPENABLE = Guard(
    "reopenable",
    "its transport can be opened again",
    lambda reopenable, _: reopenable is True,
)

CONNECTION = Table(
    name="connection",
    promise="a call is sent once at most, and only by a connection that is ready",
    states=(
        State(_NEW, "nothing was opened yet", rests=True, role=Role.IDLE, cell=(0, 0)),
        State(
            _CONNECTING,
            "the transport is opened, and the server is asked for its tools",
            icon="◐",
            ascii=">",
            role=Role.BUSY,
            cell=(1, 0),
        ),
        State(
            _READY,
            "the tools of the server are offered, and can be called",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 0),
        ),
        State(
            _LOST,
            "the server does not answer; its tools stay offered, calls are not sent",
            rests=True,
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(1, 1),
        ),
        State(
            _CLOSED,
            "nothing is sent any more",
            final=True,
            icon="■",
            ascii="#",
            role=Role.UPKEEP,
            cell=(2, 1),
        ),
    ),
    initial=_NEW,
    refusable=frozenset({"connect"}),
    transitions=(
        Transition("connect", _NEW, _CONNECTING),
        Transition("connect", _LOST, _CONNECTING, REOPENABLE, says="before a call"),
        Transition("list", _CONNECTING, _READY, says="the tools are known"),
        Transition("list", _READY, _READY, says="its tools have changed"),
        Transition("list", _LOST, _READY, says="it answers again"),
        *each("lose", (_CONNECTING, _READY), _LOST, says="it does not answer"),
        *each("close", (_NEW, _CONNECTING, _READY, _LOST), _CLOSED),
    ),
)
