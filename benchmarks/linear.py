"""Work on text from outside grows as the text does: the ratio of twice as much to once.

Whoever writes a text chooses its shape: one word without end, characters that are two
columns wide, a bracket that never closes, a thousand calls. Each row does the same work
on one size and on twice that, by turns; work in proportion has a ratio near 2, work by
pairs one near 4.
"""

import gc
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, final

import attrs

from benchmarks.plan import Plan
from benchmarks.report import Report, Row, Target
from turnlatch.cli.ahead import Ahead
from turnlatch.cli.explain import explained
from turnlatch.cli.meanings import meanings
from turnlatch.cli.page import Flow, wrapped
from turnlatch.cli.said import read
from turnlatch.cli.terminal import Look, clip, one_line, shown
from turnlatch.cli.transcript import Transcript
from turnlatch.sdk.assembly import Assembly
from turnlatch.sdk.failures import from_status
from turnlatch.sdk.sealing import seal
from turnlatch.sdk.sse import ReplyLimits, Splitter
from turnlatch.simulator.cache import rendering
from turnlatch.simulator.fault_text import FaultScriptError, parse_faults
from turnlatch.simulator.tokens import count_request
from turnlatch.tools.jsonable import as_json
from turnlatch.tools.results import fit_result
from turnlatch_states.api.resendable import call_ids, to_resendable
from turnlatch_states.api.rules import Context, check
from turnlatch_states.request.truncate import cut_text

SIZE: Final = 20_000
RATIO_MAX: Final = 3.0
ROUNDS: Final = 5


@final
@attrs.frozen
class Work:
    """Something that is done to a text from outside.

    Attributes:
        name: What is done, to what.
        do: Does it; prepared for a size, so that only the work is measured.
        size: The smaller size.
    """

    name: str
    do: Callable[[int], Callable[[], object]]
    size: int = SIZE


def _feeds(text: str, step: int) -> Callable[[], object]:
    def do() -> object:
        flow = Flow()
        for at in range(0, len(text), step):
            flow.feed(text[at : at + step], 80)
        return flow.end(80)

    return do


def _types(data: bytes) -> Callable[[], object]:
    def do() -> object:
        line = Ahead()
        for at in range(0, len(data), 1024):
            line.feed(data[at : at + 1024])
            line.shown(Look(), 80)
        return line.text

    return do


def _fault_of(text: str) -> Callable[[], object]:
    return lambda: from_status(502, text, {}, 0.0)


def _explains(text: str) -> Callable[[], object]:
    return lambda: explained(meanings(text), Look(), 80)


def _notes(text: str) -> Callable[[], object]:
    transcript = Transcript(Look(), lambda: 80, lambda _: [])
    return lambda: transcript.note(text)


def _event(kind: str, **facts: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **facts})}\n\n"


def _streamed(inside: Iterator[str]) -> bytes:
    head: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "content": [],
        "stop_reason": None,
    }
    ended = {"stop_reason": "end_turn"}
    return "".join(
        (
            _event("message_start", message=head),
            *inside,
            _event("message_delta", delta=ended),
            _event("message_stop"),
        )
    ).encode()


def _deltas(count: int) -> Iterator[str]:
    yield _event(
        "content_block_start", index=0, content_block={"type": "text", "text": ""}
    )
    for _ in range(count):
        yield _event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": "漢"}
        )
    yield _event("content_block_stop", index=0)


def _blocks(count: int) -> Iterator[str]:
    for index in range(count):
        call: dict[str, Any] = {
            "type": "tool_use",
            "id": "same",
            "name": "f",
            "input": {},
        }
        yield _event("content_block_start", index=index, content_block=call)
        yield _event("content_block_stop", index=index)


def _puts_together(body: bytes, step: int) -> Callable[[], object]:
    def do() -> object:
        limits = ReplyLimits()
        splitter, assembly = Splitter(limits), Assembly(lambda _: None, 10**6)
        for at in range(0, len(body), step):
            assembly.take(splitter.feed(body[at : at + step]))
        return assembly.reply(None)

    return do


def _message(content: list[Any]) -> bytes:
    return json.dumps(
        {"id": "m", "type": "message", "content": content, "stop_reason": "end_turn"}
    ).encode()


def _calls(count: int, id_: str) -> list[Any]:
    return [
        {"type": "tool_use", "id": id_.format(at), "name": "f", "input": {}}
        for at in range(count)
    ]


def _body(turns: int, calls: int = 1) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "x"}]
    for at in range(turns):
        ids = [f"toolu_{at}_{call}" for call in range(calls)]
        messages.append(
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": one, "name": "f", "input": {}}
                    for one in ids
                ],
            }
        )
        messages.append(
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": one, "content": "x"}
                    for one in ids
                ],
            }
        )
    return {"model": "claude-sonnet-5-5", "max_tokens": 99, "messages": messages, "tools": [
        {"name": "f", "description": "f", "input_schema": {"type": "object"}}
    ]}  # fmt: skip


def _checks(body: dict[str, Any]) -> Callable[[], object]:
    return lambda: list(check(body, Context()))


def _tools(count: int) -> dict[str, Any]:
    schema = {"type": "object"}
    tools = [
        {"name": f"f{at}", "description": "", "input_schema": schema}
        for at in range(count)
    ]
    return {**_body(1), "tools": tools}


def _seals(body: bytes) -> Callable[[], object]:
    return lambda: seal(body, None, 10**6)


def _replays(blocks: list[Any]) -> Callable[[], object]:
    return partial(to_resendable, json.dumps(blocks)[1:-1].encode())


