"""What stays in the scroll-back of a chat: each thing once, when it is certain.

Text is shown while it arrives, before anybody knows whether it will be history. When an
attempt fails after all, a line under it says so.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, assert_never, cast, final

from turnlatch.cli.footer import attempt, brief, duration
from turnlatch.cli.hints import afterwards, next_step, prefix_words, remedy_words
from turnlatch.cli.page import INDENT, Flow, wrapped
from turnlatch.cli.terminal import Ink, Look, clip, one_line
from turnlatch.ports import BlockOpened, TextDelta, ThinkingDelta
from turnlatch.result import CallReport, Turn
from turnlatch.watching.events import (
    Arrived,
    Missed,
    Progressed,
    Recorded,
    StreamEvent,
    TurnEnded,
)
from turnlatch_states.api.bounds import waited
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.fsm.printable import escape
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Move
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.request.profile import Purpose

SPEAKER = "claude"


@final
class Transcript:
    """One conversation's stream events as text for the scroll-back.

    Args:
        look: How things are shown.
        width: The width of the window now.
        replies: The confirmed texts of a turn, by its number.
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
        turn: int = 0,
    ) -> None:
        self._look = look
        self._width = width
        self._replies = replies
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

    def tell(self, event: StreamEvent, at: float) -> str:
        """The text to print for a stream event; empty for most."""
        match event:
            case Recorded():
                return self._recorded(event, at)
            case Arrived():
                return self._arrived(event.delta)
            case Progressed():
                dot = self._look.glyph("dot")
                return self.note(f"{dot} {event.name}: {escape(event.text)}")
            case TurnEnded():
                return self._ended(event.turn)
            case Missed():
                missed = counted(event.count, "thing that happened is", "things are")
                return self.note(f"! {missed} not shown: this terminal fell behind")
            case _:
                assert_never(event)

    def _recorded(self, entry: Recorded, at: float) -> str:
        said = ""
        if entry.prefix_change is not None:
            said += self._prefix_changed(entry.prefix_change)
        if entry.move is not None:
            said += self._moved(entry, entry.move)
        said += "".join(self._call_moved(call, at) for call in entry.calls)
        return said + self._noted(entry.event)

    def _noted(self, event: Event) -> str:
        """The text for what an event says in addition to its move and its calls."""
        if isinstance(event, ev.MoveEvent | ev.CallEvent | ev.CallerEvent):
            return ""
        match event:
            case ev.RetryScheduled():
                self._waited += waited(event.wait_seconds)
                return ""
            case ev.RemedyChosen():
                words = remedy_words(event.remedy)
                return self.note(f"{self._look.glyph('dot')} {words}")
            case ev.Probed() | ev.TurnSuspended() | ev.RetryCancelled():
                return ""  # the footer shows these
            case _:
                assert_never(event)

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

    def _arrived(self, delta: BlockOpened | TextDelta | ThinkingDelta) -> str:
        match delta:
            case TextDelta(text=text):
                self._shown += len(text)
                return self._heading() + self._flow.feed(text, self._width())
            case BlockOpened():
                # A new block of text after another one is a new paragraph.
                return self._flow.end(self._width()) if delta.index else ""
            case ThinkingDelta():
                return ""  # the footer shows it
            case _:
                assert_never(delta)

    def _heading(self) -> str:
        if self._named:
            return ""
        self._named = True
        return self._look.ink(self.speaker, "bold") + "\n"

    def _moved(self, entry: Recorded, move: Move) -> str:
        if entry.turn != self._turn:
            self._turn, self._confirmed = entry.turn, 0
        match move.target:
            case "sent":
                self._shown = 0
                return ""
            case "failed":
                failed = entry.event
                if isinstance(failed, ev.TurnFailed) and move.source != "confirmed":
                    self._failures.append(brief(failed.fault))
                return self._partial()
            case "confirmed":
                return self._whole(entry.turn, move)
            case "pending" if move.trigger == "compacted":
                return self.note(_SMALLER)
            case "compacting":
                self._shown = 0
                return self.note("making a smaller context; the old one is in force")
            case _:
                return ""

    def _prefix_changed(self, change: PrefixChange) -> str:
        words = prefix_words(change)
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

    def _whole(self, turn: int, move: Move) -> str:
        said = ""
        if move.trigger == "compacted":
            said = self.note(_SMALLER)
        else:
            texts = self._replies(turn)
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

    def _call_moved(self, call: CallReport, at: float) -> str:
        bar = self._look.glyph("bar")
        name = one_line(call.name)
        if call.state is CallState.STARTED:
            self._began[call.id] = at
            self._named = False
            return self.note(self._cut(f"{bar} {name} {shown_arguments(call)}"))
        if call.state is CallState.ASKED:
            return self.note(self._cut(f"? {name} waits for you"), "yellow")
        if call.state is CallState.UNKNOWN:
            told = f"{bar} {name}: outcome unknown, asking the tool"
            return self.note(self._cut(told), "yellow")
        if call.state is CallState.CLOSED and call.closing is not None:
            to = self._look.glyph("to")
            spent = at - self._began.pop(call.id, at)
            how = str(call.closing.value)
            if call.closing in (Closing.RESULT, Closing.ERROR):
                how = f"{how}: {shown_result(call)}"
            took = f"  {duration(spent)}" if spent >= 0.05 else ""
            ink: Ink = "yellow" if call.closing is Closing.UNKNOWN else "dim"
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


def log_lines(entry: Recorded, clock: str) -> list[str]:
    """A journal entry as plain lines for a log or a pipe; none for one that moves nothing
    and has nothing to add."""
    lines = [] if entry.prefix_change is None else [prefix_words(entry.prefix_change)]
    if (move := entry.move) is not None:
        line = f"{move.source}->{move.target} {move.trigger}"
        if isinstance(entry.event, ev.TurnFailed):
            fault = entry.event.fault
            line = " ".join([line, brief(fault), *filter(None, [fault.request_id])])
        lines.append(line)
    for call in entry.calls:
        closing = "" if call.closing is None else f" ({call.closing})"
        lines.append(f"call={call.id} {call.name} {call.state}{closing}")
    lines.append(_log_words(entry.event))
    return [one_line(f"{clock} turn={entry.turn} {line}") for line in lines if line]


def _log_words(event: Event) -> str:
    """The words for an event whose move and calls do not say it all; empty for most."""
    if isinstance(event, ev.MoveEvent | ev.CallEvent):
        return ""
    match event:
        case ev.RetryScheduled():
            return f"failed retry={attempt(event)} in={waited(event.wait_seconds):.1f}s"
        case ev.RemedyChosen():
            return f"remedy={event.remedy} ({event.why})"
        case ev.TurnSuspended():
            return f"suspended ({event.why})"
        case ev.Probed() if event.about is not ev.Question.SEARCH:
            return f"trial {'passed' if event.passed else 'refused'} ({event.question})"
        case ev.Steered():
            return "steered"
        case (
            ev.ConversationOpened()
            | ev.ProfileChanged()
            | ev.Forked()
            | ev.TurnOpened()
            | ev.RetryCancelled()
            | ev.Probed()
            | ev.Pinned()
            | ev.TurnAbandoned()
            | ev.Rewound()
        ):
            return ""
        case _:
            assert_never(event)
