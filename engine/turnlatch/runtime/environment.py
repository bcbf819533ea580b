"""Everything outside that one conversation uses, and what its caller decides."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from turnlatch.hooks import AfterCompaction, BeforeCompaction
from turnlatch.ports import Clock, Ids, Journal, Model, Store
from turnlatch.settings import Limits
from turnlatch.tools.definition import Tool, facts_of
from turnlatch.urls import HoldsClient
from turnlatch_states.effects.call_effects import CallLimits, ToolFacts
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.profile import Profile

Offer: TypeAlias = tuple[Profile, Mapping[str, Tool]]
"""The profile with the present tools, and their functions."""


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
        deps: The dependencies of the caller's tools.
        offers: Finds the tools, if a source has changed them since it was last asked;
            None without a source.
        name: The name of the conversation.
        facts: The facts about the tools, by name; `equip` changes both.
        call_limits: The bounds on calls among `limits`.
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
    deps: object = attrs.field(default=None, repr=False)
    offers: Callable[[Profile], Offer | None] | None = None
    name: str = attrs.field(init=False)
    facts: Mapping[str, ToolFacts] = attrs.field(init=False)
    call_limits: CallLimits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """State as plain data what the decisions about calls need."""
        self.name = self.journal.name
        self.equip(self.tools)
        self.call_limits = CallLimits(
            self.limits.calls_per_turn_max,
            self.limits.repeats_max,
            self.limits.calls_parallel_max,
        )

    def equip(self, tools: Mapping[str, Tool]) -> None:
        """Give the model these functions to call."""
        self.tools = tools
        self.facts = {name: facts_of(tool) for name, tool in tools.items()}
