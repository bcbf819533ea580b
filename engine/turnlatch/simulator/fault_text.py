"""Faults as text: `429 retry-after=2 @2, cut 3 eof @4, 529 @5-6`.

    script  = fault { ("," | newline) fault }
    fault   = what { when }
    what    = STATUS { HEADER=VALUE | type=… | code=… | message=… | paths=… }
            | cut EVENTS [clean | eof | reset | stall]
            | cut PERCENT% [clean | eof | reset | stall]
            | error [TYPE] [after EVENTS] [message=…]
            | slow (headers | events) SECONDSs
            | (truncated | malformed) json
            | html STATUS | empty 200
            | eof | reset | stall                      (before the headers)
            | rule ID (on | off) | limit NAME=NUMBER | expire threads
    when    = @N | @N-M | @N+ | every N | times N | forever
            | on KIND | model=… | body=… | at t=SECONDS | until t=SECONDS

A value with anything but letters, digits and `._/:+-` in it is written as a JSON string.
"""

import json
import re
from collections.abc import Sequence
from typing import final

import attrs

from turnlatch.simulator.faults import (
    BARE,
    CUT_ENDINGS,
    HANGUPS,
    HEADER_NAME,
    KINDS,
    Action,
    CutEnding,
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
    Script,
    ScriptedFault,
    Slow,
    Span,
    Status,
    When,
)
from turnlatch_states.fsm.errors import TurnlatchError


class FaultScriptError(TurnlatchError):
    """A fault script that cannot be read.

    Attributes:
        token: The word that is wrong; empty at the end of a fault.
        position: Where it starts in the text, counted from 0.
        allowed: The tokens that are allowed there.
    """

    def __init__(self, token: str, position: int, allowed: str) -> None:
        super().__init__(token, position, allowed)
        self.token = token
        self.position = position
        self.allowed = allowed

    def _told(self) -> str:
        what = repr(self.token) if self.token else "the end of the fault"
        return (
            f"fault script: {what} at position {self.position}; allowed: {self.allowed}"
        )


def parse_faults(text: str) -> Script:
    """Read a fault script.

    Args:
        text: As in the grammar above; empty for no faults.

    Raises:
        FaultScriptError: A word is not allowed where it stands; it names the word, the
            position and what is allowed.
    """
    faults: list[ScriptedFault] = []
    words: list[_Word] = []
    for word in _words(text):
        if word.text not in (",", "\n"):
            words.append(word)
        elif words:
            faults.append(_Reader(words, word.start).fault())
            words = []
        elif word.text == ",":
            raise FaultScriptError(",", word.start, _ACTIONS)
    if words:
        faults.append(_Reader(words, len(text)).fault())
    return tuple(faults)


_ACTIONS = (
    "a status (400-599), cut, error, slow, truncated, malformed, html, empty, eof,"
    " reset, stall, rule, limit, expire"
)
_CONDITIONS = (
    "@N, @N-M, @N+, every N, times N, forever, on KIND, model=, body=, at t=, until t="
)
_HEADERS = (
    "retry-after=, retry-after-ms=, x-…=, anthropic-…=, type=, code=, message=, paths="
)

_WORD = re.compile(r'(?:[^\s,"]|"(?:\\.|[^"\\])*")+|,|\n|"')


@final
@attrs.frozen
class _Word:
    text: str
    start: int


def _words(text: str) -> list[_Word]:
    return [_Word(found.group(), found.start()) for found in _WORD.finditer(text)]


