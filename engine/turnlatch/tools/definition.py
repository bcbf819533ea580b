"""Declaring a tool: a typed function, and the options for running it."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from enum import StrEnum
from typing import (
    Any,
    Literal,
    Protocol,
    TypeAlias,
    TypeGuard,
    cast,
    final,
    get_args,
    overload,
)

import attrs

from turnlatch.errors import SettingsError, ToolDefinitionError
from turnlatch.tools.arguments import Arguments, ArgumentsReader
from turnlatch.tools.context import KEY_PARAMETER
from turnlatch.tools.schema_arguments import SchemaArguments
from turnlatch.tools.sdk_tools import Made, RunnableTool, is_sdk_tool, made_of
from turnlatch_states.api.checks import (
    Allowed,
    hook,
    number,
    one_of,
    optional,
    shown,
    text,
)
from turnlatch_states.api.json_bytes import copied
from turnlatch_states.effects.call_effects import ToolFacts

Effect: TypeAlias = Literal["once", "safe", "ask"]
"""The effect of a call on the world, which decides what the engine may do.

`once`: the engine never repeats the call; if it misses the end, the outcome is unknown.
`safe`: the call only reads and may be repeated. `ask`: a person decides before each call.
"""


class Reconciled(StrEnum):
    """The answer of a tool's `reconcile` if it has no result."""

    NOT_DONE = "not done"
    """The call never had its effect."""
    UNKNOWN = "unknown"
    """The outcome cannot be determined."""


@final
@attrs.frozen
class ToolCall:
    """A call as a tool's `approve` sees it.

    Attributes:
        id: The `tool_use` id; see `CallReport.id`.
        name: The tool's name.
    """

    id: str
    name: str
    _input: Mapping[str, Any] | None = attrs.field(converter=copied)

    @property
    def input(self) -> Mapping[str, Any]:
        """The arguments that would run, as a new copy."""
        return copied(self._input) or {}


Approve: TypeAlias = Callable[[ToolCall], bool | Awaitable[bool | None] | None]
"""Approves (True) or denies (False) one call; on None a person decides, durably.

Any other return value, an exception, or no answer within the tool's `timeout` denies it.
"""

Reconcile: TypeAlias = Callable[[str], object | Awaitable[object]]
"""Finds the outcome of a call by its key, if the engine missed the call's end.

It returns the call's result or a `Reconciled`, and may raise `CorrectableToolError` if the
call failed. None, any other exception, or no answer within the tool's `timeout` means
unknown. It must not have an effect.
"""


@final
@attrs.frozen
class Tool:
    """A function the model may call.

    Attributes:
        name: The name that the model uses.
        function: The function itself.
        definition: The tool as the API takes it: name, description, input schema.
        arguments: Reads the model's arguments strictly, and shows what would run.
        effect: The effect of a call on the world.
        timeout_seconds: How long one call may run.
        output_bytes_max: Longest result that is sent; the whole output is journaled.
        approve: Approves or denies each call; None to run without asking.
        approval_seconds: How long a person has to answer; None for no limit.
        grace_seconds: How long a stopped call may take to end.
        reconcile: Finds the outcome of a call whose end the engine missed.
        takes_key: The function has an `idempotency_key` parameter.
        is_async: The function is a coroutine function; others run in a thread.
        from_sdk: The SDK made it: a list of blocks that it returns is content.
    """

    name: str
    function: Callable[..., Any]
    definition: Mapping[str, Any] = attrs.field(eq=False)
    arguments: ArgumentsReader = attrs.field(eq=False, repr=False)
    effect: Effect = "once"
    timeout_seconds: float = 30.0
    output_bytes_max: int = 64 * 1024
    approve: Approve | None = None
    approval_seconds: float | None = None
    grace_seconds: float = 1.0
    reconcile: Reconcile | None = None
    takes_key: bool = False
    is_async: bool = False
    from_sdk: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had not been declared a tool."""
        return self.function(*args, **kwargs)


class ToolSource(Protocol):
    """An item of `tools=[...]` that stands for several tools, and may change them.

    A conversation offers the tools of each source, and looks at `version` before each
    request: after a change it offers the new ones. That changes the cached prefix of the
    prompt, as `PrefixChange` says.
    """

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that are offered now."""
        ...

    @property
    def version(self) -> int:
        """A number that grows with each change of `offered`."""
        ...


def is_source(given: object) -> TypeGuard[ToolSource]:
    """True for a source of tools."""
    return hasattr(given, "offered") and hasattr(given, "version")


GivenTools: TypeAlias = Sequence[Tool | RunnableTool | ToolSource | Mapping[str, Any]]
"""The tools of a conversation, as they are given to it."""


def facts_of(tool: Tool) -> ToolFacts:
    """The facts about a tool that the decisions about its calls use."""
    asks = tool.effect == "ask" or tool.approve is not None
    return ToolFacts(
        tool.effect,
        tool.definition.get("input_schema"),
        tool.approve is not None,
        tool.reconcile is not None,
        tool.approval_seconds,
        asks and tool.arguments.runs_code,
        bool(tool.arguments.contexts),
    )


