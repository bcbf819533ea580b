"""The arguments of a call that a JSON Schema describes."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, final

from turnlatch.errors import ToolDefinitionError
from turnlatch.tools.arguments import Arguments, ArgumentsError, whole
from turnlatch.tools.context import KEY_PARAMETER, ToolContext, context_parameters
from turnlatch.tools.json_schema import Contract, UncheckedError


@final
class SchemaArguments:
    """The reader of arguments that a JSON Schema describes.

    The function gets the values that the model wrote, as keyword arguments; nothing is
    converted. `1.0` is not an integer, as in `Arguments`. A key that the schema does not
    name is refused where the schema closes the object, or where the function has no
    parameter for it.

    Args:
        label: The tool's name, for errors.
        function: The function.
        schema: The schema; None for any object.
        typed: Reads the values for the function, once they fit the schema; by default it
            gets them as they are.

    Raises:
        ToolDefinitionError: The schema cannot be used, or the function cannot be called
            with what it describes.
    """

    def __init__(
        self,
        label: str,
        function: Callable[..., Any],
        schema: Mapping[str, Any] | None,
        typed: Arguments | None = None,
    ) -> None:
        self._label = label
        self._function = function
        self._contract = None if schema is None else Contract(label, schema)
        self._typed = typed
        self._signature = inspect.signature(function)
        self.takes_key = KEY_PARAMETER in self._signature.parameters
        self.contexts = context_parameters(function)
        if self._contract is not None:
            self._demand_callable(self._contract.schema)

    @property
    def runs_code(self) -> bool:
        """True if reading them may run code of the caller's, which may take its time."""
        return self._typed is not None and self._typed.runs_code

    def bound(
        self,
        given: Mapping[str, Any],
        key: str = "",
        context: ToolContext[Any] | None = None,
        *,
        shown: bool = False,
    ) -> Callable[[], Any]:
        """See `ArgumentsReader.bound`."""
        given = self._fitting(given)
        if self._typed is not None:
            return self._typed.bound(given, key, context, shown=shown)
        own: dict[str, Any] = dict.fromkeys(self.contexts, context)
        if self.takes_key:
            own[KEY_PARAMETER] = key
        return functools.partial(self._function, **given, **own)

    def shown(
        self, given: Mapping[str, Any], *, shown: bool = False
    ) -> Mapping[str, Any]:
        """See `ArgumentsReader.shown`."""
        given = self._fitting(given)
        return given if self._typed is None else self._typed.shown(given, shown=shown)

    def _fitting(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        given = whole(given)
        said = f"Not executed: invalid arguments for {self._label}: "
        if self._contract is not None:
            try:
                problems = self._contract.problems(given)
            except UncheckedError as error:
                told = f"Not executed: the arguments of {self._label} are not checked"
                raise ArgumentsError(f"{told}: {error}") from error
            if problems:
                raise ArgumentsError(said + "; ".join(problems))
        own = dict.fromkeys(self._own)
        for name in own:
            if name in given:
                raise ArgumentsError(f"{said}{name}: the engine gives that one")
        try:
            self._signature.bind(**given, **own)
        except TypeError as error:
            raise ArgumentsError(said + str(error)) from error
        return given

    @property
    def _own(self) -> tuple[str, ...]:
        """The parameters that the engine fills."""
        return (KEY_PARAMETER, *self.contexts) if self.takes_key else self.contexts

    def _demand_callable(self, schema: Mapping[str, Any]) -> None:
        """Demand that the function takes what the schema names."""
        named: Mapping[str, Any] = schema.get("properties", {})
        parameters = self._signature.parameters.values()
        takes = {
            one.name
            for one in parameters
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        }
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        needs = {
            one.name
            for one in parameters
            if one.default is one.empty
            and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        }
        own = set(self._own)
        for name in sorted(own & set(named)):
            raise ToolDefinitionError(
                self._label,
                f"its schema has the property {name!r}, which the engine gives",
                "rename the property or the parameter",
                "schema",
            )
        for name in sorted(set(named) - takes):
            if not takes_any:
                raise ToolDefinitionError(
                    self._label,
                    f"it has no parameter for the property {name!r} of its schema",
                    "add it, or take **arguments",
                )
        for name in sorted(needs - own - set(schema.get("required", ()))):
            raise ToolDefinitionError(
                self._label,
                f"it needs the parameter {name!r}, which its schema does not require",
                "give the parameter a default, or require the property",
            )
