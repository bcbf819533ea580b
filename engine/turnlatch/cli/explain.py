"""`turnlatch explain`: the meaning of an error, a remedy or a state."""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import click

from turnlatch.cli.inputs import read_file
from turnlatch.cli.main import SettingRefusedError
from turnlatch.cli.meanings import (
    KEPT,
    LOOKED_FOR,
    Course,
    Meaning,
    meanings,
    near,
)
from turnlatch.cli.page import INDENT, WIDTH_MAX, wrapped
from turnlatch.cli.terminal import Look, cells, forgive_encodings, one_line, survey
from turnlatch.cli.words import BUDGET
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.fsm.table import Effect, Transition
from turnlatch_states.recovery.rung import Rung

UNKNOWN: Final = 2

BYTES_MAX: Final = 256 * 1024
"""Maximum bytes of an error read from standard input."""

COPIED: Final = frozenset({"try it", "ask as"})
"""Labels of commands, which are not wrapped, so that they can be copied."""

WIDTH_MIN: Final = 30
"""The narrowest layout, in columns."""

TEXT_MIN: Final = 34
"""Columns that a text needs next to its label; with fewer it goes below the label."""


@click.command()
@click.argument("what", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print it for machines.")
def explain(what: tuple[str, ...], as_json: bool) -> None:
    """Say what an error, a remedy or a state means, and what is done.

    WHAT is a status, an error type, an error code, a kind of fault, a remedy, a rule, a
    stop reason, a state or a trigger, a method, an option of a tool, an exception, or
    the text of an error; - reads it from standard input. Without WHAT the kinds of fault
    are listed. Ends with 2 if it is unknown.

    \b
    Examples:
        turnlatch explain 529
        turnlatch explain "prompt is too long: 213462 tokens > 200000 maximum"
    """
    forgive_encodings()
    look = survey(plain=False).look
    width = shutil.get_terminal_size().columns
    asked = _given() if what == ("-",) else " ".join(what)
    if not asked.strip():
        told = _listed_json() if as_json else listed(look, width)
        click.echo(told, nl=False, color=look.colour)
        return
    found = meanings(asked)
    if as_json:
        click.echo(_found_json(asked, found), nl=False)
        if not found:
            sys.exit(UNKNOWN)
        return
    if not found:
        raise SettingRefusedError(unknown(asked))
    click.echo(explained(found, look, width), nl=False, color=look.colour)


def _given() -> str:
    data = read_file("-", BYTES_MAX)
    if data is None:
        raise SettingRefusedError(
            f"the input is longer than {BYTES_MAX // 1024} KiB, which no error is:"
            " give only its status, type, code and message"
        )
    return data.decode(errors="replace")


def unknown(what: str) -> str:
    """The message for an unknown word."""
    alike = ", ".join(near(what))
    hint = f"near: {alike}" if alike else "turnlatch explain lists the kinds of fault"
    return f"{what.strip()[:80]!r} is unknown: looked for {LOOKED_FOR}; {hint}"


def listed(look: Look, width: int) -> str:
    """Every kind of fault, one line each."""
    page = _Page(look, width)
    page.heading("The kinds of fault, and their meaning for a turn")
    page.entries([(kind.value, Course.of(kind).says) for kind in FaultKind])
    page.line()
    page.paragraph(f"turnlatch explain WHAT says more. WHAT is {LOOKED_FOR}.")
    return page.text


def explained(
    found: Sequence[Meaning],
    look: Look,
    width: int,
    words: Callable[[str], str] = str,
) -> str:
    """All meanings of a word, as text; `words` adapts the wording to the reader."""
    page = _Page(look, width, words)
    for place, meaning in enumerate(found):
        if place:
            page.line()
        _tell(page, meaning)
    return page.text


def _tell(page: "_Page", meaning: Meaning) -> None:
    if meaning.text:
        page.verbatim(meaning.text)
        return
    page.heading(f"{meaning.name} ({meaning.sort})")
    course = meaning.course
    if meaning.says:
        page.paragraph(meaning.says, INDENT)
    about: list[tuple[str, str]] = []
    if meaning.evidence and course is not None:
        about += [
            ("counts as", f"{course.kind.value}: {course.says}"),
            ("known by", meaning.evidence),
        ]
    elif course is not None and meaning.says:
        about.append(("may be", f"{course.kind.value}: {course.says}"))
    elif course is not None:
        page.paragraph(course.says, INDENT)
    page.entries([*about, *meaning.facts])
    if meaning.rows:
        page.line()
        page.entries([(_row(row), _remarks(row)) for row in meaning.rows])
    if course is not None:
        _course(page, course)


def _course(page: "_Page", course: Course) -> None:
    page.line()
    ladder = course.ladder
    if ladder.rungs:
        page.heading("What turnlatch does, rung by rung")
        page.paragraph("At each failure, the first rung that applies is taken.", INDENT)
    else:
        page.heading("What turnlatch does: nothing, the turn rests in failed")
    page.entries(_rungs(ladder.rungs))
    page.line()
    if ladder.summary:
        page.heading("If the request for a summary fails so")
        page.entries(_rungs(ladder.summary))
        page.line()
    bounded = course.kind is FaultKind.BUDGET or (ladder.rungs and not course.suspends)
    told = [("bounds", BUDGET)] if bounded else []
    told += [("kept", KEPT), ("afterwards", ladder.afterwards)]
    if course.script is not None:
        told.append(("try it", f"turnlatch chat --faults {shlex.quote(course.script)}"))
    page.entries(told)


def _rungs(rungs: Sequence[Rung]) -> list[tuple[str, str]]:
    """The rungs, numbered from the top, each with what it does and how often."""
    return [
        (f"{number}  {rung.remedy.value}", f"{rung.says}\n{rung.often}")
        for number, rung in enumerate(rungs, 1)
    ]


def _row(row: Transition) -> str:
    return f"{row.source} -{row.trigger}-> {row.target}"


def _remarks(row: Transition) -> str:
    """The guard, the effect and the meaning of a row."""
    said: list[str] = []
    if row.guard is not None:
        said.append(f"if {row.guard.says}")
    if row.effect is not Effect.NONE:
        said.append(row.effect.value)
    if row.says:
        said.append(row.says)
    return "; ".join(said)


class _Page:
    """Text for a window of a given width."""

    def __init__(
        self, look: Look, width: int, words: Callable[[str], str] = str
    ) -> None:
        self._look = look
        self._words = words
        self._width = max(WIDTH_MIN, min(width, WIDTH_MAX))
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n".join(self._lines) + "\n"

    def line(self) -> None:
        """An empty line."""
        self._lines.append("")

    def heading(self, text: str) -> None:
        """A heading line."""
        for line in self._broken(text, 0):
            self._lines.append(self._look.ink(line, "bold"))

    def paragraph(self, text: str, indent: str = "") -> None:
        """Running text."""
        self._lines += [indent + line for line in self._broken(text, len(indent))]

    def verbatim(self, text: str) -> None:
        """A text, unchanged."""
        self._lines += text.rstrip("\n").split("\n")

    def entries(self, entries: Sequence[tuple[str, str]]) -> None:
        """Texts next to their labels, or below them if the window is narrow.

        The second line of a text is dimmed.
        """
        if not entries:
            return
        column = len(INDENT) + max(cells(label) for label, _ in entries) + 2
        next_to = self._width - column >= TEXT_MIN
        for label, text in entries:
            start = INDENT + self._look.ink(label, "dim")
            gap = " " * (column - len(INDENT) - cells(label))
            indent = " " * column if next_to else INDENT * 3
            whole = label in COPIED
            lines = [one_line(text)] if whole else list(self._told(text, len(indent)))
            if next_to and lines:
                self._lines.append(start + gap + lines.pop(0))
            else:
                self._lines.append(start)
            self._lines += [indent + line for line in lines]

    def _told(self, text: str, taken: int) -> Iterator[str]:
        first, _, aside = text.partition("\n")
        yield from self._broken(first, taken)
        for line in self._broken(aside, taken):
            yield self._look.ink(line, "dim")

    def _broken(self, text: str, taken: int) -> list[str]:
        if not text:
            return []
        broken = wrapped(one_line(self._words(text)), self._width - taken)
        return [line.strip() for line in broken]


# For machines.


def _listed_json() -> str:
    kinds = [_course_json(Course.of(kind)) for kind in FaultKind]
    return json.dumps({"kinds": kinds}, indent=2) + "\n"


def _found_json(what: str, found: Sequence[Meaning]) -> str:
    told: dict[str, Any] = {
        "what": what,
        "meanings": [_meaning_json(each) for each in found],
    }
    if not found:
        told["near"] = list(near(what))
    return json.dumps(told, indent=2) + "\n"


def _meaning_json(meaning: Meaning) -> dict[str, Any]:
    told: dict[str, Any] = {"is": meaning.sort, "name": meaning.name}
    told["says"] = meaning.says or (meaning.course.says if meaning.course else "")
    if meaning.by is not None:
        told["by"] = meaning.by
        told["evidence"] = meaning.evidence
    if meaning.facts:
        told["facts"] = dict(meaning.facts)
    if meaning.rows:
        told["rows"] = [_row_json(row) for row in meaning.rows]
    if meaning.text:
        told["text"] = meaning.text
    if meaning.course is not None:
        told["fault"] = _course_json(meaning.course)
    return told


def _course_json(course: Course) -> dict[str, Any]:
    return {
        "kind": course.kind,
        "says": course.says,
        "rungs": [_rung_json(rung) for rung in course.ladder.rungs],
        "summary_rungs": [_rung_json(rung) for rung in course.ladder.summary],
        "afterwards": course.ladder.afterwards,
        "script": course.script,
        "suspends": course.suspends,
        "bounds": BUDGET,
        "kept": KEPT,
    }


def _rung_json(rung: Rung) -> dict[str, Any]:
    becomes = [remedy.value for remedy in rung.becomes]
    told = {"remedy": rung.remedy.value, "says": rung.says, "bound": rung.often}
    return {**told, "at_most": rung.at_most, "becomes": becomes}


def _row_json(row: Transition) -> dict[str, Any]:
    return {
        "source": row.source,
        "trigger": row.trigger,
        "target": row.target,
        "guard": None if row.guard is None else row.guard.says,
        "effect": row.effect.value,
        "says": row.says,
    }
