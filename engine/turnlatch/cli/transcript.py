"""What stays in the scroll-back of a chat: each thing once, when it is certain.

Text is shown while it arrives, before anybody knows whether it will be history. When an
attempt fails after all, a line under it says so.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, assert_never, cast, final

from turnlatch.cli.footer import brief, duration
from turnlatch.cli.hints import afterwards, next_step, prefix_words, remedy_words
from turnlatch.cli.page import INDENT, Flow, wrapped
from turnlatch.cli.terminal import Ink, Look, clip, one_line
from turnlatch.result import CallReport, Turn
from turnlatch.watching.events import (
    BlockBegan,
    CallMoved,
    Happening,
    Missed,
    Moved,
    PrefixChanged,
    RemedyTried,
    Steered,
    Suspended,
    TextArrived,
    ThinkingArrived,
    TrialMade,
    TurnEnded,
    Waiting,
)
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.fsm.printable import escape
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.request.profile import Purpose

SPEAKER = "claude"


@final
class Transcript:
    """Tells one conversation's happenings as text for the scroll-back.

    Args:
        look: How things are shown.
        width: The width of the window now.
        replies: The confirmed texts of a turn, by its number.
        call: The report of a call of the current turn, by its id.
        turn: Number of the turn that may go on, if there is one.

    Attributes:
        stopped: The person stopped the turn that goes on.
        speaker: Who answers.
    """

    def __init__(
        self,
        look: Look,
        width: Callable[[], int],
        replies: Callable[[int], list[str]],
        call: Callable[[str], CallReport | None],
        turn: int = 0,
    ) -> None:
        self._look = look
        self._width = width
        self._replies = replies
        self._call = call
        self.speaker = SPEAKER
        self._flow = Flow()
        self._named = False  # the speaker's name stands over what follows
        self._shown = 0  # characters of this attempt that are on the screen
        self._index = 0  # the block the text belongs to
        self.stopped = False
        self._turn = turn
        self._confirmed = len(replies(turn))  # replies of this turn, confirmed
        self._failures: list[str] = []
        self._waited = 0.0
        self._began: dict[str, float] = {}
        self._prefix = ""  # what was told of the prompt cache last

    def tell(self, happening: Happening, at: float) -> str:
        """The text to print for a happening; empty for most."""
        match happening:
            case TextArrived():
                return self._text(happening)
            case Moved():
                return self._moved(happening)
            case CallMoved():
                return self._call_moved(happening, at)
            case Waiting():
                self._waited += happening.wait_seconds
                return ""
            case RemedyTried():
                words = remedy_words(happening.remedy)
                return self.note(f"{self._look.glyph('dot')} {words}")
            case PrefixChanged():
                return self._prefix_changed(happening)
            case BlockBegan():
                # A new block of text after another one is a new paragraph.
                return self._flow.end(self._width()) if happening.index else ""
            case TurnEnded():
                return self._ended(happening.turn)
            case Missed():
                missed = counted(
                    happening.count, "thing that happened is", "things are"
                )
                return self.note(f"! {missed} not shown: this terminal fell behind")
            case ThinkingArrived() | TrialMade() | Suspended() | Steered():
                return ""  # the footer shows these
            case _:
                assert_never(happening)

    def note(self, text: str, ink: Ink = "dim", *, drawn: bool = False) -> str:
        """The chat's lines, below the current line; `drawn` ones are cut, not wrapped."""
        width = self._width()
        said = self._flow.end(width)
        return said + self._inked(text, ink, drawn=drawn)

    def _inked(self, text: str, ink: Ink, *, drawn: bool = False) -> str:
        said: list[str] = []
        width = self._width()
        for line in text.split("\n"):
            room = width - len(INDENT)
            if drawn:
                broken = [clip(line, room, self._look.glyph("more"))]
            else:
                broken = wrapped(line, room)
            said += (f"{INDENT}{self._look.ink(piece, ink)}\n" for piece in broken)
        return "".join(said)

    def said(self, text: str, note: str) -> str:
        """A message typed while the turn runs, with a note on its delivery."""
        broken = self._flow.aside()
        self._named = False  # what goes on below has its speaker's name again
        lines = escape(text).split("\n")
        shown = "\n       ".join(lines)
        return f"{broken}{self._look.ink('you >', 'bold')} {shown}\n" + self._inked(
            note, "dim"
        )

    def _text(self, arrived: TextArrived) -> str:
        self._shown += len(arrived.text)
        return self._heading() + self._flow.feed(arrived.text, self._width())

    def _heading(self) -> str:
        if self._named:
            return ""
        self._named = True
        return self._look.ink(self.speaker, "bold") + "\n"

    def _moved(self, moved: Moved) -> str:
        if moved.turn != self._turn:
            self._turn, self._confirmed = moved.turn, 0
        match moved.target:
            case "sent":
                self._shown = 0
                return ""
            case "failed":
                if moved.fault is not None and moved.source != "confirmed":
                    self._failures.append(brief(moved.fault))
                return self._partial()
            case "confirmed":
                return self._whole(moved)
            case "pending" if moved.trigger == "compacted":
                return self.note(_SMALLER)
            case "compacting":
                self._shown = 0
                return self.note("making a smaller context; the old one is in force")
            case _:
                return ""

    def _prefix_changed(self, changed: PrefixChanged) -> str:
        words = prefix_words(changed)
        if not words or words == self._prefix:
            return ""  # an attempt that is made again changes the same
        self._prefix = words
        return self.note(f"{self._look.glyph('dot')} {words}")

    def _partial(self) -> str:
        if not self._shown:
            return ""
        self._shown = 0
        self._named = False
        return self.note("! (partial answer, not in history)", "yellow")

    def _whole(self, moved: Moved) -> str:
        said = ""
        if moved.trigger == "compacted":
            said = self.note(_SMALLER)
        else:
            texts = self._replies(moved.turn)
            if not self._shown and self._confirmed < len(texts):
                # Nothing of it was shown: its pieces were missed.
                text = texts[self._confirmed]
                if text:
                    said = self._heading() + self._flow.feed(text, self._width())
            self._confirmed += 1
        said += self._flow.end(self._width())
        self._shown = 0
        return said + self._collapsed()

    def _collapsed(self) -> str:
        """The retries that led here, as one line."""
        failures, self._failures = self._failures, []
        waited, self._waited = self._waited, 0.0
        if not failures:
            return ""
        reasons = ", ".join(dict.fromkeys(failures))
        line = f"{self._look.glyph('retried')} retried {len(failures)}x ({reasons})"
        if waited:
            line += f", waited {duration(waited)}"
        return self.note(line)

    def _call_moved(self, moved: CallMoved, at: float) -> str:
        bar = self._look.glyph("bar")
        name = one_line(moved.name)
        report = self._call(moved.call)
        if moved.state is CallState.STARTED:
            self._began[moved.call] = at
            self._named = False
            given = "" if report is None else shown_arguments(report)
            return self.note(self._cut(f"{bar} {name} {given}"))
        if moved.state is CallState.ASKED:
            return self.note(self._cut(f"? {name} waits for you"), "yellow")
        if moved.state is CallState.UNKNOWN:
            told = f"{bar} {name}: outcome unknown, asking the tool"
            return self.note(self._cut(told), "yellow")
        if moved.state is CallState.CLOSED and moved.closing is not None:
            to = self._look.glyph("to")
            spent = at - self._began.pop(moved.call, at)
            how = str(moved.closing.value)
            if moved.closing in (Closing.RESULT, Closing.ERROR) and report is not None:
                how = f"{how}: {shown_result(report)}"
            took = f"  {duration(spent)}" if spent >= 0.05 else ""
            ink: Ink = "yellow" if moved.closing is Closing.UNKNOWN else "dim"
            return self.note(self._cut(f"{bar} {name} {to} {how}") + took, ink)
        return ""

    def _cut(self, line: str) -> str:
        room = max(20, min(self._width(), 100) - 12)
        return clip(line, room, self._look.glyph("more"))

    def _ended(self, turn: Turn) -> str:
        partial = self._partial()
        said = self._flow.end(self._width())
        self._named = False
        self._failures = []
        self._waited = 0.0
        self._began = {}
        self._prefix = ""
        if turn.fault is not None:
            # A wait that is stopped keeps the fault that it was waiting out.
            stopped = self.stopped or turn.fault.kind is FaultKind.CANCELLED
            ink: Ink = "red" if turn.suspended is None else "yellow"
            ink = "dim" if stopped else ink
            said += partial + self.note(self._failed(turn, stopped=stopped), ink)
        self.stopped = False
        return said

    def _failed(self, turn: Turn, *, stopped: bool) -> str:
        """The report on a turn that stopped."""
        look, fault = self._look, turn.fault
        assert fault is not None
        spoken = turn.purpose is Purpose.MESSAGE
        kept = ["your message"] if spoken else []
        done = [c for c in turn.calls if c.closing in (Closing.RESULT, Closing.ERROR)]
        if done:
            kept.append(counted(len(done), "finished tool result"))
        kept.append(counted(turn.exchanges, "confirmed exchange"))
        what = f"kept: {', '.join(kept)}"
        if stopped:
            lines = [f"{look.glyph('retried')} interrupted.  {what}"]
        else:
            lines = [f"{look.glyph('failed')} {ending(turn)}", INDENT + what]
        lines += [
            f'{INDENT}closed: {one_line(c.name)} {one_line(c.id)}: "{c.closing}"'
            for c in turn.calls
            if c.closing in _CLOSED_BY_US
        ]
        hint = afterwards(FaultKind.CANCELLED) if stopped else next_step(turn)
        dropped = "; a new message drops this one" if spoken else ""
        lines.append(f"{INDENT}next: {hint}{dropped}")
        return "\n".join(lines)


