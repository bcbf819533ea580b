"""What each status means in its own words, and what to do about each exception."""

from collections.abc import Mapping
from typing import Final

STATUSES: Final[Mapping[int, str]] = {
    400: "The request is not one that the API takes; its message says what is wrong.",
    401: "The key or token is missing, wrong or revoked.",
    402: "There is no credit, or the plan does not pay for this.",
    403: "The credentials are good, but may not do this.",
    404: "There is no such path, model or object; the message says which.",
    407: "A proxy on the way asks for credentials of its own.",
    408: "The server did not get the whole request in the time it waits.",
    409: "Something else changes the same object at this moment.",
    412: "A condition that the request names does not hold.",
    413: "The body has more bytes than the API reads.",
    422: "The request can be read, and what it asks for cannot be done.",
    425: "The server would not risk a request that might be a repetition.",
    429: (
        "More requests or tokens than the rate limit allows came within a short time;"
        " retry-after says when there is room again. A spend limit has this status, too."
    ),
    431: "The headers have more bytes than the server reads.",
    499: "The connection was closed before the answer was there.",
    500: "The server failed at this request.",
    501: "The server does not know how to do what is asked.",
    503: "The server, or one behind it, is not available at the moment.",
    504: "The answer took longer than the server waits for it.",
    529: "The service as a whole has more to do than it can; it is nobody's own limit.",
}
"""Every status that is known, in a sentence."""

EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "ApprovalError": (
        "turnlatch.errors",
        "look at Turn.awaiting again, then approve() or deny() what waits there now",
    ),
    "CancelledItselfError": (
        "turnlatch.errors",
        "see what the tool or the hook waited for, and who cancelled that; retry() goes on",
    ),
    "ChildError": (
        "turnlatch.subagent",
        "open the child's conversation by the name that the error has, and see its turn;"
        " retry() of the parent goes on with the same child",
    ),
    "CodecError": (
        "turnlatch.journal.strict",
        "read the row with the version of turnlatch that wrote it; nothing was changed",
    ),
    "ConversationBusyError": (
        "turnlatch.errors",
        "wait until the process that the error names is done, or end it; turnlatch list"
        " shows who holds what",
    ),
    "ConversationClosedError": (
        "turnlatch.errors",
        "enter the conversation with `async with`; what was confirmed is there",
    ),
    "CoreBugError": (
        "turnlatch.errors",
        "report it with the journal, and open the conversation again: the record is read"
        " anew",
    ),
    "CorrectableToolError": (
        "turnlatch.errors",
        "raise it in a tool with what the model should do better; nobody has to catch it",
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
        "give a key that tells fewer states apart, or a higher limit",
    ),
    "FaultScriptError": (
        "turnlatch.simulator.fault_text",
        "correct the script at the position named; the error lists what may stand there",
    ),
    "ForkedProcessError": (
        "turnlatch.errors",
        "use the conversation in the process that opened it, or open one here in a store"
        " of its own",
    ),
    "IllegalEventError": (
        "turnlatch.errors",
        "call what the error lists as legal in this state; nothing was changed",
    ),
    "InsideTurnError": (
        "turnlatch.errors",
        "call the method when the turn is over, or use steer(), pin() or interrupt()",
    ),
    "JournalCorruptError": (
        "turnlatch.errors",
        "restore the store from a copy; it was neither read nor changed",
    ),
    "JournalError": (
        "turnlatch.errors",
        "remove the cause that the error names, then open the conversation again; if"
        " outcome_unknown is true, look at what is recorded before anything is repeated",
    ),
    "JournalFullError": (
        "turnlatch.errors",
        "make room on the disk, then go on with retry(); what was confirmed is kept in"
        " memory until it is durable",
    ),
    "JournalVersionError": (
        "turnlatch.errors",
        "use the version of turnlatch that wrote the store, or a newer one",
    ),
    "LeaseLostError": (
        "turnlatch.errors",
        "open the conversation again to write it; this handle appends nothing any more",
    ),
    "NoAnswerError": (
        "turnlatch.errors",
        "have the function that was asked answer sooner, or give it more time",
    ),
    "NoCredentialsError": (
        "turnlatch.errors",
        "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or give a client that has a key;"
        ' client="simulator" asks for answers that are made up',
    ),
    "NoJsonError": (
        "turnlatch.tools.jsonable",
        "return text, content blocks, or a value that has a JSON form; the error names"
        " the part that has none",
    ),
    "NoRunningCallError": (
        "turnlatch.errors",
        "have a conversation call the tool; called as a function it runs for no call",
    ),
    "RequestFailedError": (
        "turnlatch.ports",
        "raise it in a Model port with the fault; a conversation answers it with the"
        " ladder of the fault's kind",
    ),
    "ScenarioError": (
        "turnlatch.simulator.scenario",
        "correct the answer that the error names",
    ),
    "ScriptUsedUpError": (
        "turnlatch.simulator.answers",
        "add answers to the script, or name who answers afterwards in `then`",
    ),
    "SettingsError": (
        "turnlatch_states.fsm.errors",
        "give what the error asks for instead; nothing was changed",
    ),
    "StoreLockedError": (
        "turnlatch.errors",
        "do it again once the process that the error names has let go of the store, or end"
        " that process; nothing was changed",
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
        "look at its fault: turnlatch explain says what each kind needs; then retry(),"
        " abandon(), or send() something else",
    ),
    "UnknownConversationError": (
        "turnlatch.errors",
        "check the name with turnlatch list, or open it without demanding that it exists",
    ),
    "UnlinkedResultError": (
        "turnlatch.simulator.answers",
        "put a server_call before the result, or give the result the id of the call",
    ),
}
"""Every exception of turnlatch: the module that has it, and what to do."""