@final
class _Reader:
    """Reads one fault, word by word."""

    def __init__(self, words: Sequence[_Word], end: int) -> None:
        self._words = words
        self._end = end
        self._next = 0

    def fault(self) -> ScriptedFault:
        """The whole fault."""
        action = self._action()
        return ScriptedFault(action, self._when())

    def _peek(self, ahead: int = 0) -> _Word:
        if self._next + ahead < len(self._words):
            return self._words[self._next + ahead]
        return _Word("", self._end)

    def _take(self) -> _Word:
        word = self._peek()
        self._next += 1
        return word

    def _one_of(self, *allowed: str) -> str:
        word = self._take()
        if word.text not in allowed:
            raise FaultScriptError(word.text, word.start, ", ".join(allowed))
        return word.text

    def _number(self, allowed: str) -> int:
        word = self._take()
        if not re.fullmatch(r"\d{1,9}", word.text, re.ASCII):
            raise FaultScriptError(word.text, word.start, allowed)
        return int(word.text)

    def _seconds(self, pattern: str, allowed: str) -> float:
        word = self._take()
        found = re.fullmatch(pattern, word.text, re.ASCII)
        if found is None:
            raise FaultScriptError(word.text, word.start, allowed)
        try:
            return float(found.group(1))
        except ValueError:
            raise FaultScriptError(word.text, word.start, allowed) from None

    def _action(self) -> Action:
        word = self._take()
        try:
            return self._action_after(word)
        except ValueError as problem:
            raise FaultScriptError(word.text, word.start, str(problem)) from None

    def _action_after(self, word: _Word) -> Action:
        match word.text:
            case "cut":
                return self._cut()
            case "error":
                return self._error_event()
            case "slow":
                part = self._one_of("headers", "events")
                seconds = self._seconds(r"([0-9.e+-]+)s", "SECONDSs, as in 5s or 0.2s")
                return Slow("headers" if part == "headers" else "events", seconds)
            case "truncated" | "malformed" as how:
                self._one_of("json")
                return Garbled("truncated" if how == "truncated" else "malformed")
            case "html":
                return Html(self._number("a status, 400 to 599"))
            case "empty":
                self._one_of("200")
                return Empty()
            case "rule":
                name = _value(self._take(), "the id of a rule, as in R8")
                return RuleSwitch(name, self._one_of("on", "off") == "on")
            case "limit":
                return self._limit()
            case "expire":
                self._one_of("threads")
                return ExpireThreads()
            case _ if word.text in HANGUPS:
                return NoAnswer(next(each for each in HANGUPS if each == word.text))
            case _ if re.fullmatch(r"\d{3}", word.text, re.ASCII):
                return self._status(int(word.text))
            case _:
                raise FaultScriptError(word.text, word.start, _ACTIONS)

    def _cut(self) -> Action:
        word = self._take()
        found = re.fullmatch(r"(\d{1,9})(%?)", word.text, re.ASCII)
        if found is None:
            raise FaultScriptError(word.text, word.start, "a number of events, or N%")
        ending: CutEnding = "eof"
        for each in CUT_ENDINGS:
            if self._peek().text == each:
                self._take()
                ending = each
                break
        if found.group(2):
            return CutPercent(int(found.group(1)), ending)
        return CutEvents(int(found.group(1)), ending)

    def _error_event(self) -> Action:
        kind, after, message = "overloaded_error", 0, None
        word, following = self._peek(), self._peek(1)
        named = not _begins_condition(word.text) and word.text != "after"
        typed = word.text and not word.text.startswith("message=")
        if typed and (following.text == "after" or named):
            kind = _value(self._take(), "an error type")
        if self._peek().text == "after":
            self._take()
            after = self._number("a number of events")
        if self._peek().text.startswith("message="):
            message = _pair(self._take())[1]
        return ErrorEvent(kind, after, message)

    def _limit(self) -> Action:
        word = self._take()
        found = re.fullmatch(r"([a-z_][a-z0-9_]*)=(\d{1,15})", word.text, re.ASCII)
        if found is None:
            raise FaultScriptError(word.text, word.start, "NAME=NUMBER")
        return LimitChange(found.group(1), int(found.group(2)))

    def _status(self, status: int) -> Action:
        headers: list[tuple[str, str]] = []
        members: dict[str, str] = {}
        while (word := self._peek()).text:
            name = word.text.partition("=")[0]
            if "=" not in word.text or name in ("model", "body"):
                break
            name, value = _pair(self._take())
            if name in ("type", "code", "message", "paths") and name not in members:
                members[name] = value
            elif HEADER_NAME.fullmatch(name):
                headers.append((name, value))
            else:
                raise FaultScriptError(word.text, word.start, _HEADERS)
        return Status(
            status,
            tuple(headers),
            members.get("type"),
            members.get("code"),
            members.get("message"),
            members.get("paths"),
        )

    def _when(self) -> When:
        spans: list[Span] = []
        when = When()
        first, given = self._peek(), set[str]()
        while self._peek().text:
            word = self._take()
            if word.text.startswith("@"):
                spans.append(_span(word))
                continue
            name = word.text.partition("=")[0]
            if name in given:
                raise FaultScriptError(word.text, word.start, "each condition once")
            given.add(name)
            try:
                when = self._condition(word, name, when)
            except ValueError as problem:
                raise FaultScriptError(first.text, first.start, str(problem)) from None
        return attrs.evolve(when, requests=tuple(spans))

    def _condition(self, word: _Word, name: str, when: When) -> When:
        match name:
            case "every":
                return attrs.evolve(when, every=self._number("a number from 1"))
            case "times":
                return attrs.evolve(when, times=self._number("a number from 1"))
            case "forever" if word.text == name:
                return attrs.evolve(when, forever=True)
            case "on":
                kind = self._one_of(*KINDS)
                return attrs.evolve(when, kind=next(k for k in KINDS if k == kind))
            case "at":
                seconds = self._seconds(r"t=([0-9.e+-]+)", "t=SECONDS")
                return attrs.evolve(when, at_seconds=seconds)
            case "until":
                seconds = self._seconds(r"t=([0-9.e+-]+)", "t=SECONDS")
                return attrs.evolve(when, until_seconds=seconds)
            case "model":
                return attrs.evolve(when, model=_pair(word)[1])
            case "body":
                return attrs.evolve(when, body=_pair(word)[1])
            case _:
                allowed = _CONDITIONS
                if self._next == 2 and re.fullmatch(r"\d{3}", self._words[0].text):
                    allowed = f"{_HEADERS}, {_CONDITIONS}"
                raise FaultScriptError(word.text, word.start, allowed)


def _begins_condition(text: str) -> bool:
    head = text.partition("=")[0]
    return text.startswith("@") or head in (
        *("every", "times", "forever", "on", "at", "until"),
        *("model", "body", "message"),
    )


def _span(word: _Word) -> Span:
    found = re.fullmatch(r"@(\d{1,9})(?:(\+)|-(\d{1,9}))?", word.text, re.ASCII)
    if found is not None:
        first = int(found.group(1))
        last = None if found.group(2) else int(found.group(3) or first)
        if first >= 1 and (last is None or last >= first):
            return Span(first, last)
    raise FaultScriptError(word.text, word.start, "@N, @N-M or @N+, counted from 1")


def _pair(word: _Word) -> tuple[str, str]:
    name, _, text = word.text.partition("=")
    allowed = f'{name}=word or {name}="JSON string"'
    return name, _value(_Word(text, word.start + len(name) + 1), allowed)


def _value(word: _Word, allowed: str) -> str:
    if BARE.fullmatch(word.text):
        return word.text
    try:
        value: object = json.loads(word.text)
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise FaultScriptError(word.text, word.start, allowed)
    return value
