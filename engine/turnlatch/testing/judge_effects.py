"""Judging what a client made of its tools' effects, from the wire and a ledger."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from turnlatch.simulator.wire import Json, objects
from turnlatch.testing.defects import Defect, DefectKind
from turnlatch.testing.effects import Done
from turnlatch.testing.judge_retries import Dialogue
from turnlatch.testing.observed import ObservedRequest, calls_of, text_of

_UNKNOWN: Final = re.compile(r"(?i)unknown|may have|might have|not (be )?(known|sure)")
"""Words of a result that leaves open whether something was done."""

_NOTHING_DONE: Final = re.compile(
    r"(?i)\b(not|never|nothing) (been |was |were )?(executed|run|done|started|sent)\b"
    r"|\b(denied|did not run|was not)\b"
)
"""Words of a result that says that nothing was done."""


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
            text = f"{tool} {written} was asked for {asked[named]}x and done {many}x"
            numbers = (places[named],) if named in places else ()
            yield Defect(DefectKind.EFFECT_REPEATED, numbers, text)


def forgotten_effects(
    dialogues: Sequence[Dialogue], ledger: Sequence[Done]
) -> Iterator[Defect]:
    """Effects that were done, and that the history does not hold when it goes on.

    The ledger does not know which of two equal calls it was that was done: as many of
    them have to be told of as were done.
    """
    done = Counter((one.tool, one.input) for one in ledger if one.phase == "done")
    told: Counter[tuple[str, str]] = Counter()
    untold: list[tuple[tuple[str, str], ObservedRequest, ObservedRequest]] = []
    everything = [one for dialogue in dialogues for one in dialogue]
    for dialogue in dialogues:
        for place, one in enumerate(dialogue):
            for call in () if one.failed else calls_of(one.reply):
                named = (str(call.get("name")), _written(call.get("input")))
                after = dialogue[place + 1 :]
                forgets = _forgets(str(call.get("id")), one, after, everything)
                if forgets is None:
                    told[named] += 1
                else:
                    untold.append((named, one, forgets))
    for named, one, forgets in untold:
        if done[named] > told[named]:
            told[named] += 1
            text = (
                f"{named[0]} {named[1]} was done for the reply to request {one.number},"
                f" and request {forgets.number} does not tell of it"
            )
            numbers = (one.number, forgets.number)
            yield Defect(DefectKind.EFFECT_FORGOTTEN, numbers, text)


def _forgets(
    call: str, one: ObservedRequest, after: Dialogue, everything: Dialogue
) -> ObservedRequest | None:
    """The request that goes on without a word of a call of an earlier reply.

    A request that failed has told the model nothing. Once the model was told, its words
    may be all that is left, as after a compaction. If nothing of a conversation is
    left, the request that goes on looks like a new conversation.
    """
    if any(_tells(then, call) and not then.failed for then in after):
        return None
    tellers = [then.number for then in after if _tells(then, call)]
    last = max(tellers, default=one.number)
    later = (then for then in everything if then.number > last and not then.failed)
    return next(later, None)


def swapped_results(
    dialogues: Sequence[Dialogue], ledger: Sequence[Done]
) -> Iterator[Defect]:
    """Results of parallel calls that stand under each other's ids.

    An agent may write results in other words: judged are those that are, word for word,
    an answer that the ledger has seen for another call of the same reply, and not for the
    call itself. They are swapped only if that leads from call to call back to the first.
    """
    seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in ledger:
        if entry.phase == "seen":
            seen[entry.tool, entry.input].add(entry.text.strip())
    for dialogue in dialogues:
        for place, one in enumerate(dialogue):
            asked = {} if one.failed else _named_calls([one])
            for then in dialogue[place + 1 :]:
                told = {
                    call: _words(block.get("content")).strip()
                    for call, block in _results([then]).items()
                    if call in asked
                }
                swapped = _circle({asked[call]: told[call] for call in told}, seen)
                if swapped:
                    named = " and ".join(" ".join(call) for call in sorted(swapped))
                    text = (
                        f"request {then.number} has the results of {named}, of the reply"
                        f" to request {one.number}, under each other's ids"
                    )
                    numbers = (one.number, then.number)
                    yield Defect(DefectKind.RESULT_SWAPPED, numbers, text)
                if told:
                    break


def _circle(
    told: Mapping[tuple[str, str], str],
    seen: Mapping[tuple[str, str], Collection[str]],
) -> frozenset[tuple[str, str]]:
    """The calls whose results lead in a circle through those of others; empty if none do.

    Args:
        told: The result of each call, as the model reads it.
        seen: The answers of each call in the ledger.
    """
    onward = {
        call: {
            other
            for other in told
            if words in seen.get(other, ()) and words not in seen.get(call, ())
        }
        for call, words in told.items()
    }
    circling: set[tuple[str, str]] = set()
    for call in onward:
        reached, todo = set[tuple[str, str]](), list(onward[call])
        while todo:
            if (other := todo.pop()) not in reached:
                reached.add(other)
                todo += onward[other]
        if call in reached:
            circling.add(call)
    return frozenset(circling)


def untrue_results(
    dialogues: Sequence[Dialogue], ledger: Sequence[Done]
) -> Iterator[str]:
    """Results that say something else than what happened, as sentences.

    Judged are the results of calls whose tool is in the ledger at all: one that says
    that nothing was done although it was, one that reads like a success although nothing
    was begun, and one that is another call's. An unknown outcome is always true.
    """
    begun = Counter((one.tool, one.input) for one in ledger if one.phase == "begun")
    done = Counter((one.tool, one.input) for one in ledger if one.phase == "done")
    watched = {one.tool for one in ledger}
    for dialogue in dialogues:
        calls, results = _named_calls(dialogue), _results(dialogue)
        for call, block in results.items():
            named = calls.get(call, ("", ""))
            words = _words(block.get("content"))
            if named[0] not in watched or _UNKNOWN.search(words):
                continue
            denies = _NOTHING_DONE.search(words) is not None
            if denies and done[named]:
                yield f"{named[0]} {named[1]} was done, and the model reads: {words!r}"
            if not (denies or begun[named] or block.get("is_error")):
                yield f"{named[0]} {named[1]} never ran, and the model reads: {words!r}"
    for one in swapped_results(dialogues, ledger):
        yield one.text


def _named_calls(requests: Dialogue) -> dict[str, tuple[str, str]]:
    """The tool and the arguments of each call, by its id, of the replies to requests."""
    return {
        str(call.get("id")): (str(call.get("name")), _written(call.get("input")))
        for one in requests
        for call in calls_of(one.reply)
    }


def _results(requests: Dialogue) -> dict[str, Json]:
    """The results that requests have, each by the id of its call; the last one counts."""
    return {
        str(block.get("tool_use_id")): block
        for one in requests
        for message in one.messages
        for block in message.content
        if block.get("type") == "tool_result"
    }


def _words(content: object) -> str:
    return content if isinstance(content, str) else text_of(objects(content))


def _tells(one: ObservedRequest, call: str) -> bool:
    """True if a request has a result for a call."""
    return any(
        block.get("type") == "tool_result" and block.get("tool_use_id") == call
        for message in one.messages
        for block in message.content
    )


def _written(given: object) -> str:
    return json.dumps(given, sort_keys=True, default=str)
