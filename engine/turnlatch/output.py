"""Structured output: the type that a turn's last reply has to be read as.

The API gets its JSON Schema in `output_config.format` (Anthropic docs: build-with-claude/
structured-outputs). A schema cannot say all that a type says, and a compatible server may
not know the field, so each reply is read with the type, too.
"""

import functools
import json
from collections.abc import Hashable, Mapping
from typing import Any, Final, Generic, NewType, TypeVar, final, get_origin

from typing_extensions import TypeAliasType

from turnlatch.errors import OutputError, SettingsError, words
from turnlatch_states.api.checks import shown
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.resendable import mended
from turnlatch_states.request.profile import Profile

T = TypeVar("T")

_PROBLEMS_MAX: Final = 10
_PROBLEM_MAX: Final = 300


@final
class Output(Generic[T]):
    """The type that a reply is read as.

    Args:
        kind: Any type that pydantic reads from JSON: a model, a dataclass, a typed
            dict, `list[...]`, a union.

    Raises:
        SettingsError: pydantic makes no JSON Schema of it, or the API takes none such.
    """

    def __init__(self, kind: type[T]) -> None:
        # Imported here: a conversation without structured output needs neither.
        from anthropic import transform_schema
        from pydantic import TypeAdapter

        if not _is_type(kind):
            raise _refused(kind, "it is not a type")
        try:
            self._adapter = TypeAdapter[T](kind)
            self._schema: Mapping[str, Any] = transform_schema(
                self._adapter.json_schema()
            )
        except Exception as error:
            raise _refused(kind, _line(error)) from error

    @property
    def format(self) -> Mapping[str, Any]:
        """The value of `output_config.format`."""
        return {"type": "json_schema", "schema": self._schema}

    def read(self, turn: int, text: str) -> T:
        """The text of a reply as a value of the type.

        Raises:
            OutputError: The text does not fit the type.
            Exception: An error of the type's code that pydantic does not take for a
                refusal.
        """
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            raise OutputError(turn, _told(error)) from error


def _refused(kind: object, why: str) -> SettingsError:
    return SettingsError(
        "output",
        f"no JSON Schema can be made of {shown(kind)} ({why})",
        "give a pydantic model, a dataclass, or another type that pydantic reads from JSON",
    )


@functools.lru_cache(maxsize=64)
def _made(kind: Any) -> Output[Any]:
    return Output(kind)


def output_of(kind: Any) -> Output[Any] | None:
    """The output for the type that a caller asks for; None if none is asked for.

    Raises:
        SettingsError: The type cannot be used.
    """
    if kind is None:
        return None
    return _made(kind) if isinstance(kind, Hashable) else Output[Any](kind)


def demand_same_output(profile: Profile, output: Output[Any]) -> None:
    """Refuse another output for a turn that is under way.

    Raises:
        SettingsError: The server was asked for another form.
    """
    asked: Mapping[str, Any] = profile.setting("output_config") or {}
    if asked.get("format") != json.loads(encode(output.format)):
        raise SettingsError(
            "output",
            "the turn with this key was begun with another output, or with none",
            "give the output that it began with",
        )


def _is_type(kind: object) -> bool:
    # pydantic makes a schema of a function, too: that of a call of it.
    named = type | NewType | TypeAliasType
    return isinstance(kind, named) or get_origin(kind) is not None


def _told(error: Any) -> str:
    """The problems that pydantic found, a line each, without the values."""
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, one["loc"])) or "the whole answer"
        found.append(mended(f"{place}: {one['msg']}")[:_PROBLEM_MAX])
    rest = len(found) - _PROBLEMS_MAX
    return "\n".join(
        [*found[:_PROBLEMS_MAX], *([f"and {rest} more"] if rest > 0 else [])]
    )


def _line(error: Exception) -> str:
    said = words(error).partition("\n")[0]
    return f"{type(error).__name__}: {said[:200]}"
