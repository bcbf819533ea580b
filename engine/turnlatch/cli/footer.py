"""The two lines that are always true: where the turn stands, and who answers.

The footer is a pure function of what happened so far and of the clock. It holds no timer
and is told nothing twice, so it cannot show a countdown that stands still, or a retry
that is over.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, assert_never, final

import attrs

from turnlatch.cli.hints import miss_words
from turnlatch.cli.terminal import Glyph, Ink, Look, cells, clip, one_line
from turnlatch.ports import BlockOpened, TextDelta, ThinkingDelta
from turnlatch.result import CallReport
from turnlatch.watching.events import (
    Arrived,
    Missed,
    Progressed,
    Recorded,
    StreamEvent,
    TurnEnded,
)
from turnlatch_states.api.bounds import bounded_moment, waited
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, expired
from turnlatch_states.machine.events import Event, RetryScheduled
from turnlatch_states.machine.snapshot import Move, Suspension

SILENT_AFTER_SECONDS: Final = 5.0
"""Silence in a reply that is worth a word."""

Line: TypeAlias = Sequence[tuple[str, Ink]]
"""Escaped text in pieces, each in one colour."""

_INKS: Final[dict[str, Ink]] = {
    "pending": "cyan",
    "sent": "cyan",
    "confirmed": "green",
    "failed": "red",
    "compacting": "yellow",
}


@final
@attrs.frozen
class Standing:
    """The facts that stay the same between turns.

    Attributes:
        live: False if the simulator answers, or has answered before.
        model: The model id.
        name: The conversation.
        turns: Number of the last turn.
        tokens_in: Tokens read so far, cached ones included.
        tokens_out: Tokens written so far.
    """

    live: bool
    model: str
    name: str
    turns: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@final
@attrs.frozen
class Progress:
    """The state of the current turn, folded from its stream events.

    Attributes:
        state: The turn's state, by name; empty before the first.
        turn: Its number; 0 before the first.
        began: When the turn began.
        since: When it came into its state.
        heard: When a piece of the reply last arrived; None if none has.
        doing: The kind of block that is arriving, in a word.
        chars: Characters of text that arrived in this attempt.
        failures: Attempts in a row that failed.
        waiting: The wait that is going on.
        waited: Seconds of waits that are over, since the last confirmed reply.
        fault: Why it failed last.
        running: Calls that run now: id, name and when each started.
        ended: When the turn came to rest; None while it goes on.
        awaiting: Calls that wait for a person's yes.
        expires: When the first of them does not wait any more, if one does not.
        suspended: The external condition that the turn waits for, if any.
        missed: Why the prompt cache could not serve it, in words.
    """

    state: str = ""
    turn: int = 0
    began: float = 0.0
    since: float = 0.0
    heard: float | None = None
    doing: str = ""
    chars: int = 0
    failures: int = 0
    waiting: RetryScheduled | None = None
    waited: float = 0.0
    fault: Fault | None = None
    running: tuple[tuple[str, str, float], ...] = ()
    ended: float | None = None
    awaiting: int = 0
    expires: float | None = None
    suspended: Suspension | None = None
    missed: str = ""

    def after(self, event: StreamEvent, at: float) -> "Progress":
        """The progress after a stream event at that time."""
        match event:
            case Recorded():
                now = self if event.move is None else self._moved(event, event.move, at)
                now = attrs.evolve(now, running=now._running(event.calls, at))
                return now._after_entry(event.event)
            case Arrived():
                return self._arrived(event.delta, at)
            case Missed() | Progressed():
                return self
            case TurnEnded(turn=turn):
                asked = turn.awaiting
                expiring = [one.expires for one in asked if one.expires is not None]
                return attrs.evolve(
                    self,
                    state=str(turn.state),
                    turn=turn.number,
                    waiting=None,
                    fault=turn.fault,
                    running=(),
                    ended=at,
                    awaiting=len(asked),
                    expires=min(expiring, default=None),
                    suspended=turn.suspended,
                    missed=miss_words(turn),
                )
            case _:
                assert_never(event)

    def _after_entry(self, event: Event) -> "Progress":
        """The progress after what an event says in addition to its move and its calls."""
        if isinstance(event, ev.CallEvent | ev.CallerEvent):
            return self
        match event:
            case ev.TurnFailed():
                return attrs.evolve(self, fault=event.fault)
            case ev.RetryScheduled():
                # A record that another program wrote may hold any number.
                seconds, due = waited(event.wait_seconds), bounded_moment(event.due)
                wait = attrs.evolve(event, wait_seconds=seconds, due=due)
                return attrs.evolve(self, waiting=wait)
            case ev.RemedyChosen():
                return attrs.evolve(self, doing=str(event.remedy))
            case ev.Probed() if event.about is not ev.Question.SEARCH:
                return attrs.evolve(self, doing="finding what is refused")
            case ev.TurnSuspended():
                waits = Suspension(event.why, event.until)
                return attrs.evolve(self, suspended=waits)
            case (
                ev.RequestSent()
                | ev.ReplyConfirmed()
                | ev.TurnRetried()
                | ev.TurnContinued()
                | ev.CompactionSent()
                | ev.CompactionConfirmed()
                | ev.Probed()
                | ev.RetryCancelled()
            ):
                return self
            case _:
                assert_never(event)

    def _arrived(
        self, delta: BlockOpened | TextDelta | ThinkingDelta, at: float
    ) -> "Progress":
        match delta:
            case BlockOpened():
                doing = "thinking" if "thinking" in delta.type else "answering"
                if delta.name:
                    doing = f"asking for {delta.name}"
                return attrs.evolve(self, heard=at, doing=doing)
            case TextDelta():
                chars = self.chars + len(delta.text)
                return attrs.evolve(self, heard=at, doing="streaming", chars=chars)
            case ThinkingDelta():
                return attrs.evolve(self, heard=at, doing="thinking")
            case _:
                assert_never(delta)

    def _moved(self, entry: Recorded, move: Move, at: float) -> "Progress":
        now = self
        if entry.turn != self.turn or self.ended is not None:
            now = Progress(turn=entry.turn, began=at)
        wait = now.waiting.wait_seconds if now.waiting is not None else 0.0
        now = attrs.evolve(
            now,
            state=move.target,
            since=at,
            waiting=None,
            waited=now.waited + wait,
            suspended=None,
        )
        match move.target:
            case "sent" | "compacting":
                return attrs.evolve(now, heard=None, doing="", chars=0)
            case "failed":
                return attrs.evolve(now, failures=now.failures + 1, running=())
            case "confirmed":
                return attrs.evolve(now, failures=0, waited=0.0, fault=None)
            case _:
                return now

    def _running(
        self, calls: Sequence[CallReport], at: float
    ) -> tuple[tuple[str, str, float], ...]:
        """The calls that run after some calls changed."""
        changed = {call.id for call in calls}
        still = (one for one in self.running if one[0] not in changed)
        began = (c for c in calls if c.state is CallState.STARTED)
        return (*still, *((call.id, call.name, at) for call in began))


def progress_of(happened: Iterable[tuple[float, StreamEvent]]) -> Progress:
    """The progress after a sequence of stream events, each with its time."""
    progress = Progress()
    for at, event in happened:
        progress = progress.after(event, at)
    return progress


def footer(
    progress: Progress, standing: Standing, now: float, look: Look, width: int
) -> tuple[str, str]:
    """The two lines, each at most `width` columns, in colour if `look` says so."""
    right: Line = ()
    if progress.state and progress.ended is None:
        right = (("ctrl-c stops", "dim"),)
    return (
        paint(_state_line(progress, now, look), look, width, right),
        paint(_standing_line(progress, standing, look), look, width),
    )


def paint(line: Line, look: Look, width: int, right: Line = ()) -> str:
    """A line in colour, cut to the width; `right` goes to the right edge if it fits."""
    left = width
    parts: list[str] = []
    more = look.glyph("more")
    for text, ink in line:
        if cells(text) > left:
            parts.append(look.ink(clip(text, left, more), ink))
            return "".join(parts)
        left -= cells(text)
        parts.append(look.ink(text, ink))
    taken = sum(cells(text) for text, _ in right)
    if right and taken + 2 <= left:
        parts.append(" " * (left - taken - 1))
        parts += [look.ink(text, ink) for text, ink in right]
    return "".join(parts)


def _state_line(progress: Progress, now: float, look: Look) -> Line:
    state = progress.state
    if not state:
        return (("ready", "dim"),)
    if progress.waiting is not None:
        return _retry_line(progress, progress.waiting, now, look)
    words: list[str] = []
    match state:
        case "sent":
            words += _arriving(progress, now)
        case "compacting":
            words += [duration(now - progress.since), "the old context stays in force"]
        case "confirmed" if progress.running and progress.ended is None:
            first = progress.running[0]
            names = ", ".join(one_line(one[1]) for one in progress.running)
            words += [f"running {names}", duration(now - first[2])]
        case "confirmed" if progress.awaiting:
            number = progress.awaiting
            calls = "a call awaits" if number == 1 else f"{number} calls await"
            words.append(f"{calls} your yes or no")
            if progress.expires is not None:
                left = f"{countdown(progress.expires - now)} left"
                over = expired(progress.expires, now)
                words.append("the time is over" if over else left)
        case "failed" if progress.fault is not None and progress.ended is None:
            looking = f"looking for a remedy {duration(now - progress.since)}"
            words += [brief(progress.fault), looking]
        case "failed" if progress.fault is not None:
            kept = _suspended(progress.suspended, now) or "input kept"
            words += [brief(progress.fault), kept, "/retry  /why"]
        case _ if progress.ended is not None:
            words.append(duration(progress.ended - progress.began))
            words += [f"cache missed: {progress.missed}"] if progress.missed else []
        case _:
            pass
    return (*_word(state, look), *_told(words, look))


def _suspended(waits: Suspension | None, now: float) -> str:
    if waits is None:
        return ""
    if waits.until is None:
        return "suspended"
    over = now >= waits.until
    return (
        "the wait is over" if over else f"suspended for {countdown(waits.until - now)}"
    )


def _retry_line(
    progress: Progress, waiting: RetryScheduled, now: float, look: Look
) -> Line:
    left = max(0.0, waiting.due - now)
    spent = progress.waited + max(0.0, waiting.wait_seconds - left)
    words = [f"retry {attempt(waiting)} in {countdown(left)}"]
    if progress.waited:
        words.append(f"waited {duration(spent)} so far")
    if progress.fault is not None:
        words.insert(0, brief(progress.fault))
        if progress.fault.request_id:
            words.append(one_line(progress.fault.request_id))
    return (
        *_word("failed", look),
        (f" {look.glyph('to')} ", "dim"),
        *_word("pending", look),
        *_told(words, look),
    )


def _arriving(progress: Progress, now: float) -> list[str]:
    """The words for a request in flight."""
    words: list[str] = []
    silent = now - (progress.since if progress.heard is None else progress.heard)
    if silent >= SILENT_AFTER_SECONDS:
        words.append(f"silent {duration(silent)}")
    else:
        words.append(one_line(progress.doing) or "waiting for the answer")
    if progress.chars:
        words.append(f"{progress.chars:,} characters")
    words.append(duration(now - progress.since))
    if progress.failures:
        words.append(f"attempt {progress.failures + 1}")
    return words


def _word(state: str, look: Look) -> Line:
    glyphs: dict[str, Glyph] = {
        "pending": "pending",
        "sent": "sent",
        "confirmed": "confirmed",
        "failed": "failed",
        "compacting": "compacting",
    }
    ink = _INKS.get(state, "plain")
    mark = f"{look.glyph(glyphs[state])} " if state in glyphs else ""
    return ((f"{mark}{one_line(state)}", ink),)


def _told(words: Sequence[str], look: Look) -> Line:
    joined = f" {look.glyph('dot')} ".join(words)
    return ((f"  {joined}", "dim"),) if joined else ()


def _standing_line(progress: Progress, standing: Standing, look: Look) -> Line:
    bar = f" {look.glyph('bar')} "
    number = max(progress.turn, standing.turns)
    words = [
        one_line(standing.model),
        f"turn {number}" if number else "no turn yet",
        f"{count(standing.tokens_in)} in {count(standing.tokens_out)} out",
        one_line(standing.name),
    ]
    who: tuple[str, Ink] = ("LIVE", "green") if standing.live else ("SIM", "yellow")
    return (who, (" " + bar.join(words), "dim"))


def brief(fault: Fault) -> str:
    """A fault in a few words: `529 overloaded`, `400 invalid_request`, `cancelled`."""
    if fault.kind is FaultKind.CANCELLED:
        return "interrupted"
    kind = (fault.type or "").removesuffix("_error")
    if fault.status is not None and fault.status >= 400:
        return one_line(f"{fault.status} {kind}")
    if kind:
        return one_line(kind)
    return clip(one_line(fault.message) or fault.kind.value, 48, "...")


def attempt(waiting: RetryScheduled) -> str:
    """The attempt that a wait leads to: `2/8`, or `2` where no limit was recorded."""
    return f"{waiting.failures + 1}" + f"/{waiting.attempts_max}" * bool(
        waiting.attempts_max
    )


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 5 s`, `3 h`, `30 days`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    hours = whole // 3600
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def countdown(seconds: float) -> str:
    """Whole seconds left, never less than what is left: `6 s`; `now` at the end."""
    whole = -int(-seconds // 1)
    return "now" if whole <= 0 else duration(whole) if whole >= 60 else f"{whole} s"


def count(number: int) -> str:
    """`134`, `8.4k`, `1.2M`."""
    if number < 1000:
        return str(number)
    if number < 999_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.1f}M"
