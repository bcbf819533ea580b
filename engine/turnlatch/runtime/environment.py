"""Everything outside that one conversation uses, and what its caller decides."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, final

import attrs

from turnlatch.ports import Clock, Ids, Journal, Model, Store
from turnlatch.settings import Limits
from turnlatch.tools import Tool
from turnlatch.urls import HoldsClient
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.history import Method


@final
@attrs.frozen
class CompactionPlan:
    """A summary that is about to be asked for.

    Attributes:
        turn: The turn in which this happens.
        covers: How many exchanges it will stand for.
        of: How many exchanges there are.
        method: How it is made: by the server, or told.
        tokens: At most how many tokens the context holds now.
        asked: True if the caller asked for it.
    """

    turn: int
    covers: int
    of: int
    method: Method
    tokens: int
    asked: bool


@final
@attrs.frozen
class CompactionDone:
    """A summary that is in force.

    Attributes:
        plan: What was asked for.
        summary: What it says.
        bytes_before: What it stands for, in bytes of a request.
        bytes_after: What stands there now.
    """

    plan: CompactionPlan
    summary: str
    bytes_before: int
    bytes_after: int


Verdict: TypeAlias = bool | str | None
"""Of a hook before a compaction: False to have none, text for other instructions."""

BeforeCompaction: TypeAlias = Callable[[CompactionPlan], Verdict | Awaitable[Verdict]]
AfterCompaction: TypeAlias = Callable[[CompactionDone], Awaitable[None] | None]


@attrs.define
class World(HoldsClient):
    """Everything outside that one conversation uses.

    Attributes:
        journal: Where its events become durable.
        store: Where its journal is kept.
        reopen: Takes the conversation anew, after an append nobody can vouch for.
        model: Where its requests go.
        clock: Time.
        ids: Identity and chance.
        tools: The functions the model may call, by name.
        policies: What is done about faults, and when the context is summarised.
        limits: Bounds on one turn.
        before_compaction: Asked before a summary is.
        after_compaction: Told once a summary is in force.
    """

    journal: Journal
    store: Store
    reopen: Callable[[], Journal]
    model: Model
    clock: Clock
    ids: Ids
    tools: Mapping[str, Tool]
    policies: Policies
    limits: Limits
    before_compaction: BeforeCompaction | None = None
    after_compaction: AfterCompaction | None = None
