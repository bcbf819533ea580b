"""What is told of remedies, suspensions and the prompt cache: once, briefly, truly."""

import re
import time
from collections.abc import Sequence

import attrs
import pytest

from turnlatch.cli.demo_act import show
from turnlatch.cli.footer import Progress, Standing, footer, progress_of
from turnlatch.cli.hints import (
    PREFIX_TOKENS_MIN,
    afterwards,
    in_chat,
    miss_words,
    next_step,
    remedy_words,
)
from turnlatch.cli.terminal import Look
from turnlatch.cli.transcript import Transcript, log_lines
from turnlatch.cli.words import BUDGET
from turnlatch.result import Turn
from turnlatch.watching.events import Cursor, Recorded, StreamEvent, TurnEnded
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.machine.events import (
    CompactionConfirmed,
    CompactionSent,
    Event,
    RemedyChosen,
    RequestSent,
    TurnFailed,
    TurnRetried,
    TurnSuspended,
)
from turnlatch_states.machine.remedy import SAYS, Remedy
from turnlatch_states.machine.snapshot import Move, Suspension
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.request.profile import Purpose

AT = Cursor()
HERE = Standing(False, "m", "notes")
POOR = Fault(
    FaultKind.BILLING,
    "Your credit balance is too low",
    402,
    "billing_error",
    request_id="req_1",
)
BUSY = Fault(FaultKind.TRANSIENT, "Overloaded", 529, "overloaded_error")
UNTIL = 1_790_000_000.0


def turn(
    state: TurnState = TurnState.FAILED,
    fault: Fault | None = None,
    suspended: Suspension | None = None,
    replies: tuple[Reply, ...] = (),
) -> Turn:
    made = Turn(1, state, Purpose.MESSAGE, replies, (), Usage(), (), fault, 1, 3)
    return attrs.evolve(made, suspended=suspended)


def changed(tokens: int, at: int = 1234) -> Recorded:
    why = "the settings are others"
    change = PrefixChange("settings", at, b"a", b"b", tokens, why)
    return Recorded(AT, 1, RequestSent(1, 1), prefix_change=change)


def moved(event: Event, trigger: str, source: str, target: str) -> Recorded:
    return Recorded(AT, 1, event, Move(trigger, source, target))


FAILED = moved(TurnFailed(1, 1, POOR), "fail", "sent", "failed")
COMPACTED = ("compacted", "compacting", "pending")


def told(*happened: StreamEvent, stopped: bool = False) -> list[str]:
    """The lines that a transcript has of it."""
    transcript = Transcript(Look(), lambda: 100, lambda _: [])
    transcript.stopped = stopped
    return "".join(transcript.tell(each, 0.0) for each in happened).splitlines()


def state_line(now: float, *happened: StreamEvent) -> str:
    progress = progress_of([(100.0, each) for each in happened])
    return footer(progress, HERE, now, Look(), 110)[0]


def replied(meta: bytes) -> Reply:
    return Reply(b"", meta)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_chat_never_tells_anybody_to_call_a_function(kind: FaultKind) -> None:
    hint = afterwards(kind)

    assert hint
    assert "(" not in hint
    assert "=" not in hint
    assert "(" not in in_chat(BUDGET)


@pytest.mark.parametrize("remedy", Remedy)
def test_a_remedy_is_one_line_in_words(remedy: Remedy) -> None:
    why = "413 request_too_large: \x1b[31mno"
    tried = Recorded(AT, 1, RemedyChosen(1, remedy, why))

    (line,) = told(tried)

    assert line == f"  · {remedy_words(remedy)}"
    told_otherwise = remedy in (Remedy.BISECT, Remedy.SKIP)
    assert told_otherwise or SAYS[remedy] in line
    assert log_lines(tried, "10:31:04") == [
        f"10:31:04 turn=1 remedy={remedy} (413 request_too_large: \\x1b[31mno)"
    ]


def test_search_is_printed_with_its_finding() -> None:
    assert remedy_words(Remedy.BISECT) == (
        "bisect: leave out the refused part, which trials have found"
    )


def test_a_suspended_turn_says_why_and_what_to_do() -> None:
    waits = Suspension(POOR.message)

    lines = told(
        FAILED,
        Recorded(AT, 1, TurnSuspended(1, POOR.message)),
        TurnEnded(AT, turn(fault=POOR, suspended=waits)),
    )

    assert lines == [
        "  ✕ turn 1 suspended: 402 billing_error: Your credit balance is too low (req_1)",
        "    kept: your message, 3 confirmed exchanges",
        "    next: restore the credit or raise the limit, then /retry; a new message"
        " drops this one",
    ]


def test_a_wait_that_is_too_long_says_when_it_is_over() -> None:
    why = "the server asks to wait 300 s"
    ended = turn(fault=BUSY, suspended=Suspension(why, UNTIL))
    clock = time.strftime("%H:%M:%S", time.localtime(UNTIL))

    lines = told(TurnEnded(AT, ended))

    assert lines[0] == f"  ✕ turn 1 suspended: {why} (529 overloaded)"
    assert lines[2].startswith(f"    next: /retry after {clock};")
    assert next_step(ended) == f"/retry after {clock}"


