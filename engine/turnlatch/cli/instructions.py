"""The meaning of each HTTP status, and the instruction for each exception."""

from collections.abc import Mapping
from typing import Final

STATUSES: Final[Mapping[int, str]] = {
    400: "The API refuses the request; its message says what is wrong.",
    401: "The key or token is missing, wrong or revoked.",
    402: "The account has no credit, or its plan does not include this.",
    403: "The credentials are valid, but may not do this.",
    404: "The path, model or object does not exist; the message says which.",
    407: "A proxy on the way asks for credentials.",
    408: "The server did not get the whole request in time.",
    409: "Another request changes the same object at this moment.",
    412: "A condition that the request names does not hold.",
    413: "The body has more bytes than the API reads.",
    422: "The request can be read, and what it asks for cannot be done.",
    425: "The server refuses to risk a request that might be a repetition.",
    429: (
        "Requests or tokens exceeded the rate limit; retry-after says when to try again."
        " A spend limit has this status, too."
    ),
    431: "The headers have more bytes than the server reads.",
    499: "The client closed the connection before the answer was complete.",
    500: "The server failed at this request.",
    501: "The server does not support this request.",
    503: "The server, or one behind it, is not available at the moment.",
    504: "A server behind the gateway took too long to answer.",
    529: "The whole service is overloaded; this is not a limit of your account.",
}
"""The meaning of every known status, in a sentence."""

EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "ApprovalError": (
        "turnlatch.errors",
        "look at Turn.awaiting again, then approve() or deny() the calls that wait there",
    ),
    "CancelledItselfError": (
        "turnlatch.errors",
        "find out what cancelled the thing that the tool or hook awaited, then retry()",
    ),
    "ChildError": (
        "turnlatch.subagent",
        "open the child's conversation by the name in the error, and look at its turn;"
        " retry() of the parent continues the same child",
    ),
    "CodecError": (
        "turnlatch.journal.strict",
        "read the entry with the version of turnlatch that wrote it; nothing was changed",
    ),
    "ConversationBusyError": (
        "turnlatch.errors",
        "wait until the process named in the error is done, or end it; turnlatch list"
        " shows the holder of each conversation",
    ),
    "ConversationClosedError": (
        "turnlatch.errors",
        "enter the conversation with `async with`; confirmed turns are kept",
    ),
    "CoreBugError": (
        "turnlatch.errors",
        "report it with the journal, and open the conversation again: it is loaded from"
        " the journal",
    ),
    "CorrectableToolError": (
        "turnlatch.errors",
        "raise it in a tool, with a text that tells the model what to correct; do not"
        " catch it",
    ),
    "DefinitionError": (
        "turnlatch.errors",
        "correct the table: the error lists every fault in it at once",
    ),
    "TurnlatchError": (
        "turnlatch.errors",
        "catch it to catch every error that turnlatch raises on purpose",
    ),
    "ExplorationLimitError": (
        "turnlatch_states.fsm.explore",
        "give a key that distinguishes fewer states, or a higher limit",
    ),
    "FaultScriptError": (
        "turnlatch.simulator.fault_text",
        "correct the script at the named position; the error lists what is allowed there",
    ),
    "ForkedProcessError": (
        "turnlatch.errors",
        "use the conversation in the process that opened it, or open one here in another"
        " store",
    ),
    "IllegalEventError": (
        "turnlatch.errors",
        "use what the error lists as legal in this state; nothing was changed",
    ),
    "InsideTurnError": (
        "turnlatch.errors",
        "call the method when the turn is over, or use steer(), pin() or interrupt()",
    ),
    "JournalCorruptError": (
        "turnlatch.errors",
        "restore the store from a backup; it was not changed",
    ),
    "JournalError": (
        "turnlatch.errors",
        "remove the cause named in the error, then open the conversation again; if"
        " outcome_unknown is true, look at the record before you repeat anything",
    ),
    "JournalFullError": (
        "turnlatch.errors",
        "make room on the disk, then retry(); confirmed replies stay in memory until they"
        " are durable",
    ),
    "JournalVersionError": (
        "turnlatch.errors",
        "use the version of turnlatch that wrote the store, or a newer one",
    ),
    "LeaseLostError": (
        "turnlatch.errors",
        "open the conversation again to write it; this handle can no longer append",
    ),
    "NoAnswerError": (
        "turnlatch.errors",
        "make the function answer sooner, or give it more time",
    ),
    "NoCredentialsError": (
        "turnlatch.errors",
        "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or give a client that has a key;"
        ' client="simulator" gives invented answers',
    ),
    "McpServerError": (
        "turnlatch.errors",
        "see that the server runs and what it lists; a call that was not sent can be made"
        " again, and tools.refresh() reads the list again",
    ),
    "OutcomeUnknownError": (
        "turnlatch.errors",
        "find out whether the call had its effect before you repeat it, or give the tool"
        " a reconcile function that does",
    ),
    "NoJsonError": (
        "turnlatch.tools.jsonable",
        "return text, content blocks, or a value that JSON can represent; the error names"
        " the part that it cannot",
    ),
    "NoRunningCallError": (
        "turnlatch.errors",
        "let a conversation call the tool; a plain function call has no tool call",
    ),
    "NotNowError": (
        "turnlatch.errors",
        "do what the error says; nothing was changed",
    ),
    "OutputError": (
        "turnlatch.errors",
        "read Turn.text, or ask again with send(..., output=...)",
    ),
    "RequestFailedError": (
        "turnlatch.ports",
        "raise it in a Model port with the fault; the conversation then climbs the ladder"
        " of the fault's kind",
    ),
    "ScenarioError": (
        "turnlatch.simulator.scenario",
        "correct the answer named in the error",
    ),
    "ScriptUsedUpError": (
        "turnlatch.simulator.scripted",
        "add answers to the script, or give `then`, which answers afterwards",
    ),
    "SettingsError": (
        "turnlatch_states.fsm.errors",
        "give what the error asks for instead; nothing was changed",
    ),
    "StoreLockedError": (
        "turnlatch.errors",
        "repeat it once the process named in the error has released the store, or end that"
        " process; nothing was changed",
    ),
    "TerminalToolError": (
        "turnlatch.errors",
        "raise it in a tool that cannot go on; remove the cause, then retry() or send()",
    ),
    "ToolDefinitionError": (
        "turnlatch.errors",
        "change the signature or the options of the tool as the error says",
    ),
    "TurnFailedError": (
        "turnlatch.errors",
        "look up its fault with turnlatch explain; then retry(), abandon(), or send()"
        " something else",
    ),
    "TurnNotDoneError": (
        "turnlatch.errors",
        "wait for the turn, or decide about the calls in the error; Turn.done says when"
        " there is an answer",
    ),
    "UncheckedError": (
        "turnlatch.tools.json_schema",
        "give less, or make the schema of the tool simpler: fewer alternatives and"
        " references, less nesting",
    ),
    "UnknownConversationError": (
        "turnlatch.errors",
        "check the name with turnlatch list, or open a conversation that may be new",
    ),
    "UnlinkedResultError": (
        "turnlatch.simulator.answers",
        "put a server_call before the result, or give the result the id of the call",
    ),
}
"""Every exception of turnlatch: its module, and the instruction."""