def ending(turn: Turn) -> str:
    """How a turn that failed came to rest, and why, on one line."""
    spoken = turn.purpose is Purpose.MESSAGE
    name = f"turn {turn.number}" if spoken else "compaction"
    waits, fault = turn.suspended, turn.fault
    if waits is None or fault is None:
        return one_line(f"{name} failed: {fault}")
    if waits.until is None:
        return one_line(f"{name} suspended: {fault}")
    return one_line(f"{name} suspended: {waits.why} ({brief(fault)})")


def counted(number: int, thing: str, things: str = "") -> str:
    """`no things`, `1 thing`, `2 things`."""
    return f"{number or 'no'} {thing if number == 1 else things or thing + 's'}"


_SMALLER: Final = "the smaller context is in force; nothing was deleted"
_CLOSED_BY_US: Final = (Closing.UNKNOWN, Closing.NOT_EXECUTED, Closing.CUT_OFF)


def shown_arguments(report: CallReport) -> str:
    """A call's arguments as one line of JSON, escaped, and equal to what would run.

    A break of the line may stand for one space, so whatever else is white is escaped.
    """
    if report.input is None:
        return "(arguments cut off)"
    said = escape(json.dumps(dict(report.input), ensure_ascii=False))
    return _WHITE.sub(lambda run: "".join(map(_spelt, run.group())), said)


