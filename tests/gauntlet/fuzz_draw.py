"""Drawing scripts of the fuzzer: of every kind of fault, at every time, in every mixture.

What is drawn follows from the randomness that is handed in and from nothing else.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

import attrs
from tests.gauntlet.fuzz_script import (
    CACHES,
    CUTS_SHORT,
    MODELS,
    SAYS,
    THREADS,
    WORDS,
    Move,
    Play,
    Setting,
    Verb,
)
from tests.gauntlet.fuzz_tools import MORE

from turnlatch.simulator import (
    CutEvents,
    CutPercent,
    Empty,
    ErrorEvent,
    ExpireThreads,
    Garbled,
    Html,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    ScriptedFault,
    Slow,
    Span,
    Status,
    When,
)
from turnlatch.simulator.faults import CUT_ENDINGS, HANGUPS, Action, Kind
from turnlatch_states.api.error_codes import BY_CODE
from turnlatch_states.api.faults import BY_STATUS, OPTIONAL_FIELDS
from turnlatch_states.api.rules import RULES

_HINTS: Final = (
    ("retry-after", "1"),
    ("retry-after", "30"),
    ("retry-after", "119"),
    ("retry-after", "9999"),
    ("retry-after", "soon"),
    ("retry-after", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("retry-after-ms", "1500"),
    ("x-should-retry", "false"),
    ("x-should-retry", "true"),
)

_SAID: Final = (
    "No.",
    "",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "prompt is too long: 9000 tokens > 8000 maximum",
    "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000,"
    " decrease input length or `max_tokens` and try again",
    "max_tokens: 4096 > 2048, which is the maximum allowed number of output tokens",
    "too many images and documents: 101 + 0 > 100",
    "Your credit balance is too low to access the Anthropic API.",
    "model: claude-unheard-of",
    "messages: roles must alternate between user and assistant",
    "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
    "Could not process image",
    "Unexpected value(s) `compact-2026-09-04` for the `anthropic-beta` header.",
    "Unexpected value(s) `message-threads-2026-08-12` for the `anthropic-beta` header.",
    "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    "Überlast in Übersee — versuchen Sie es später",
)

_BLOCK_SAYS: Final = (
    "Could not process image",
    "Invalid `signature` in `thinking` block",
    "Expected `thinking` or `redacted_thinking`, but found `text`.",
    "text content blocks must be non-empty",
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be"
    " modified.",
    "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
)

_LIMITS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    *[("context_window", (1500, 2500, 4000, 6000, 12000))] * 5,
    ("output_max", (1024, 2048)),
    ("images_max", (1, 2, 5)),
    ("image_pixels_max", (16, 500)),
    ("image_base64_bytes_max", (64,)),
    ("many_images", (1,)),
    ("cache_markers_max", (0, 1, 2)),
    ("messages_max", (6, 12)),
    ("request_bytes_max", (6000, 20000)),
)

_STATUSES: Final = (*sorted(BY_STATUS), 418, 451, 502, 520, 524, 599)
_CODES: Final = tuple(sorted(code for code, kind in BY_CODE.items() if kind))
_EVENT_TYPES: Final = (
    "overloaded_error", "api_error", "rate_limit_error", "timeout_error",
    "invalid_request_error", "authentication_error", "billing_error",
    "request_too_large", "an_error_of_tomorrow",
)  # fmt: skip


def draw(rng: random.Random) -> Play:
    """A script of up to eight faults, and a conversation of several moves."""
    off = rng.sample([rule.id for rule in RULES], 2) if rng.random() < 0.15 else []
    setting = Setting(
        seed=rng.randrange(10_000),
        store="sqlite" if rng.random() < 0.08 else "memory",
        model=rng.choice((MODELS[0], MODELS[0], *MODELS)),
        threads=rng.choice(("off", "off", "on", "auto")),
        cache=rng.choice(CACHES),
        moody=rng.random() < 0.25,
        attempts=rng.choice((8, 8, 3)),
        off="+".join(off),
        tools="+".join(_tools(rng)),
    )
    tight, busy = rng.random() < 0.3, rng.random() < 0.35
    verbs = (*_VERBS, *_LENGTHY) if tight else _VERBS
    drawn = [rng.choice(verbs) for _ in range(rng.randint(2, 10))]
    moves = tuple(_move(rng, verb) for verb in (_busy(rng) if busy else drawn))
    said = [move.word for move in moves if move.verb in SAYS] or list(WORDS)
    count = min(rng.randint(0, 8), rng.randint(1, 8))
    faults = [_fault(rng, said) for _ in range(count)]
    if tight:
        faults = [_narrow(rng), *(_aimed(rng, one) for one in faults)]
    faults += [
        ScriptedFault(RuleSwitch(rule, on=True), _when(rng, said)) for rule in off
    ]
    return Play(setting, moves, tuple(faults[:8]))


def _tools(rng: random.Random) -> list[str]:
    if rng.random() < 0.4:
        return []
    return rng.sample(sorted(MORE), rng.randint(1, 5))


_VERBS: Final = (
    *([Verb.SEND] * 10),
    *([Verb.STREAM] * 8),
    *([Verb.LONG] * 3),
    *([Verb.STEER] * 5),
    *([Verb.APPROVE] * 2),
    *([Verb.RETRY] * 2),
    *([Verb.STOP, Verb.HALT, Verb.COMPACT, Verb.REWIND, Verb.REOPEN] * 2),
    *(verb for verb in Verb if verb not in (Verb.SEND, Verb.STREAM, Verb.LONG)),
)


_LENGTHY: Final = (*([Verb.LONG] * 8), *([Verb.COMPACT] * 2), Verb.PIN)


_BUSY: Final = tuple(
    tuple(map(Verb, phrase.split()))
    for phrase in (
        "send approve",
        "stream approve approve retry",
        "send wait approve retry",
        "send crash approve",
        "send reopen approve deny",
        "steer send approve",
        "steer steer stream",
        "steer crash retry",
        "steer crash steer send",
        "steer stop steer retry",
        "steer halt abandon",
        "steer cancel reopen retry",
        "steer steer crash reopen",
        "steer rewind",
        "steer compact steer branch",
        "steer fork steer",
    )
)
"""Courses in which much is said, stopped and decided while tools run."""


def _busy(rng: random.Random) -> list[Verb]:
    return [verb for _ in range(rng.randint(1, 4)) for verb in rng.choice(_BUSY)][:10]


def _move(rng: random.Random, verb: Verb) -> Move:
    match verb:
        case Verb.MODEL:
            word = rng.choice(MODELS)
        case Verb.THREADS:
            word = rng.choice(THREADS)
        case Verb.CACHE:
            word = rng.choice(CACHES)
        case Verb.TOKENS:
            word = rng.choice(("512", "1024", "20000", "30000"))
        case Verb.WAIT:
            word = rng.choice(("60", "299", "301", "4000"))
        case _:
            word = rng.choice(WORDS) if verb in SAYS else ""
    at = rng.randint(1, rng.choice((4, 12, 40))) if verb in CUTS_SHORT else 0
    if verb is Verb.STEER and rng.random() < 0.7:
        at = rng.randint(1, rng.choice((4, 8, 20)))
    return Move(verb, word, at)


def _fault(rng: random.Random, said: Sequence[str]) -> ScriptedFault:
    if rng.random() < 0.12:
        return _for_ever(rng, said)
    return ScriptedFault(rng.choice(_ACTIONS)(rng), _when(rng, said))


def _for_ever(rng: random.Random, said: Sequence[str]) -> ScriptedFault:
    """A fault that may last."""
    when = _only_some(rng, When(forever=True))
    body = rng.choice(list(said))
    match rng.randrange(4):
        case 3:
            hints = (("x-should-retry", "false"),) if rng.random() < 0.3 else ()
            failing: Action = Status(rng.choice((500, 502, 503, 529)), hints)
            return ScriptedFault(failing, attrs.evolve(when, body=body))
        case 0:
            message = rng.choice(("No.", "Output blocked by content filtering policy"))
            action: Action = Status(rng.choice((400, 422)), message=message)
            return ScriptedFault(action, attrs.evolve(when, body=body))
        case 1:
            codes = [code for code in _CODES if code.startswith("thread_")]
            action = Status(400, code=rng.choice(codes))
            return ScriptedFault(action, attrs.evolve(when, kind="thread"))
        case _:
            kinds: tuple[Kind, ...] = ("compaction", "count_tokens", "stream")
            return ScriptedFault(
                rng.choice(_ACTIONS)(rng), attrs.evolve(when, kind=rng.choice(kinds))
            )


def _narrow(rng: random.Random) -> ScriptedFault:
    """A window that is small from early on."""
    size = rng.choice((1500, 2000, 3000, 5000))
    at = rng.randint(1, 5)
    return ScriptedFault(LimitChange("context_window", size), When((Span(at, at),)))


def _aimed(rng: random.Random, fault: ScriptedFault) -> ScriptedFault:
    """A fault, which in every third case meets summaries only."""
    if rng.random() < 0.67 or fault.when.kind != "messages":
        return fault
    when = When(times=rng.randint(1, 9), kind="compaction")
    if rng.random() < 0.3:
        when = When(forever=True, kind="compaction")
    return attrs.evolve(fault, when=when)


def _only_some(rng: random.Random, when: When) -> When:
    """Sometimes from a request on, or only for a time."""
    match rng.randrange(4):
        case 0:
            return attrs.evolve(when, requests=(Span(rng.randint(2, 9), None),))
        case 1:
            return attrs.evolve(when, at_seconds=float(rng.randint(1, 20)))
        case _:
            return when


def _when(rng: random.Random, said: Sequence[str]) -> When:
    at = min(rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, 20))
    match rng.randrange(10):
        case 0 | 1 | 2 | 3:
            return When((Span(at, at),))
        case 4:
            return When((Span(at, at + rng.randint(1, 9)),))
        case 5:
            return When((Span(at, at), Span(at + 2, at + rng.randint(2, 5))))
        case 6:
            return When(every=rng.randint(1, 4), times=rng.randint(1, 9))
        case 7:
            kinds: tuple[Kind, ...] = (
                *("stream", "plain", "compaction", "thread", "count_tokens"),
            )
            return When(times=rng.randint(1, 12), kind=rng.choice(kinds))
        case 8:
            start = rng.randint(0, 30)
            length = rng.choice((1, 10, 100, 1000))
            return When(forever=True, at_seconds=start, until_seconds=start + length)
        case _:
            return When(body=rng.choice(list(said)), times=rng.randint(1, 12))


def _status(rng: random.Random) -> Action:
    hints = (rng.choice(_HINTS),) if rng.random() < 0.35 else ()
    message = rng.choice(_SAID) if rng.random() < 0.3 else None
    return Status(rng.choice(_STATUSES), hints, message=message)


def _passing(rng: random.Random) -> Action:
    hints = (rng.choice(_HINTS),) if rng.random() < 0.35 else ()
    return Status(rng.choice((408, 429, 500, 502, 503, 504, 529)), hints)


def _coded(rng: random.Random) -> Action:
    return Status(rng.choice((400, 400, 403, 404, 409, 429)), code=rng.choice(_CODES))


def _said(rng: random.Random) -> Action:
    return Status(400, message=rng.choice(_SAID))


def _block(rng: random.Random) -> Action:
    place = f"messages.{rng.randint(0, 6)}"
    if rng.random() < 0.8:
        place += f".content.{rng.randint(0, 3)}"
        if rng.random() < 0.3:
            place += f".tool_result.content.{rng.randint(0, 1)}"
    if rng.random() < 0.1:
        place = rng.choice(("system.0", "tools.0.custom.input_schema", "messages"))
    return Status(400, message=f"{place}: {rng.choice(_BLOCK_SAYS)}")


def _field(rng: random.Random) -> Action:
    name = rng.choice(OPTIONAL_FIELDS)
    return Status(400, message=f"{name}: Extra inputs are not permitted")


def _cut(rng: random.Random) -> Action:
    ending = rng.choice(CUT_ENDINGS)
    if rng.random() < 0.7:
        return CutEvents(rng.randint(0, 24), ending)
    return CutPercent(rng.randint(0, 99), ending)


def _error_event(rng: random.Random) -> Action:
    # Behind the third event the shortest reply may be over already, and is one then.
    message = rng.choice((None, None, "Overloaded", rng.choice(_SAID)))
    return ErrorEvent(rng.choice(_EVENT_TYPES), rng.randint(0, 3), message)


def _slow(rng: random.Random) -> Action:
    seconds = rng.choice((0.5, 20.0, 95.0))
    if rng.random() < 0.5:
        return Slow("events", seconds)
    return Slow("headers", rng.choice((seconds, 700.0)))


def _rest(rng: random.Random) -> Action:
    return rng.choice(
        (
            Garbled("truncated"),
            Garbled("malformed"),
            Html(rng.choice((502, 503, 403, 404, 413))),
            Empty(),
            NoAnswer(rng.choice(HANGUPS)),
            ExpireThreads(),
        )
    )


def _limit(rng: random.Random) -> Action:
    name, values = rng.choice(_LIMITS)
    return LimitChange(name, rng.choice(values))


_ACTIONS: Final[tuple[Callable[[random.Random], Action], ...]] = (
    *([_status] * 3),
    *([_passing] * 3),
    *([_coded] * 2),
    *([_said] * 2),
    *([_block] * 3),
    _field,
    *([_cut] * 5),
    *([_error_event] * 2),
    _slow,
    *([_rest] * 4),
    *([_limit] * 3),
)
