"""Whether what is told of calls is what their tools did."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tests.gauntlet.fuzz_tools import ACTS_ON_ODD, Deeds, number
from tests.harness.recorder import WholeReply

from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event

NEVER_RAN: Final = ("Not executed", "Denied", "Cut off", "There is no tool")

_DID_NOT: Final = frozenset({Closing.NOT_EXECUTED, Closing.DENIED, Closing.CUT_OFF})


class BrokenPromiseError(AssertionError):
    """Something that must hold does not.

    Attributes:
        what: Which promise, in a few words that are the same for the same promise.
    """

    def __init__(self, what: str, told: object = "") -> None:
        super().__init__(f"{what}: {told}" if told else what)
        self.what = what


def hold(promise: object, what: str, told: object = "") -> None:
    """See that something holds.

    Raises:
        BrokenPromiseError: It does not.
    """
    if not promise:
        raise BrokenPromiseError(what, told)


def check_effects(deeds: Deeds, replies: Iterable[WholeReply]) -> None:
    """No call was carried out twice, or without a whole reply that asked for it."""
    twice = [mark for mark, n in deeds.ledger.items() if n > deeds.most(mark)]
    hold(not twice, "a call is carried out once", twice)
    asked = {
        mark_of(block)
        for reply in replies
        if reply.confirms
        for block in reply.blocks
        if block["type"] == "tool_use"
    }
    unasked = set(deeds.ledger) - asked
    hold(not unasked, "only what a whole reply asks for is carried out", unasked)
    hold(
        not deeds.broken, "only what nobody saw the end of is asked about", deeds.broken
    )


def check_truth(
    deeds: Deeds, messages: Sequence[Mapping[str, Any]], events: Iterable[Event]
) -> None:
    """What the history says of each call is what its tool did."""
    closings = _closings(events)
    uses: dict[str, Mapping[str, Any]] = {}
    for message in messages:
        for block in message["content"]:
            if block["type"] == "tool_use":
                uses[block["id"]] = block
            elif block["type"] == "tool_result":
                id_ = block["tool_use_id"]
                use = uses.pop(id_, None)
                hold(use is not None, "a result has its call", block)
                if use is not None:
                    _check_result(deeds, block, use, closings.get(id_))
    hold(not uses, "a call has its result", list(uses))


def _closings(events: Iterable[Event]) -> dict[str, Closing]:
    """How calls ended, where an event says so; others were closed with their turn."""
    found: dict[str, Closing] = {}
    for event in events:
        if isinstance(event, ev.CallClosed):
            hold(event.call not in found, "a call ends once", event.call)
            found[event.call] = event.closing
    return found


def _check_result(
    deeds: Deeds,
    block: Mapping[str, Any],
    use: Mapping[str, Any],
    closing: Closing | None,
) -> None:
    mark = mark_of(use)
    ran, most = deeds.ledger[mark], deeds.most(mark)
    said = json.dumps(block.get("content", ""), ensure_ascii=False)
    told = f"{use['name']} {mark}, run {ran} times, {closing}: {said[:300]}"
    never = said.strip('"').startswith(NEVER_RAN)
    if closing is None:  # closed with its turn, so these are the engine's own words
        unknown = "outcome unknown" in said
        hold(never or unknown, "a call that was stopped has no result", told)
        closing = Closing.UNKNOWN if unknown else Closing.NOT_EXECUTED
    if closing in _DID_NOT or (closing is Closing.ERROR and never):
        hold(never, "what did not run is told so", told)
        hold(ran == 0, "what is said not to have run did not run", told)
    elif closing is Closing.UNKNOWN:
        hold("outcome unknown" in said, "what nobody saw is told so", told)
        hold(ran <= most, "what nobody saw is run once at most", told)
    elif use["name"] in ACTS_ON_ODD:
        hold(ran == number(mark) % 2, "a failure is of a call that ran", told)
        hold(closing is Closing.ERROR and mark in said, "a failure is told", told)
    else:
        hold(1 <= ran <= most, "a result is of a call that ran", told)
        known = mark in said or use["name"] == "babble"
        hold(known, "a result is the one of its call", told)


def mark_of(use: Mapping[str, Any]) -> str:
    """The mark of a call; empty where its input was cut off."""
    given: Mapping[str, Any] = use["input"] or {}
    return str(given.get("mark", ""))