@overload
def tool(
    function: Callable[..., Any] | RunnableTool,
    /,
    *,
    effect: Effect = "once",
    timeout: float = 30.0,
    max_output: int | str = "64 KiB",
    approve: Approve | None = None,
    approval_timeout: float | None = None,
    grace: float = 1.0,
    reconcile: Reconcile | None = None,
    name: str | None = None,
    description: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Tool: ...


@overload
def tool(
    *,
    effect: Effect = "once",
    timeout: float = 30.0,
    max_output: int | str = "64 KiB",
    approve: Approve | None = None,
    approval_timeout: float | None = None,
    grace: float = 1.0,
    reconcile: Reconcile | None = None,
    name: str | None = None,
    description: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any] | RunnableTool], Tool]: ...


def tool(
    function: Callable[..., Any] | RunnableTool | None = None,
    /,
    *,
    effect: Effect = "once",
    timeout: float = 30.0,
    max_output: int | str = "64 KiB",
    approve: Approve | None = None,
    approval_timeout: float | None = None,
    grace: float = 1.0,
    reconcile: Reconcile | None = None,
    name: str | None = None,
    description: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Tool | Callable[[Callable[..., Any] | RunnableTool], Tool]:
    """Declare a function as a tool; usable bare or with options.

    The SDK's `beta_tool` and `beta_async_tool` make the schema from the types and the
    docstring. A coroutine function runs on the event loop, any other function in a daemon
    thread; an awaitable result is awaited.

    Arguments are read strictly (see `Arguments`): a wrong value or an unknown key gives
    an error result, without a question about the call. A person and an `approve` rule
    see the arguments after the types converted them: exactly these run.

    With `schema` the JSON Schema says what the arguments are, not the types: the function
    is called with the values as the model wrote them, as keyword arguments, once they fit
    the schema. Only references within the schema are followed. A schema is refused that
    could not be checked in bounded time; patterns have no lookaround and no
    backreferences.

    A tool of the SDK (`beta_tool`, `beta_async_tool`, an instance of its classes) is taken
    with its name, description and schema; `tools=[...]` takes it without options, too.

    A parameter of the type `ToolContext` gets the context of the call.

    The function returns text, `Blocks`, or a value that JSON can represent: models,
    dataclasses, attrs classes, enums, dates, sets, paths and the like. A generator is
    read to its end, up to 16 MiB, as a list. Any other value gives an error result.

    Args:
        function: The function, when used as a bare decorator; or a tool of the SDK.
        effect: "once" (default), "safe" or "ask"; see `Effect`.
        timeout: Seconds for each call, and for each use of `approve` and `reconcile`.
        max_output: Longest result that is sent, as bytes or like "64 KiB".
        approve: Approves or denies each call, or returns None to ask a person; may be
            async. No answer in time denies the call.
        approval_timeout: Seconds a person has to answer; no limit by default.
        grace: Seconds a stopped call may take to end. A call that takes longer is left
            running, and its outcome is reported as unknown.
        reconcile: Finds a call's outcome by its key, if the engine missed its end.
        name: Name for the model; the function's by default.
        description: Description for the model; from the docstring by default.
        schema: JSON Schema of the arguments, of an object; from the types by default.

    Raises:
        ToolDefinitionError: The signature, the name or an option cannot be used.
    """

    given = {n: value for n, value in locals().items() if n != "function"}

    def declare(function: Callable[..., Any] | RunnableTool) -> Tool:
        return function if isinstance(function, Tool) else _declare(function, given)

    return declare if function is None else declare(function)


def _declare(
    function: Callable[..., Any] | RunnableTool, given: Mapping[str, Any]
) -> Tool:
    """A tool of a function, or of a tool of the SDK, with the options of `tool`."""
    name, description, schema = (given[n] for n in ("name", "description", "schema"))
    named = "name" if is_sdk_tool(function) else "__name__"
    own = str(getattr(function, named, type(function).__name__))
    label = name if isinstance(name, str) and name else own
    _check_options(label, {n: value for n, value in given.items() if n in _OPTIONS})
    _check_name(label)
    if is_sdk_tool(function):
        _demand_no_schema(label, schema)
        made = made_of(function, name, description)
    elif schema is not None:
        made = _described(
            cast("Callable[..., Any]", function), label, description, schema
        )
    else:
        _check_signature(label, cast("Callable[..., Any]", function))
        made = _declared(cast("Callable[..., Any]", function), label, description)
    return Tool(
        name=made.name,
        function=made.function,
        definition=made.definition,
        arguments=made.reader,
        effect=given["effect"],
        timeout_seconds=float(given["timeout"]),
        output_bytes_max=_bytes(label, given["max_output"]),
        approve=given["approve"],
        approval_seconds=given["approval_timeout"],
        grace_seconds=float(given["grace"]),
        reconcile=given["reconcile"],
        takes_key=made.reader.takes_key,
        is_async=inspect.iscoroutinefunction(made.function),
        from_sdk=is_sdk_tool(function),
    )


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SIZE = re.compile(r"\s*([0-9]{1,15})\s*([A-Za-z]*)\s*")


def _is_mapping(given: object) -> bool:
    return isinstance(given, Mapping)


_OPTIONS: Mapping[str, Allowed] = {
    "effect": one_of(get_args(Effect)),
    "timeout": number(0, 86_400, above=True),
    "approve": optional(hook("a function that takes a ToolCall")),
    "approval_timeout": optional(number(0, 365 * 86_400, above=True)),
    "grace": number(0, 60, above=True),
    "reconcile": optional(hook("a function that takes the key of a call")),
    "name": optional(text(1, 64)),
    "description": optional(text(1)),
    "schema": optional(Allowed("a JSON Schema, as a dict", _is_mapping)),
}
"""The values that each option accepts. Seconds have an upper bound."""


def _check_options(label: str, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        try:
            _OPTIONS[option].demand(option, value)
        except SettingsError as error:
            said = f"{option}: {error.problem}"
            raise ToolDefinitionError(label, said, error.remedy, option) from None


def _check_name(label: str) -> None:
    if not _NAME.fullmatch(label):
        raise ToolDefinitionError(
            label,
            "the name is not 1 to 64 letters, digits, _ or -",
            "give another name with tool(name=...)",
            "name",
        )


def _check_signature(label: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(
            label, "it has no readable signature", "wrap it in a plain function"
        ) from error
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ToolDefinitionError(
                label,
                f"parameter *{parameter.name} takes any arguments",
                "name every parameter, so that the schema can describe it",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolDefinitionError(
                label,
                f"parameter {parameter.name!r} is positional-only",
                "remove the /, because a call names its arguments",
            )
        if parameter.annotation is parameter.empty:
            raise ToolDefinitionError(
                label,
                f"parameter {parameter.name!r} has no type",
                "annotate it, so that the schema can be made",
            )


def _bytes(label: str, given: int | str) -> int:
    """A size in bytes from a number or from text like "64 KiB"."""
    units = {"": 1, "B": 1, "KIB": 1024, "MIB": 1024**2, "KB": 1000, "MB": 1000**2}
    if type(given) is int and given > 0:
        return given
    match = _SIZE.fullmatch(given) if isinstance(given, str) else None
    size = int(match[1]) * units.get(match[2].upper(), 0) if match else 0
    if size <= 0:
        raise ToolDefinitionError(
            label,
            f"max_output {shown(given)} is not a size",
            "give a number of bytes, or text like '64 KiB'",
            "max_output",
        )
    return size


def _declared(
    function: Callable[..., Any], label: str, description: str | None
) -> Made:
    """The parts of a tool, from a function with types."""
    # Imported here: `from turnlatch import tool` must not cost the SDK's import.
    from anthropic import beta_async_tool, beta_tool

    is_async = inspect.iscoroutinefunction(function)
    wrap = cast("Callable[..., Any]", beta_async_tool if is_async else beta_tool)
    try:
        wrapped = wrap(function, name=label, description=description)
        definition: dict[str, Any] = dict(wrapped.to_dict())
        arguments = Arguments(label, function)
    except Exception as error:
        remedy = "use types that JSON has: str, int, float, bool, list, dict, models"
        if not inspect.isroutine(function):  # a partial or a callable object
            remedy = "wrap it in a function, with def or async def"
        raise ToolDefinitionError(
            label,
            f"no schema can be made from its signature ({_line(error)})",
            remedy,
        ) from error
    own = [KEY_PARAMETER] if arguments.takes_key else []
    if hidden := {*own, *arguments.contexts}:
        definition["input_schema"] = _without(hidden, definition["input_schema"])
    return Made(label, function, definition, arguments)


def _described(
    function: Callable[..., Any],
    label: str,
    description: str | None,
    schema: Mapping[str, Any],
) -> Made:
    """The parts of a tool, from a function with a schema."""
    try:
        reader = SchemaArguments(label, function, schema)
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(
            label, "it has no readable signature", "wrap it in a plain function"
        ) from error
    said = description or inspect.getdoc(function)
    definition: dict[str, Any] = {"name": label}
    if said:
        definition["description"] = said
    definition["input_schema"] = dict(schema)
    return Made(label, function, definition, reader)


def _demand_no_schema(label: str, schema: object) -> None:
    if schema is not None:
        raise ToolDefinitionError(
            label,
            "a tool of the SDK has a schema",
            "give beta_tool(input_schema=...), or the function itself",
            "schema",
        )


def _without(names: Set[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what the engine passes and the model never sees."""
    properties = {
        k: v for k, v in schema.get("properties", {}).items() if k not in names
    }
    required = [k for k in schema.get("required", []) if k not in names]
    kept = {k: v for k, v in schema.items() if k not in ("properties", "required")}
    return {**kept, "properties": properties, "required": required}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
