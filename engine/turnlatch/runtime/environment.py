"""Everything outside that one conversation uses, and what its caller decides."""

from collections.abc import Callable, Mapping

import attrs

from turnlatch.hooks import AfterCompaction, BeforeCompaction
from turnlatch.ports import Clock, Ids, Journal, Model, Store
from turnlatch.settings import Limits
from turnlatch.tools import Tool
from turnlatch.urls import HoldsClient
from turnlatch_states.recovery.policies import Policies


@attrs.define
class World(HoldsClient):
    """Everything outside that one conversation uses.

    Attributes:
        journal: Where its events become durable.
        store: Where its journal is kept.
        reopen: Takes the conversation again, after an append with unknown outcome.
        model: Where its requests go.
        clock: Time.
        ids: Identity and chance.
        tools: The functions the model may call, by name.
        policies: The policies for faults and summaries.
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
