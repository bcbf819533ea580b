"""Judging what a client made of its tools' effects, from the wire and a ledger."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from turnlatch.testing.defects import Defect, DefectKind
from turnlatch.testing.effects import Done
from turnlatch.testing.judge_retries import Dialogue
from turnlatch.testing.observed import ObservedRequest, calls_of


def repeated_effects(
    dialogues: Sequence[Dialogue], ledger: Sequence[Done]
) -> Iterator[Defect]:
    """Effects that were done more often than the model asked for them.

    A call of a reply that did not arrive whole asks for nothing.
    """
    asked: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], int] = {}
    for one in (one for dialogue in dialogues for one in dialogue):
        for call in () if one.failed else calls_of(one.reply):
            named = (str(call.get("name")), _written(call.get("input")))
            asked[named] += 1
            places.setdefault(named, one.number)
    done = Counter((one.tool, one.input) for one in ledger if one.phase == "done")
    for named, many in done.items():
        if many > asked[named]:
            tool, written = named
            text = f"{tool} {written} was done {many} times, and asked for"
            text += f" {asked[named]} times"
            numbers = (places[named],) if named in places else ()
            yield Defect(DefectKind.EFFECT_REPEATED, numbers, text)


def forgotten_effects(
    dialogues: Sequence[Dialogue], ledger: Sequence[Done]
) -> Iterator[Defect]:
    """Effects that were done, and that the history does not hold when it goes on."""
    done = {(one.tool, one.input) for one in ledger if one.phase == "done"}
    for dialogue in dialogues:
        for place, one in enumerate(dialogue):
            after = dialogue[place + 1 :]
            if one.failed or not after:
                continue
            for call in calls_of(one.reply):
                named = (str(call.get("name")), _written(call.get("input")))
                last = after[-1]
                if named in done and not _tells(last, str(call.get("id"))):
                    text = (
                        f"{named[0]} {named[1]} was done for the reply to request"
                        f" {one.number}, and request {last.number} does not tell of it"
                    )
                    numbers = (one.number, last.number)
                    yield Defect(DefectKind.EFFECT_FORGOTTEN, numbers, text)


def _tells(one: ObservedRequest, call: str) -> bool:
    """True if a request has a result for a call."""
    return any(
        block.get("type") == "tool_result" and block.get("tool_use_id") == call
        for message in one.messages
        for block in message.content
    )


def _written(given: object) -> str:
    return json.dumps(given, sort_keys=True, default=str)
