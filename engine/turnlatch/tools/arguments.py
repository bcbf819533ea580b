"""The arguments of a call: read strictly, and shown as what would run.

A person, or a rule, decides about what is shown. So the arguments are read before
anybody is asked, nothing is guessed while they are read, and what is shown is written
from the values that the function would get.
"""

import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice, product, zip_longest
from typing import Annotated, Any, Final, Protocol, cast, final

from turnlatch.errors import words
from turnlatch.tools.context import KEY_PARAMETER, ToolContext, context_parameters
from turnlatch_states.api.json_bytes import encode

_HALF: Final = re.compile("[\ud800-\udfff]")


class ArgumentsError(ValueError):
    """The arguments do not fit the function, which was not called."""


class ArgumentsReader(Protocol):
    """Reads the arguments of the calls of one tool."""

    @property
    def takes_key(self) -> bool:
        """True if the function has a parameter for the call's key."""
        ...

    @property
    def contexts(self) -> tuple[str, ...]:
        """The parameters that get the call's context."""
        ...

    @property
    def runs_code(self) -> bool:
        """True if reading them may run code of the caller's, which may take its time."""
        ...

    def bound(
        self,
        given: Mapping[str, Any],
        key: str = "",
        context: ToolContext[Any] | None = None,
        *,
        shown: bool = False,
    ) -> Callable[[], Any]:
        """The call of the function with these arguments, which can be made.

        Args:
            given: The arguments as JSON values.
            key: The call's key, where the function takes one.
            context: The call's context, where the function takes one.
            shown: True if `shown` made these arguments, not the model.

        Raises:
            ArgumentsError: The arguments do not fit.
        """
        ...

    def shown(
        self, given: Mapping[str, Any], *, shown: bool = False
    ) -> Mapping[str, Any]:
        """The arguments as they would run: what a person or a rule decides about.

        Args:
            given: The arguments as JSON values.
            shown: They are what this gave before, not what the model wrote.

        Raises:
            ArgumentsError: They do not fit, or cannot be shown.
        """
        ...


