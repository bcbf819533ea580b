"""The requests, effects and deaths of a client as a sequence, for a log of 100 columns."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

import attrs

from turnlatch.simulator.wire import Json, objects
from turnlatch.testing.effects import Done
from turnlatch.testing.observed import Arrival, ObservedRequest, calls_of, text_of

_BETWEEN: Final = 56
"""Columns between the line of the agent and that of the API."""
_EFFECT_MAX: Final = 36
_TEXT_MAX: Final = 30
_REQUESTS_MAX: Final = 20


@final
@attrs.frozen
class ClientDeath:
    """The client was killed.

    Attributes:
        after: The number of the last request before that.
        at: The moment, in seconds of the simulator's clock.
        point: The point at which it was killed, in words; empty if it is not known.
    """

    after: int
    at: float
    point: str = ""


def sequence_picture(
    requests: Iterable[ObservedRequest],
    ledger: Sequence[Done],
    deaths: Sequence[ClientDeath],
) -> tuple[str, ...]:
    """The lines of the picture: what went from the agent to the API and back, and what its
    tools did meanwhile. Only the last requests are in it, if there are many.

    Args:
        requests: The requests, with what was sent of their answers.
        ledger: The effects of the tools.
        deaths: The moments at which the agent was killed.
    """
    ordered = sorted(requests, key=lambda one: one.number)
    shown = ordered[-_REQUESTS_MAX:]
    since = shown[0].at if shown and len(shown) < len(ordered) else 0.0
    lost = {one.after for one in deaths if one.point.startswith("request")}
    drawn = [(one.at, _exchange(one, answered=one.number not in lost)) for one in shown]
    drawn += [(entries[-1].at, [_effect(entries)]) for entries in _calls(ledger)]
    drawn += [(one.at, [_death(one)]) for one in deaths]
    drawn.sort(key=lambda one: one[0])
    head = f"  agent{'API  effects':>{_BETWEEN + 8}}"
    return (head, *(line for at, lines in drawn if at >= since for line in lines))


def _exchange(one: ObservedRequest, *, answered: bool) -> list[str]:
    asked = _cut(f"#{one.number} {_asked(one)}", _BETWEEN - 4)
    lines = [f"  ├─ {asked} {'─' * (_BETWEEN - 4 - len(asked))}▶│"]
    if answered:
        given = _cut(_answered(one), _BETWEEN - 4)
        lines.append(f"  │◀{'─' * (_BETWEEN - 4 - len(given))} {given} ─┤")
    return lines


def _asked(one: ObservedRequest) -> str:
    if not one.messages:
        return "(no messages)"
    results = [
        f"result {_quoted(_result(block))}"
        for block in one.messages[-1].content
        if block.get("type") == "tool_result"
    ]
    said = one.messages[-1].text
    gist = ", ".join([*results, *([_quoted(said)] if said else [])])
    many = len(one.messages)
    return gist if many == 1 else f"{many} messages, {gist}"


def _answered(one: ObservedRequest) -> str:
    told = f" retry-after={one.retry_after:g}" if one.retry_after is not None else ""
    match one.arrival:
        case Arrival.WHOLE:
            return _gist(one.reply)
        case Arrival.CUT:
            how = "stops in the middle" if one.stalled else "is cut off"
            return f"{how}: {_gist(one.reply)}"
        case Arrival.REFUSED:
            return f"{one.status} {'' if one.error is None else one.error.type}{told}"
        case Arrival.NOTHING:
            return "no answer"


def _gist(reply: Sequence[Json]) -> str:
    made = [
        f"{one.get('name')} {_written(one.get('input'))}" for one in calls_of(reply)
    ]
    said = [_quoted(text_of(reply))] if text_of(reply) else []
    return ", ".join([*said, *(["calls " + " and ".join(made)] if made else [])])


def _calls(ledger: Sequence[Done]) -> Iterator[list[Done]]:
    """The entries of each call that follow each other."""
    call: list[Done] = []
    for entry in ledger:
        if call and (
            entry.phase == "begun"
            or (entry.tool, entry.input) != (call[-1].tool, call[-1].input)
        ):
            yield call
            call = []
        call.append(entry)
    if call:
        yield call


def _effect(entries: Sequence[Done]) -> str:
    phases = ", ".join(one.phase for one in entries)
    named = f"{entries[0].tool} {entries[0].input}"
    called = _cut(named, _EFFECT_MAX - len(phases) - 2)
    return f"  ├{'─' * (_BETWEEN)}┼▶ {called}: {phases}"


def _death(death: ClientDeath) -> str:
    return f"  ✗ died at: {death.point}" if death.point else "  ✗ died"


def _result(block: Json) -> str:
    content = block.get("content")
    return content if isinstance(content, str) else text_of(objects(content))


def _quoted(text: str) -> str:
    return json.dumps(_cut(text, _TEXT_MAX), ensure_ascii=False)


def _written(given: object) -> str:
    return json.dumps(given, sort_keys=True, ensure_ascii=False)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