_WHITE: Final = re.compile(r" {2,}|[^\S ]")


def _spelt(char: str) -> str:
    return f"\\u{ord(char):04x}"


def shown_result(report: CallReport) -> str:
    """The first line of a call's result, escaped."""
    if not report.result:
        return ""
    block: dict[str, Any] = json.loads(report.result)
    content = block.get("content")
    text = content if isinstance(content, str) else json.dumps(content)
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)  # as we built it
        text = "\n".join(str(part.get("text", "")) for part in parts)
    lines = escape(text).strip().split("\n")
    more = f" (+{len(lines) - 1} lines)" if len(lines) > 1 else ""
    return one_line(lines[0]) + more


def transition_line(happening: Happening, clock: str) -> str | None:
    """One plain line for a log or a pipe; None for a happening other than a transition."""
    match happening:
        case Moved():
            line = (
                f"{clock} turn={happening.turn}"
                f" {happening.source}->{happening.target} {happening.trigger}"
            )
            if happening.fault is not None:
                line += f" {brief(happening.fault)}"
                if happening.fault.request_id:
                    line += f" {happening.fault.request_id}"
        case Waiting():
            line = (
                f"{clock} turn={happening.turn} failed"
                f" retry={happening.failures + 1}/{happening.attempts_max}"
                f" in={happening.wait_seconds:.1f}s"
            )
        case RemedyTried():
            line = (
                f"{clock} turn={happening.turn} remedy={happening.remedy}"
                f" ({happening.why})"
            )
        case Suspended():
            line = f"{clock} turn={happening.turn} suspended ({happening.why})"
        case PrefixChanged():
            words = prefix_words(happening)
            if not words:
                return None
            line = f"{clock} turn={happening.turn} {words}"
        case TrialMade():
            how = "passed" if happening.passed else "refused"
            line = f"{clock} turn={happening.turn} trial {how} ({happening.question})"
        case Steered():
            line = f"{clock} turn={happening.turn} said waiting={happening.waiting}"
        case CallMoved():
            line = (
                f"{clock} turn={happening.turn} call={happening.call}"
                f" {happening.name} {happening.state}"
            )
            if happening.closing is not None:
                line += f" ({happening.closing})"
        case BlockBegan() | TextArrived() | ThinkingArrived() | TurnEnded() | Missed():
            return None
        case _:
            assert_never(happening)
    return one_line(line)
