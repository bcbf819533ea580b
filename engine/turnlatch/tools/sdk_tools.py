"""Tools made by the SDK: `beta_tool`, `beta_async_tool`, and its classes of tools.

They are recognised by what they offer, a name, `to_dict()` and `call()`: importing the
SDK only to ask would cost its import.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

import attrs

from turnlatch.errors import ToolDefinitionError
from turnlatch.tools.arguments import Arguments, ArgumentsReader
from turnlatch.tools.blocks import Blocks
from turnlatch.tools.schema_arguments import SchemaArguments


@runtime_checkable
class RunnableTool(Protocol):
    """A tool of the SDK: what `beta_tool` and `beta_async_tool` make, and the classes
    of its typed tools, such as the memory tool."""

    @property
    def name(self) -> str:
        """The name that the model uses."""
        ...

    def to_dict(self) -> Any:
        """The tool as the API takes it."""
        ...

    @property
    def call(self) -> Callable[..., Any]:
        """Calls it with the arguments that the model wrote."""
        ...


@attrs.frozen
class Made:
    """The parts of a tool.

    Attributes:
        name: The name that the model uses.
        function: The function.
        definition: The tool as the API takes it.
        reader: Reads the arguments.
    """

    name: str
    function: Callable[..., Any]
    definition: dict[str, Any]
    reader: ArgumentsReader


def is_sdk_tool(given: object) -> TypeGuard[RunnableTool]:
    """True for an instance of one of the SDK's classes of tools that can be run."""
    return not isinstance(given, type) and isinstance(given, RunnableTool)


def made_of(given: RunnableTool, name: str | None, description: str | None) -> Made:
    """The parts of a tool of the SDK, under another name and description if given.

    A tool with a function is called with keyword arguments, as the SDK calls it. Where
    its schema was made from the types of the function, the arguments are read as those
    of `@tool`. Otherwise they are held to the schema first; then they are read for the
    types, if every parameter has one.

    Raises:
        ToolDefinitionError: It cannot be offered, or its schema cannot be used.
    """
    label = given.name
    try:
        definition = dict(given.to_dict())
    except Exception as error:
        raise ToolDefinitionError(
            str(label), f"its to_dict() fails ({error})", "repair it"
        ) from error
    function: Callable[..., Any] | None = getattr(given, "func", None)
    schema: Mapping[str, Any] | None = definition.get("input_schema")
    if name is not None:
        definition["name"] = label = name
    if description is not None:
        definition["description"] = description
    if function is None or schema is None:
        caller = _caller(given)
        return Made(label, caller, definition, SchemaArguments(label, caller, schema))
    typed = _typed(label, function)
    if typed is not None and _is_inferred(function, schema):
        return Made(label, function, definition, typed)
    reader = SchemaArguments(label, function, schema, typed)
    return Made(label, function, definition, reader)


def _caller(given: RunnableTool) -> Callable[..., Any]:
    """A function of keyword arguments for a tool that takes them as one dict."""
    call = given.call
    if inspect.iscoroutinefunction(call):

        async def run_async(**arguments: Any) -> Any:
            return await call(arguments)

        return run_async

    def run(**arguments: Any) -> Any:
        return call(arguments)

    return run


def _typed(label: str, function: Callable[..., Any]) -> Arguments | None:
    """The reader for the types of a function; None unless every parameter has one."""
    parameters = inspect.signature(function).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(one.kind not in named or one.annotation is one.empty for one in parameters):
        return None
    return Arguments(label, function)


def _is_inferred(function: Callable[..., Any], schema: Mapping[str, Any]) -> bool:
    """True if this schema is what the SDK makes from the types of the function."""
    from anthropic import beta_async_tool, beta_tool

    is_async = inspect.iscoroutinefunction(function)
    wrap = cast("Callable[..., Any]", beta_async_tool if is_async else beta_tool)
    try:
        inferred: object = wrap(function).input_schema
    except Exception:  # noqa: BLE001 - types that no schema can be made from
        return False
    return inferred == schema


def as_blocks(value: object) -> object:
    """What a tool of the SDK returned: a list of blocks is content, not data."""
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if items and all(isinstance(one, Mapping) and "type" in one for one in items):
            return Blocks(cast("Sequence[Any]", items))
        return items
    return value


def failure_content(error: BaseException) -> object:
    """The content of the SDK's `ToolError`; None for any other exception."""
    if not any(
        one.__name__ == "ToolError" and one.__module__.startswith("anthropic.")
        for one in type(error).__mro__
    ):
        return None
    content: object = getattr(error, "content", None)
    if isinstance(content, str):
        return content
    try:
        return Blocks(cast("Sequence[Any]", content))
    except TypeError:
        return None
