"""Declaring a tool: a typed function, and beside it what the engine may do with it."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias, cast, final, overload

import attrs

from detent.errors import ToolDefinitionError

Effect: TypeAlias = Literal["once", "safe", "ask"]
"""What a call does to the world, and so what the engine may do with it.

`once`: never repeated by the engine; a lost end is "outcome unknown". `safe`: reading
only, may be repeated. `ask`: a person decides before each call.
"""

KEY_PARAMETER = "idempotency_key"
"""A tool with a parameter of this name is given the call's stable key in it."""


@final
@attrs.frozen
class ToolCall:
    """A call as a tool's `approve` predicate sees it.

    Attributes:
        id: The `tool_use` id.
        name: The tool's name.
        input: The arguments the model gave.
    """

    id: str
    name: str
    input: Mapping[str, Any]


Approve: TypeAlias = Callable[[ToolCall], bool | Awaitable[bool]]
"""Says yes or no to one call."""


@final
@attrs.frozen
class Tool:
    """A function the model may call.

    Attributes:
        name: The name the model calls it by.
        function: The function itself.
        definition: The tool as the API takes it: name, description, input schema.
        validated: The function behind the SDK's argument validation.
        effect: What a call does to the world.
        timeout_seconds: How long one call may run.
        output_bytes_max: Longest result that is sent; the whole output is journaled.
        approve: Says yes or no before each call; None to run without asking.
        takes_key: The function has an `idempotency_key` parameter.
        is_async: The function is a coroutine function; others run in a thread.
    """

    name: str
    function: Callable[..., Any]
    definition: Mapping[str, Any] = attrs.field(eq=False)
    validated: Callable[[dict[str, Any]], Any] = attrs.field(eq=False, repr=False)
    effect: Effect = "once"
    timeout_seconds: float = 30.0
    output_bytes_max: int = 64 * 1024
    approve: Approve | None = None
    takes_key: bool = False
    is_async: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had not been declared a tool."""
        return self.function(*args, **kwargs)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *,
    effect: Effect = "once",
    timeout: float = 30.0,
    max_output: int | str = "64 KiB",
    approve: Approve | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "once",
    timeout: float = 30.0,
    max_output: int | str = "64 KiB",
    approve: Approve | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Declare a function as a tool; usable bare or with options.

    The schema comes from the types and the docstring, made by the SDK's `beta_tool` and
    `beta_async_tool`.

    Args:
        function: The function, when used as a bare decorator.
        effect: "once" (default), "safe" or "ask"; see `Effect`.
        timeout: Seconds one call may run.
        max_output: Longest result that is sent, as bytes or like "64 KiB".
        approve: Says yes or no before each call; may be async.
        name: Name for the model; the function's by default.
        description: What it does; from the docstring by default.

    Raises:
        ToolDefinitionError: The signature, the name or an option cannot be used.
    """

    def declare(given: Callable[..., Any]) -> Tool:
        if isinstance(given, Tool):
            return given
        label = name or str(getattr(given, "__name__", given))
        _check_options(label, effect, timeout)
        _check_signature(label, given)
        return _declared(
            given,
            label,
            description,
            effect=effect,
            timeout_seconds=float(timeout),
            output_bytes_max=_bytes(label, max_output),
            approve=approve,
        )

    return declare if function is None else declare(function)


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _check_options(label: str, effect: str, timeout: object) -> None:
    if not _NAME.fullmatch(label):
        raise ToolDefinitionError(
            label,
            "the name is not 1 to 64 letters, digits, _ or -",
            "give another name with tool(name=...)",
        )
    if effect not in ("once", "safe", "ask"):
        raise ToolDefinitionError(
            label, f"effect {effect!r} is unknown", "use 'once', 'safe' or 'ask'"
        )
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise ToolDefinitionError(label, "timeout is no number", "give it in seconds")
    if not 0 < timeout <= 86_400:
        raise ToolDefinitionError(
            label, f"timeout {timeout} s is out of range", "give 0 to 86400 seconds"
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
                f"parameter *{parameter.name} takes whatever it is given",
                "name every parameter, so that the model knows what to give",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolDefinitionError(
                label,
                f"parameter {parameter.name!r} is positional-only",
                "a call names its arguments: take the / out",
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
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    match = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", str(given))
    size = int(match[1]) * units.get(match[2].upper(), 0) if match else 0
    if size <= 0:
        raise ToolDefinitionError(
            label, f"max_output {given!r} is no size", "give bytes, or like '64 KiB'"
        )
    return size


def _declared(
    function: Callable[..., Any], label: str, description: str | None, **options: Any
) -> Tool:
    # Imported here: `from detent import tool` must not cost the SDK's import.
    from anthropic import beta_async_tool, beta_tool

    is_async = inspect.iscoroutinefunction(function)
    wrap = cast("Callable[..., Any]", beta_async_tool if is_async else beta_tool)
    try:
        wrapped = wrap(function, name=label, description=description)
        definition: dict[str, Any] = dict(wrapped.to_dict())
    except Exception as error:
        raise ToolDefinitionError(
            label,
            f"no schema can be made from its signature ({_line(error)})",
            "use types that JSON has: str, int, float, bool, list, dict, models",
        ) from error
    takes_key = KEY_PARAMETER in inspect.signature(function).parameters
    if takes_key:
        definition["input_schema"] = _without_key(definition["input_schema"])
    return Tool(
        name=label,
        function=function,
        definition=definition,
        validated=wrapped.call,
        takes_key=takes_key,
        is_async=is_async,
        **options,
    )


def _without_key(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without the key: the engine gives it, the model never sees it."""
    properties = {
        k: v for k, v in schema.get("properties", {}).items() if k != KEY_PARAMETER
    }
    required = [k for k in schema.get("required", []) if k != KEY_PARAMETER]
    kept = {k: v for k, v in schema.items() if k not in ("properties", "required")}
    return {**kept, "properties": properties, "required": required}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
