"""Looks up the meaning of a word or an error message: `turnlatch explain`, without a screen.

All facts come from the tables that the machine executes. To name the evidence for a fault's
kind, it calls the classification again with less input, so the two cannot disagree.
"""

import difflib
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from typing import Final, final

import attrs

from turnlatch.cli.instructions import EXCEPTIONS, STATUSES
from turnlatch.cli.said import STATUS_ASSUMED, Said, read
from turnlatch.cli.words import (
    CLOSINGS,
    DEEDS,
    FOLLOWS,
    KINDS,
    OPTIONS,
    OUTCOMES,
    OUTSIDE,
    RULES_BY_WORDING,
    SCRIPTS,
)
from turnlatch.diagrams.parts import folded, inner
from turnlatch_states.api.error_codes import BY_CODE, family
from turnlatch_states.api.faults import (
    BY_STATUS,
    BY_TYPE,
    SUSPENDING,
    FaultKind,
    classify,
    named_path,
)
from turnlatch_states.api.rules import RULES, explain
from turnlatch_states.api.stop_reasons import STOP_REASONS
from turnlatch_states.fsm.table import Table, Transition
from turnlatch_states.machine.call import CALL, Closing
from turnlatch_states.machine.connection import CONNECTION
from turnlatch_states.machine.remedy import SAYS, Remedy
from turnlatch_states.machine.thread import THREAD
from turnlatch_states.machine.turn import TURN, TurnState
from turnlatch_states.machine.writer import WRITER
from turnlatch_states.recovery.ladder import LADDERS, Ladder

MACHINES: Final = (TURN, CALL, THREAD, WRITER, CONNECTION)
"""Every declared machine. `diagrams` has the same list, but costs more to import."""

KEPT: Final = TURN.state(TurnState.FAILED).meaning.removeprefix("stopped; ")
"""The things that a failed turn keeps."""

LOOKED_FOR: Final = (
    "a status, an error type, an error code, a kind, a remedy, a rule, a stop reason,"
    " a state or a trigger of a machine, a closing of a call, a method of a"
    " conversation, an option of a tool, an exception, a message"
)
"""The things that `explain` knows."""


@final
@attrs.frozen
class Course:
    """turnlatch's reaction to one kind of fault.

    Attributes:
        kind: The kind.
        says: The meaning of the kind.
        ladder: The remedies, in order: the object that `decide` walks.
        script: A simulator fault that shows the kind; None if a single fault cannot.
    """

    kind: FaultKind
    says: str
    ladder: Ladder
    script: str | None

    @classmethod
    def of(cls, kind: FaultKind) -> "Course":
        """The course of a kind."""
        return cls(kind, KINDS[kind], LADDERS[kind], SCRIPTS.get(kind))

    @property
    def suspends(self) -> bool:
        """True if the turn is suspended until an external condition changes."""
        return self.kind in SUSPENDING


@final
@attrs.frozen
class Meaning:
    """One meaning of a word.

    Attributes:
        sort: The category: `status`, `kind`, `state` and so on.
        name: The word, as it is written.
        says: The meaning; empty if the course has it.
        by: The evidence that decided the fault's kind: `code`, `family` (of a code
            that no table has), `status`, `type`, `wording`, or `turnlatch` if turnlatch
            itself made the fault; None if the word is not a fault.
        evidence: The evidence in words.
        course: turnlatch's reaction, for a fault.
        facts: More facts, each with a label.
        rows: Rows of a machine.
        text: A complete text that replaces all other fields.
    """

    sort: str
    name: str
    says: str = ""
    by: str | None = None
    evidence: str = ""
    course: Course | None = None
    facts: tuple[tuple[str, str], ...] = ()
    rows: tuple[Transition, ...] = ()
    text: str = ""


def meanings(what: str) -> tuple[Meaning, ...]:
    """All meanings of `what`; empty if it is unknown.

    Args:
        what: A word, a status, or the text of an error in any printed form.
    """
    word = " ".join(what.split())
    found = tuple(_words(word))
    if found or not word:
        return found
    said = read(word)
    return () if said is None else (_fault(said),)


def near(what: str) -> tuple[str, ...]:
    """Known words that look like `what`, the nearest first."""
    word = _plain(what)
    known = {_plain(name): name for name in names()}
    close = [known[name] for name in difflib.get_close_matches(word, known, 4, 0.6)]
    within = [known[name] for name in known if len(word) > 3 and word in name]
    return tuple(dict.fromkeys([*close, *within]))[:4]