def _marked(turns: int) -> dict[str, Any]:
    return {**_body(turns), "cache_control": {"type": "ephemeral"}}


def _parameters(count: int) -> dict[str, Any]:
    names = [f"p{at}" for at in range(count)]
    free: dict[str, Any] = {}
    properties = dict.fromkeys(names, free)
    schema = {"type": "object", "properties": properties, "required": names}
    tool = {"name": "f", "description": "", "input_schema": schema, "strict": True}
    return {**_body(1), "tools": [tool]}


def _unanswered(count: int) -> dict[str, Any]:
    body = _body(1, count)
    body["messages"][2]["content"] = "x"
    return body


def _refuses(script: str) -> Callable[[], object]:
    def do() -> object:
        try:
            return parse_faults(script)
        except FaultScriptError as error:
            return error

    return do


WORK: Final = (
    Work("wrap wide characters", lambda n: lambda: wrapped("漢" * n, 80)),
    Work("wrap words", lambda n: lambda: wrapped("word " * (n // 5), 80)),
    Work("wrap marks that take no room", lambda n: lambda: wrapped("e\u0301" * n, 80)),
    Work("wrap spaces", lambda n: lambda: wrapped(" " * n + "x", 80)),
    Work("note with wide characters", lambda n: _notes("漢" * n)),
    Work("note of many lines", lambda n: _notes("x\n" * n)),
    Work("flow of one word, in pieces", lambda n: _feeds("漢" * n, 3)),
    Work("flow of spaces", lambda n: _feeds(" " * n + "x", 3)),
    Work("flow of lines", lambda n: _feeds("x\n" * n, 3)),
    Work("show what is hidden", lambda n: lambda: shown("\x1b\u202e" * n)),
    Work("clip wide characters", lambda n: lambda: clip("漢" * n, 80)),
    Work("one line of spaces", lambda n: lambda: one_line(" \n" * n)),
    Work("paste while a turn runs", lambda n: _types(b"\x1b[200~" + b"x" * 8 * n)),
    Work("type while a turn runs", lambda n: _types(b"x" * 4 * n)),
    Work("key that does not end", lambda n: _types(b"\x1b[" + b"0" * n)),
    Work("words taken back", lambda n: _types(b"x" + b" " * n + b"y\x17" * 50)),
    Work("read spaces before a bracket", lambda n: lambda: read("a b c" + " " * n + "x")),
    Work("read brackets", lambda n: lambda: read("a b c " + "(req_" * n)),
    Work("read a status with much before", lambda n: lambda: read("HTTP " * n + "x")),
    Work("explain a long message", lambda n: _explains("400 " + "max_tokens " * n)),
    Work("explain numbers", lambda n: _explains("input token count 1 " * n)),
    Work("explain wide characters", lambda n: _explains("漢 b c " * n)),
    Work("explain an open body", lambda n: _explains("400 " + "{" * n)),
    Work("refusal that is a page", lambda n: _fault_of("<title>" * n)),
    Work("refusal of spaces", lambda n: _fault_of(" \t" * n)),
    Work("check many turns", lambda n: _checks(_body(n)), 2_000),
    Work("check many calls", lambda n: _checks(_body(1, n)), 4_000),
    Work("check calls without results", lambda n: _checks(_unanswered(n)), 4_000),
    Work("check a strict tool", lambda n: _checks(_parameters(n)), 5_000),
    Work("check many tools", lambda n: _checks(_tools(n)), 500),
    Work("stream in bytes", lambda n: _puts_together(_streamed(_deltas(n)), 1), 300),
    Work("stream of deltas", lambda n: _puts_together(_streamed(_deltas(n)), 4096), 4_000),
    Work("stream of calls", lambda n: _puts_together(_streamed(_blocks(n)), 4096), 2_000),
    Work("seal many blocks", lambda n: _seals(_message(_calls(n, "same"))), 3_000),
    Work("name calls alike", lambda n: lambda: call_ids(["same"] * n)),
    Work("replay calls alike", lambda n: _replays(_calls(n, "")), 2_000),
    Work("cut wide characters", lambda n: lambda: cut_text("漢" * n, n)),
    Work("result as JSON", lambda n: lambda: as_json([{"k": "漢"}] * n)),
    Work("fit a result", lambda n: lambda: fit_result("c", "漢" * n, bytes_max=n)),
    Work("count a request", lambda n: partial(count_request, _body(n)), 500),
    Work("render a request", lambda n: partial(rendering, _marked(n)), 500),
    Work("read a script of faults", lambda n: _refuses("429 @1, " * n + "x"), 2_000),
)  # fmt: skip
"""Everything that is measured. What is new and reads text from outside belongs here."""


def timed(
    work: Work, size: int, clock: Callable[[], float] = time.process_time
) -> tuple[float, float]:
    """Seconds for twice a size and for the size: the fastest of some, by turns."""
    once, twice = work.do(size), work.do(2 * size)
    spent = {once: float("inf"), twice: float("inf")}
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for one in (once, twice):
                begun = clock()
                one()
                spent[one] = min(spent[one], clock() - begun)
    finally:
        gc.enable()
    return spent[twice], spent[once]


def measure(plan: Plan) -> Report:
    """One row for each work."""
    rows: list[Row] = []
    for work in WORK:
        size = work.size if plan.linear else 10
        twice, once = timed(work, size)
        target = Target(RATIO_MAX)
        rows.append(
            Row(f"2x: {work.name}", "ms", twice * 1e3, once * 1e3, "once", target)
        )
    return Report(tuple(rows))