@final
class Arguments:
    """The reader of one function's arguments.

    They are read as JSON in pydantic's strict mode: text is not a number, `1.0` is not an
    integer, 1 is not true. Types that JSON does not have are read from their one
    spelling: dates, times and durations from ISO 8601 text; UUIDs,
    paths, decimals, enums and addresses from their text or value; tuples and sets from
    lists; a float from an integer, too. This holds at every depth, and for fields that
    say `strict=False`. An unknown key is refused at every depth, unless a model says
    `extra="allow"` and keeps it.

    Args:
        label: The tool's name, for errors.
        function: The function, whose parameters all have a type.
    """

    def __init__(self, label: str, function: Callable[..., Any]) -> None:
        import pydantic

        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        fields: dict[str, Any] = {}
        self._label = label
        self._function = function
        self._parameters: dict[str, str] = {}  # the name of a field to the parameter's
        self._key: pydantic.TypeAdapter[Any] | None = None
        self.contexts = context_parameters(function)
        for index, one in enumerate(parameters):
            hint = hints.get(one.name, one.annotation)
            if one.name == KEY_PARAMETER:
                self._key = pydantic.TypeAdapter(hint)
                continue
            if one.name in self.contexts:
                continue
            # Not each name of a parameter can be the name of a model's field.
            name = f"p{index}"
            self._parameters[name] = one.name
            typed = _named(hint, one.name, one.default)
            fields[name] = typed if one.default is one.empty else (typed, one.default)
        self._model: type[pydantic.BaseModel] = pydantic.create_model(
            label,
            __config__=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False),
            **fields,
        )

    @property
    def takes_key(self) -> bool:
        """True if the function has a parameter for the call's key."""
        return self._key is not None

    @property
    def runs_code(self) -> bool:
        """True if reading them may run code of the caller's, which may take its time."""
        return self._runs

    @functools.cached_property
    def _runs(self) -> bool:
        return _runs_code(self._model.__pydantic_core_schema__)

    def bound(
        self,
        given: Mapping[str, Any],
        key: str = "",
        context: ToolContext[Any] | None = None,
        *,
        shown: bool = False,
    ) -> Callable[[], Any]:
        """See `ArgumentsReader.bound`.

        The engine, not pydantic, calls the function. If pydantic called it, a
        `ValidationError` of the function would look like wrong arguments, as if it had
        not run; and unwinding a daemon thread through pydantic's frames at the end of the
        process aborts the process (pydantic-core 2, Python to 3.13).
        """
        given = whole(given)
        with self._telling():
            found = self._read(given, shown)
            passed = {
                parameter: getattr(found, name)
                for name, parameter in self._parameters.items()
            }
            if self._key is not None:
                passed[KEY_PARAMETER] = self._key.validate_python(key)
        passed |= dict.fromkeys(self.contexts, context)
        return functools.partial(self._function, **passed)

    def shown(
        self, given: Mapping[str, Any], *, shown: bool = False
    ) -> Mapping[str, Any]:
        """See `ArgumentsReader.shown`.

        They are the given arguments, with the changes that validators made. An omitted
        argument stays omitted if that means the same. Values that cannot be written as
        JSON and read back cannot be shown.
        """
        given = whole(given)
        with self._telling():
            found = self._read(given, shown)
            told = list(self._told(found))
            for one, live in told:
                if _same(given, one, live):
                    return given
            for one, _ in told:
                if self._reads_back(one, found):
                    return one
            for one, live in told:
                taken = self._taken(one)
                if self._reads_back(taken, found):
                    return given if _same(given, taken, live) else taken
        raise ArgumentsError(
            f"Not executed: the arguments of {self._label} cannot be shown. Its types"
            " convert them to values that cannot be written as JSON and read back."
        )

    @contextmanager
    def _telling(self) -> Generator[None]:
        """Tell whatever goes wrong as what is wrong with the arguments."""
        from pydantic import ValidationError

        try:
            yield
        except ValidationError as error:
            raise ArgumentsError(_wrong(self._label, error.errors())) from error
        except Exception as error:  # a validator is code of the caller's
            said = f"{type(error).__name__}: {words(error)}"
            raise ArgumentsError(
                f"Not executed: the arguments of {self._label} cannot be read: {said}"
            ) from error

    def _read(self, given: Mapping[str, Any], shown: bool) -> Any:
        from pydantic import ValidationError

        read = functools.partial(
            self._model.model_validate_json, encode(given), strict=True
        )
        if shown:  # it may name a field by its name, where an alias is for reading only
            read = functools.partial(read, by_alias=True, by_name=True)
        try:
            return read(extra="forbid")
        except ValidationError as error:
            refused = error.errors()
            further = [one["loc"] for one in refused if one["type"] in _FURTHER]
            # A model that says `extra="allow"` keeps what it does not know.
            found = self._unless_invalid(read) if further else None
            if found is not None:
                for one, _ in self._told(found):
                    if all(_kept(one, place) for place in further):
                        return found
            raise

    @staticmethod
    def _unless_invalid(read: Callable[[], Any]) -> Any:
        from pydantic import ValidationError

        try:
            return read()
        except ValidationError:
            return None

    def _told(self, found: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """The values written as JSON, in each way there is, and as they live."""
        from pydantic import ValidationError

        fields = self._model.model_fields
        for by_alias, unset in product((True, False), repeat=2):
            write = functools.partial(
                found.model_dump,
                by_alias=by_alias,
                exclude_unset=unset,
                round_trip=True,
                warnings=False,
            )
            try:
                live, one = write(mode="python"), write(mode="json")
                encode(one)
            except ValidationError:
                raise  # an `Iterable` is validated while it is read
            except Exception:  # noqa: BLE001 - try the next spelling
                continue
            names = {
                (by_alias and field.serialization_alias) or name: _written(name, field)
                for name, field in fields.items()
            }
            yield (
                {names[name]: value for name, value in one.items()},
                {names[name]: value for name, value in live.items()},
            )

    def _taken(self, told: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was written, without what a class writes and does not take: fields of a
        dataclass that it computes itself."""
        from pydantic import ValidationError

        try:
            self._read(told, shown=True)
        except ValidationError as error:
            for one in error.errors():
                if one["type"] in _FURTHER:
                    told = cast("Mapping[str, Any]", _without(told, one["loc"]))
        except Exception:  # noqa: BLE001 - a validator is code of the caller's
            return told
        return told

    def _reads_back(self, told: Mapping[str, Any], found: Any) -> bool:
        try:
            return bool(self._read(told, shown=True) == found)
        except Exception:  # noqa: BLE001 - to compare may be code of the caller's, too
            return False


def whole(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments with each half of a character that a model wrote replaced: no
    terminal can show it, and few functions can use it."""
    written = json.dumps(dict(given), ensure_ascii=False)
    found = _HALF.sub("\ufffd", written)
    whole: Mapping[str, Any] = given if found == written else json.loads(found)
    return whole


def _runs_code(schema: object) -> bool:
    """True if there is a function in a schema, or a constructor of a class."""
    if isinstance(schema, dict):
        found = cast("dict[str, object]", schema)
        return any(found.get(name) for name in ("custom_init", "post_init")) or any(
            _runs_code(part)
            for name, part in found.items()
            if name not in ("metadata", "cls")  # about it, and what is made in the end
        )
    if isinstance(schema, list | tuple):
        return any(map(_runs_code, cast("Sequence[object]", schema)))
    return callable(schema)


_FURTHER: Final = ("extra_forbidden", "unexpected_keyword_argument")
"""The kinds of pydantic's errors about a key that nothing is known of."""


def _named(hint: Any, name: str, default: object) -> Any:
    """The type of a parameter, with its name as the name in JSON if it has no other."""
    from pydantic import Field
    from pydantic.fields import FieldInfo

    given = FieldInfo.from_annotation(hint)
    if isinstance(default, FieldInfo):
        given = FieldInfo.from_annotated_attribute(hint, default)
    if given.alias is None and given.validation_alias is None:
        return Annotated[hint, Field(alias=name)]
    return hint


def _written(name: str, field: Any) -> str:
    """The name of a parameter in JSON."""
    alias = field.validation_alias
    for one in getattr(alias, "choices", (alias,)):
        if isinstance(one, str):
            return one
    return name


def _same(given: object, told: object, live: object) -> bool:
    """True if two JSON values are the same; the order of a set counts for nothing."""
    if isinstance(given, Mapping) and isinstance(told, Mapping):
        one = cast("Mapping[str, object]", given)
        other = cast("Mapping[str, object]", told)
        return one.keys() == other.keys() and all(
            _same(value, other[key], _inside(live, key)) for key, value in one.items()
        )
    if isinstance(given, list) and isinstance(told, list):
        items = cast("list[object]", given), cast("list[object]", told)
        if isinstance(live, Set):
            one_way, other_way = (sorted(map(encode, each)) for each in items)
            return one_way == other_way
        # A deque is a sequence that cannot be sliced.
        values = cast("Sequence[object]", live if isinstance(live, Sequence) else ())
        return len(items[0]) == len(items[1]) and all(
            _same(*each) for each in zip_longest(*items, islice(values, len(items[0])))
        )
    return given == told and isinstance(given, bool) == isinstance(told, bool)


def _inside(live: object, key: str) -> object:
    """The value of a key; None if the values do not have the key."""
    if isinstance(live, Mapping):
        return cast("Mapping[str, object]", live).get(key)
    return None


def _kept(told: object, place: Sequence[str | int]) -> bool:
    """True if that place is in a JSON value.

    A step of the place that leads nowhere names the part of a union that was tried.
    """
    found = False
    for step in place:
        if isinstance(told, Mapping) and step in told:
            told, found = cast("Mapping[object, object]", told)[step], True
        elif isinstance(told, list) and isinstance(step, int):
            inside = cast("list[object]", told)[step : step + 1]
            told, found = (inside or [None])[0], bool(inside)
        else:
            found = False
    return found


def _without(told: object, place: Sequence[str | int]) -> object:
    """A JSON value without what is in that place; steps are those of `_kept`."""
    if not place:
        return told
    step, rest = place[0], place[1:]
    inner: object = told
    if isinstance(told, Mapping):
        named = cast("Mapping[str, object]", told)
        if step in named:
            others = {name: one for name, one in named.items() if name != step}
            inside = {str(step): _without(named[str(step)], rest)} if rest else {}
            return {**others, **inside}
    elif isinstance(told, list) and isinstance(step, int):
        items = cast("list[object]", told)
        if step < len(items):
            return [*items[:step], _without(items[step], rest), *items[step + 1 :]]
    return _without(inner, rest)


def _wrong(label: str, found: Sequence[Mapping[str, Any]]) -> str:
    lines = (
        f"{'.'.join(map(str, one['loc'])) or 'input'}: {one['msg']}" for one in found
    )
    return f"Not executed: invalid arguments for {label}: {'; '.join(lines)}"