def names() -> Iterator[str]:
    """All known words."""
    yield from (kind.value for kind in FaultKind)
    yield from (remedy.value for remedy in Remedy)
    yield from STOP_REASONS
    yield from BY_TYPE
    yield from BY_CODE
    yield from (closing.value for closing in Closing)
    yield from DEEDS
    yield from OPTIONS
    yield from EXCEPTIONS
    for table in MACHINES:
        yield table.name
        yield from (state.name for state in table.states)
        yield from table.triggers()
    yield from (rule.id for rule in RULES)
    yield from map(str, BY_STATUS)


def _plain(word: str) -> str:
    """A word in lower case, with `_`, `-` and spaces made equal."""
    return re.sub(r"[\s_-]+", " ", word).strip().lower()


# Words.


def _words(word: str) -> Iterator[Meaning]:
    plain = _plain(word)
    for kind in FaultKind:
        if plain in (kind.value, _plain(kind.name)):
            yield Meaning("kind", kind.value, course=Course.of(kind))
    for remedy in Remedy:
        if plain in (remedy.value, _plain(remedy.name)):
            yield _remedy(remedy)
    for reason, outcome in STOP_REASONS.items():
        if plain == _plain(reason):
            does, kind_then = FOLLOWS[outcome]
            course = None if kind_then is None else Course.of(kind_then)
            facts = (("then", does),)
            yield Meaning(
                "stop reason", reason, OUTCOMES[outcome], course=course, facts=facts
            )
    for table in MACHINES:
        yield from _of_table(table, plain)
    for closing in Closing:
        if plain == closing.value:
            yield Meaning("closing of a call", closing.value, CLOSINGS[closing])
    yield from _written(plain)
    for rule in RULES:
        if plain == rule.id.lower():
            text = explain(rule.id)
            yield Meaning("rule", rule.id, rule.title, text=text)


def _written(plain: str) -> Iterator[Meaning]:
    """Names used in programs: methods, options, exceptions."""
    called = plain.removesuffix("()")
    for name, says in DEEDS.items():
        if called == name:
            yield Meaning("method of a conversation", name, says)
    for name, says in OPTIONS.items():
        if plain == _plain(name):
            yield Meaning("option of a tool", name, says)
    for name, (module, do) in EXCEPTIONS.items():
        if plain == name.lower():
            raised = getattr(importlib.import_module(module), name)
            says = " ".join((raised.__doc__ or "").partition("\n\n")[0].split())
            yield Meaning("exception", name, says, facts=(("do", _sentence(do)),))


def _remedy(remedy: Remedy) -> Meaning:
    climbed = [
        (f"{kind.value} ({name} {number} of {len(rungs)})", rung.often)
        for kind, ladder in LADDERS.items()
        for name, rungs in (("rung", ladder.rungs), ("summary rung", ladder.summary))
        for number, rung in enumerate(rungs, 1)
        if rung.remedy is remedy
    ]
    facts = [("tried", OUTSIDE[remedy])] if remedy in OUTSIDE else []
    if climbed:
        often = dict.fromkeys(bound for _, bound in climbed)
        tried = "; ".join(where for where, _ in climbed)
        facts += [("tried for", tried), ("bound", "; or ".join(often))]
    return Meaning("remedy", remedy.value, _sentence(SAYS[remedy]), facts=tuple(facts))


def _of_table(table: Table, plain: str) -> Iterator[Meaning]:
    where = ("machine", f"{table.name}; turnlatch diagram {table.name} draws it")
    if plain == table.name:
        states = ", ".join(state.name for state in table.states)
        facts = (("states", states), ("drawn by", f"turnlatch diagram {table.name}"))
        promise = _sentence(table.promise)
        yield Meaning("machine", table.name, promise, facts=facts)
    for state in table.states:
        if plain == state.name:
            parts = ", ".join(part.name for part in inner(table, state.name))
            # A state with parts has the rows that lead to and from all of them.
            shown = folded(table) if parts else table
            rows = tuple(
                row
                for row in shown.transitions
                if state.name in (row.source, row.target)
            )
            rests = "the machine stays here until an event from outside"
            known = (
                ("rests", rests if state.rests else ""),
                ("parts", parts),
                ("part of", state.parent),
            )
            still = tuple((name, told) for name, told in known if told)
            meaning = _sentence(state.meaning)
            yield Meaning(
                "state", state.name, meaning, facts=(where, *still), rows=rows
            )
    rows = tuple(row for row in table.transitions if row.trigger == plain)
    if rows:
        moves = f"Moves the {table.name} machine."
        yield Meaning("trigger", plain, moves, facts=(where,), rows=rows)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


# Faults.