def test_a_failed_turn_says_what_can_be_done_about_its_kind() -> None:
    refused = Fault(FaultKind.TOO_LONG, "too large", 413, "request_too_large")

    lines = told(TurnEnded(AT, turn(fault=refused)))

    assert lines[0] == "  ✕ turn 1 failed: 413 request_too_large: too large"
    assert lines[2].startswith("    next: say something shorter, or /undo;")


def test_a_turn_that_was_stopped_is_not_blamed_on_what_it_waited_out() -> None:
    lines = told(TurnEnded(AT, turn(fault=BUSY)), stopped=True)

    assert lines[0].startswith("  ↻ interrupted.  kept: your message")
    assert lines[1].startswith("    next: /retry, or say something else;")


def test_expensive_change_of_the_prefix_is_printed_once_a_turn() -> None:
    dear = changed(12_345)
    ended = TurnEnded(AT, turn(TurnState.CONFIRMED))

    assert told(dear, dear, changed(12_345)) == [
        "  · cache: the settings are others; up to 12,345 tokens are read again"
        " (settings, byte 1,234)"
    ]
    assert len(told(dear, changed(12_345, at=9))) == 2
    assert len(told(dear, ended, dear)) == 2
    assert told(changed(PREFIX_TOKENS_MIN - 1)) == []
    assert log_lines(changed(PREFIX_TOKENS_MIN - 1), "-") == []
    (line,) = log_lines(dear, "10:31:04")
    assert line.startswith("10:31:04 turn=1 cache: the settings are others;")


def test_smaller_context_within_a_turn_is_printed() -> None:
    lines = told(
        moved(CompactionSent(1, 2, 1), "compact", "failed", "compacting"),
        moved(CompactionConfirmed(1, 2, replied(b"{}")), *COMPACTED),
    )

    assert lines[-1] == "  the smaller context is in force; nothing was deleted"


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        (
            b'{"diagnostics":{"cache_miss_reason":{"type":"tools_changed"}}}',
            "tools_changed",
        ),
        (
            b'{"diagnostics":{"cache_miss_reason":{"type":"model_changed",'
            b'"cache_missed_input_tokens":7919}}}',
            "model_changed, 7,919 tokens",
        ),
        (
            b'{"diagnostics":{"cache_miss_reason":{"type":"\\u001b[31m",'
            b'"cache_missed_input_tokens":"many"}}}',
            "\\x1b[31m",
        ),
        (b'{"diagnostics":{"cache_miss_reason":{"type":"unavailable"}}}', ""),
        (b'{"diagnostics":{"cache_miss_reason":null}}', ""),
        (b"{}", ""),
    ],
)
def test_a_missed_cache_stands_in_the_footer(meta: bytes, shown: str) -> None:
    ended = turn(TurnState.CONFIRMED, replies=(replied(meta),))

    assert miss_words(ended) == shown
    line = state_line(101.0, TurnEnded(AT, ended))
    assert line.endswith(f" · cache missed: {shown}" if shown else "s")


@pytest.mark.parametrize(
    ("now", "until", "shown"),
    [
        (UNTIL, None, "402 billing · suspended · /retry  /why"),
        (UNTIL - 299.5, UNTIL, "suspended for 5 min 0 s · /retry"),
        (UNTIL + 1, UNTIL, "the wait is over · /retry"),
    ],
)
def test_footer_shows_a_suspension_and_its_end(
    now: float, until: float | None, shown: str
) -> None:
    waits = Suspension("no credit", until)
    ended = TurnEnded(AT, turn(fault=POOR, suspended=waits))

    assert shown in state_line(now, FAILED, ended)
    assert shown.partition(" · /retry")[0] in state_line(now, FAILED, ended)


def test_the_footer_does_not_offer_a_retry_while_a_remedy_is_sought() -> None:
    line = state_line(130.0, FAILED)

    assert "402 billing · looking for a remedy 30 s" in line
    assert "/retry" not in line


def test_nothing_of_a_suspension_is_left_once_it_goes_on() -> None:
    happened: Sequence[StreamEvent] = (
        FAILED,
        Recorded(AT, 1, TurnSuspended(1, "no credit")),
        moved(TurnRetried(1, asked=True), "retry", "failed", "pending"),
    )

    assert progress_of([(0.0, each) for each in happened[:2]]).suspended is not None
    assert progress_of([(0.0, each) for each in happened]).suspended is None
    assert Progress().suspended is None


def test_demo_prints_the_hints_too(capsys: pytest.CaptureFixture[str]) -> None:
    show(Recorded(AT, 1, RemedyChosen(1, Remedy.SHRINK, "too long")))
    show(Recorded(AT, 1, TurnSuspended(1, "no credit")))
    show(changed(12_345))
    show(changed(1))

    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert [line.strip().partition("  ")[2][:12] for line in out] == [
        *("· shrink: sh", "suspended: n", "· cache: the")
    ]
