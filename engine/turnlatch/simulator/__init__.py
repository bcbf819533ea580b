"""A strict local Messages API that refuses what the real one refuses, and misbehaves on
command.

    from turnlatch.simulator import Scripted, Simulator, call, serve

    simulator = Simulator(
        Scripted([call("read_file", path="notes.txt"), "Done."]),
        faults="429 retry-after=2 @1, cut 3 reset @4",
    )
    async with serve(simulator) as server:
        ...  # ANTHROPIC_BASE_URL=server.base_url, any key
        simulator.inject("529 @1-2")  # the next two requests
        simulator.change(keys=frozenset())  # every credential is revoked
    assert not simulator.unscripted_rejections()

The core (`Simulator`) is pure. There are two ways to reach it: `serve` and `run_in_thread`
for a real loopback server, and `turnlatch.simulator.transport` for clients in the same
process; that module needs `httpx2` and is therefore imported by its own name.

In addition to the messages it imitates server threads, compaction, signed thinking,
tools that the service runs (`server_call`, `server_result`), and, as far as `usage` and
`diagnostics` tell of it, the prompt cache. An answer may also say a `usage` that is not
true (`Answer.usage`).

What is imitated and where it is known from: https://platform.claude.com/docs/en/api, and
the types of Anthropic's public Python SDK. The rules are `turnlatch_states.api.rules`.
"""

from turnlatch.simulator.answers import (
    Answer,
    Asked,
    ClientCall,
    Part,
    Raw,
    Recalling,
    Redacted,
    Responder,
    ServerCall,
    ServerResult,
    Text,
    Thinking,
    UnlinkedResultError,
    call,
    refuse,
    reply,
    say_and_call,
    server_call,
    server_result,
    text,
    think,
)
from turnlatch.simulator.compaction import Summariser
from turnlatch.simulator.core import Simulator
from turnlatch.simulator.doors import Bounds
from turnlatch.simulator.fault_text import FaultScriptError, parse_faults
from turnlatch.simulator.faults import (
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
from turnlatch.simulator.grammar import Event, parse_events, stream_problems
from turnlatch.simulator.log import LoggedRequest
from turnlatch.simulator.scenario import ScenarioError, read_answers, read_scenario
from turnlatch.simulator.scripted import Scripted, ScriptUsedUpError
from turnlatch.simulator.seeded import Seeded
from turnlatch.simulator.server import Server, run_in_thread, serve
from turnlatch.simulator.wire import (
    NO_HEADERS,
    ApiRequest,
    ApiResponse,
    Chunk,
    Ending,
    Refusal,
)
from turnlatch_states.api.rules import ApiLimits

__all__ = [
    "NO_HEADERS",
    "Answer",
    "ApiLimits",
    "ApiRequest",
    "ApiResponse",
    "Asked",
    "Bounds",
    "Chunk",
    "ClientCall",
    "CutEvents",
    "CutPercent",
    "Empty",
    "Ending",
    "ErrorEvent",
    "Event",
    "ExpireThreads",
    "FaultScriptError",
    "Garbled",
    "Html",
    "LimitChange",
    "LoggedRequest",
    "NoAnswer",
    "Part",
    "Raw",
    "Recalling",
    "Redacted",
    "Refusal",
    "Responder",
    "RuleSwitch",
    "ScenarioError",
    "Script",
    "ScriptUsedUpError",
    "Scripted",
    "ScriptedFault",
    "Seeded",
    "Server",
    "ServerCall",
    "ServerResult",
    "Simulator",
    "Slow",
    "Span",
    "Status",
    "Summariser",
    "Text",
    "Thinking",
    "UnlinkedResultError",
    "When",
    "call",
    "parse_events",
    "parse_faults",
    "read_answers",
    "read_scenario",
    "refuse",
    "reply",
    "run_in_thread",
    "say_and_call",
    "serve",
    "server_call",
    "server_result",
    "stream_problems",
    "text",
    "think",
]