def _fault(said: Said) -> Meaning:
    kind = said.kind
    sort, name = _sort(said)
    if kind is None:
        says = "This error code adds nothing to the status that it comes with."
        facts = (("ask as", _question(f"409 {name}")),)
        return Meaning(sort, name, says, facts=facts)
    by, evidence = _evidence(said, kind)
    if by == "nothing":
        says = "turnlatch does not know this wording: the status decides."
        return Meaning(sort, name, says, facts=_either(name))
    course = Course.of(kind)
    if course.script is not None:  # the kind can be shown, so this fault can, too
        course = attrs.evolve(course, script=_script(said) or course.script)
    says = STATUSES.get(said.status or 0, "") if sort == "status" else ""
    return Meaning(
        sort,
        name,
        says,
        by=by,
        evidence=evidence,
        course=course,
        facts=tuple(_rules(said.message)),
    )


def _rules(message: str) -> Iterator[tuple[str, str]]:
    """The rules that a message is about, and whether `turnlatch check` can find them."""
    for fragment, id_ in RULES_BY_WORDING:
        for rule in RULES:
            if rule.id == id_ and fragment in message:
                seen = f"turnlatch check cannot see it: {rule.unseen}"
                if not rule.unseen:
                    whole = " in a whole request body" if rule.id == "R7" else ""
                    seen = f"turnlatch check finds it{whole}"
                yield "rule", f"{rule.id}: {rule.title}; {seen}"


def _either(message: str) -> tuple[tuple[str, str], ...]:
    """The possible kinds of a message whose wording is unknown."""
    refused, lost = classify(STATUS_ASSUMED, None, None, message), FaultKind.TRANSIENT
    return (
        (f"with a {STATUS_ASSUMED}", f"{refused.value}: {KINDS[refused]}"),
        ("with no status", f"{lost.value}: {KINDS[lost]}"),
        ("ask as", _question(f"{STATUS_ASSUMED} {message}")),
    )


def _question(what: str) -> str:
    return f"turnlatch explain {shlex.quote(what)}"


def _sort(said: Said) -> tuple[str, str]:
    """The category of the text, and its name."""
    facts = (said.status, said.type, said.code, said.stated)
    told = [str(one) for one in facts if one is not None]
    if said.message:
        return "message", ": ".join(
            [" ".join(told), said.message] if told else [said.message]
        )
    if len(told) > 1:
        return "error", " ".join(told)
    if said.status is not None:
        return "status", told[0]
    return ("error type" if said.type is not None else "error code"), told[0]


def _evidence(said: Said, kind: FaultKind) -> tuple[str, str]:
    """The evidence that decided, as a key and in words."""
    if said.stated is not None:
        return "turnlatch", "turnlatch itself: the fault did not come from a server"
    if said.code is not None and BY_CODE.get(said.code) is not None:
        return "code", "its error code, which comes before all other evidence"
    alike = family(said.code)
    bare = said.status is None and said.type is None
    if alike is not None and (
        bare or said.without(code=True, message=True) is not kind
    ):
        known = "codes with this prefix and suffix, if the status alone says too little"
        return "family", f"the family of its error code ({alike.name}): {known}"
    if said.without(message=True) is not kind:
        if kind is FaultKind.BLOCK:
            part = named_path(said.message)
            return "wording", f"its wording, a hint: it begins with a path, {part}"
        hint = "its wording, a hint: used only if no other evidence says more"
        return "wording", hint
    if said.status is not None and said.without(type_=True, message=True) is kind:
        return "status", f"its status; {_beyond(said.status, said.message)}"
    if said.type is not None:
        return "type", "its type, as in a stream or with a plain 400"
    return "nothing", ""


def _beyond(status: int, message: str) -> str:
    """A remark about evidence that outranks a status."""
    meant = classify(status, None, None, "")
    if status < 300:
        return "the type decides about an error inside an answer"
    if meant is FaultKind.INVALID and message:
        return "turnlatch does not know its wording"
    if meant is FaultKind.INVALID:
        return "its type or wording may say more: give the message, too"
    if meant is FaultKind.TRANSIENT:
        return "an error code outranks it, and so does a message about credit"
    if status == 403:
        return (
            "an error code outranks it; without the API's error envelope it comes from a"
            " proxy or filter, and counts as transient"
        )
    return "only an error code outranks it"


def _script(said: Said) -> str | None:
    """A simulator fault that is like it."""
    if said.stated is not None:
        return None
    words: list[str] = []
    status = said.status
    if status is None and said.type is not None and not said.code:
        words += ["error", said.type]
    elif status is None or 400 <= status <= 599:
        words.append(str(status or STATUS_ASSUMED))
        words += [f"type={said.type}"] if said.type else []
        words += [f"code={said.code}"] if said.code else []
    else:
        return None
    if said.message:
        words.append(f"message={json.dumps(said.message)}")
    script = " ".join(words)
    return script if len(script) <= 120 else None
