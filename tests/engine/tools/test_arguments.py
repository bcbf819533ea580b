"""Arguments are read strictly, and what is shown of them is what runs."""

import dataclasses
import functools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, cast
from uuid import UUID

import pydantic
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AnyUrl,
    Base64Str,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    SecretStr,
)
from tests.part import examples
from typing_extensions import TypedDict

from turnlatch.tools import tool
from turnlatch.tools.arguments import Arguments, ArgumentsError

Call = Callable[[], Any]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Plain(BaseModel):
    a: int = 1
    b: "Plain | None" = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int = 1


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)

    a: Annotated[int, Field(strict=False)] = 1


class Aliased(BaseModel):
    a: int = Field(validation_alias="A")
    b: int = Field(1, serialization_alias="B")
    c: int = Field(1, alias="C")


class Hiding(BaseModel):
    a: int
    hidden: int = Field(0, exclude=True)


class Typed(TypedDict, total=False):
    a: int
    inside: list[Plain]


@dataclasses.dataclass
class Data:
    a: int
    b: str = "b"


@dataclasses.dataclass
class Computing:
    a: int
    twice: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        """Compute."""
        self.twice = self.a * 2


class Pair(NamedTuple):
    a: int
    b: int = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    owner: Plain


@tool
def everything(
    number: int = 0,
    ratio: float = 0.0,
    flag: bool = False,
    text: str = "",
    json: dict[str, Any] = {},  # noqa: B006 - the default is never touched
    items: list[int] = [],  # noqa: B006
    _names: set[str] = set(),  # noqa: B006
    sets: dict[str, list[frozenset[int]]] = {},  # noqa: B006
    pair: tuple[int, str] | None = None,
    either: int | str = 0,
    when: datetime | None = None,
    day: date | None = None,
    at: time | None = None,
    wait: timedelta | None = None,
    id_: UUID | None = None,
    path: Path | None = None,
    exact: Decimal | None = None,
    address: IPv4Address | None = None,
    url: AnyUrl | None = None,
    colour: Colour | None = None,
    word: Literal["yes", "no", 3] = "no",
    raw: bytes = b"",
    plain: Plain | None = None,
    plains: list[Plain] | None = None,
    open_: Open | None = None,
    lenient: Lenient | None = None,
    aliased: Aliased | None = None,
    hiding: Hiding | None = None,
    typed: Typed | None = None,
    data: Data | None = None,
    computing: list[Computing | int] | None = None,
    queue: deque[int] | None = None,
    tupled: Pair | None = None,
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None,
    union: Open | Data | int | None = None,
    inner: Json[list[int]] | None = None,
    coded: Base64Str = "",
    secret: SecretStr | None = None,
    lower: Annotated[str, AfterValidator(str.lower)] = "",
    times: Annotated[int, AfterValidator(lambda x: x * 100)] = 0,
    eager: Annotated[int, BeforeValidator(int)] = 0,
    other: Annotated[int, Field(alias="another")] = 0,
    bounded: int = Field(3, ge=2),
    any_: Any = None,
) -> str:
    """Take everything."""
    return ""


GOOD: dict[str, list[Any]] = {
    "number": [0, -5, 10**30],
    "ratio": [0.5, 3, -1e300],
    "flag": [True, False],
    "text": ["", "1_000", " a\u00a0b "],
    "json": [{"a": {"b": [1, 1.5, None, True, "x"]}}, {}],
    "items": [[3, 1, 1]],
    "_names": [["b", "a"], []],
    "sets": [{"x": [[2, 1], []]}],
    "pair": [[1, "a"], None],
    "either": [1, "1"],
    "when": ["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.5+02:00"],
    "day": ["2024-02-29"],
    "at": ["12:00:00"],
    "wait": ["P1D", "PT1H30M"],
    "id_": ["12345678-1234-5678-1234-567812345678"],
    "path": ["a/b.txt", "/"],
    "exact": ["1.10"],
    "address": ["127.0.0.1"],
    "url": ["https://example.invalid/"],
    "colour": ["red"],
    "word": ["yes", 3],
    "raw": ["abc"],
    "plain": [{"a": 2}, {}, {"b": {"b": {"a": 3}}}],
    "plains": [[{"a": 2}, {}]],
    "open_": [{"a": 2, "more": {"deep": [1]}}],
    "lenient": [{"a": 3}],
    "aliased": [{"A": 1}, {"A": 1, "b": 2, "C": 3}],
    "hiding": [{"a": 1}],
    "typed": [{"a": 1, "inside": [{"a": 1}]}],
    "data": [{"a": 1, "b": "c"}, {"a": 1}],
    "computing": [[{"a": 1}, {"a": 2}, 3]],
    "queue": [[2, 1], []],
    "tupled": [[1, 2], {"a": 1}],
    "pet": [{"kind": "cat", "lives": 9}, {"kind": "dog", "owner": {"a": 1}}],
    "union": [{"a": 1, "b": "x"}, {"q": 1}, 5],
    "inner": ["[1,2]"],
    "coded": ["aGk="],
    "secret": ["**********"],
    "lower": ["abc"],
    "times": [0],
    "eager": [5],
    "another": [4],
    "bounded": [2],
    "any_": [None, [{"a": 1}]],
}
"""What each parameter takes."""

AS_IS = sorted(GOOD.keys() - {"when", "aliased", "data", "tupled"})
"""What is shown as it came: nothing is made of it but what it says."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, 10**400, 1.0, 0.5, 2e300]),
    st.sampled_from(["", "1", "1_000", "true", "ABC", "./a//b", "red", "a"]),
    st.sampled_from(["2024-02-29", "2024-02-29T00:00:00+00:00", "NaN", "[1]"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
NAMES = st.sampled_from(["a", "b", "A", "B", "C", "kind", "hidden", "x", "p1", "lives"])
VALUES = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A good value, or one with something else in some place of it."""
    if draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    if isinstance(value, dict):
        inside = cast("dict[str, Any]", value)
        found = {name: draw(changed(one)) for name, one in inside.items()}
        return {**found, draw(NAMES): draw(VALUES)} if draw(st.booleans()) else found
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [draw(changed(one)) for one in items]
    return str(value) if draw(st.integers(0, 3)) == 0 else value


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    """What a model might write: good, nearly good, and further keys."""
    names = draw(st.lists(st.sampled_from(list(GOOD)), min_size=1, max_size=3))
    found = {name: draw(changed(draw(st.sampled_from(GOOD[name])))) for name in names}
    if draw(st.integers(0, 9)) == 0:
        found[draw(NAMES)] = draw(VALUES)
    return found


class Reader(Protocol):
    """What reads arguments, and says what they would be."""

    def shown(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments as they would run."""
        ...

    def bound(self, given: Mapping[str, Any], *, shown: bool) -> Call:
        """The call that would be made."""
        ...


def written(value: object) -> object:
    """A value as JSON, as plainly as can be: nothing of what pydantic writes is used."""
    match value:
        case Enum():
            return value.value
        case BaseModel():
            fields = type(value).model_fields
            extra = value.__pydantic_extra__ or {}
            named = {name: getattr(value, name) for name in fields} | extra
            return {k: written(named[k]) for k in value.model_fields_set}
        case Data():
            return {"a": value.a, "b": value.b}
        case Computing():
            return {"a": value.a}
        case dict():
            inside = cast("dict[str, object]", value)
            return {k: written(v) for k, v in inside.items()}
        case set() | frozenset():
            return {json.dumps(written(v)) for v in cast("Set[object]", value)}
        case list() | tuple() | deque():
            return [written(v) for v in cast("Iterable[object]", value)]
        case SecretStr():
            return value.get_secret_value()
        case bytes():
            return value.decode()
        case datetime() | date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


READ: dict[str, Callable[[Any], Any]] = {
    # What has another text for the same is compared as what it is.
    "when": datetime.fromisoformat,
    "at": time.fromisoformat,
    "wait": pydantic.TypeAdapter(timedelta).validate_python,
}
CODED: dict[str, Callable[[Any], str]] = {
    "inner": lambda value: json.dumps(value, separators=(",", ":")),
    "coded": lambda value: pydantic.TypeAdapter(Base64Str).dump_python(value).strip(),
}


def alike(name: str, shown: object, got: object) -> bool:
    """True if what was shown of a parameter says what the function got."""
    if name in READ and isinstance(shown, str):
        return bool(READ[name](shown) == got)
    if name in CODED and got is not None:
        return bool(shown == CODED[name](got))
    if name == "aliased" and isinstance(shown, dict):  # `A` may be shown as `a`
        named = cast("dict[str, object]", shown)
        fields = {key.lower(): value for key, value in named.items()}
        return len(fields) == len(named) and same(fields, written(got))
    return same(shown, written(got))


def same(shown: object, got: object) -> bool:
    match shown, got:
        case dict(), dict():
            one = cast("dict[str, object]", shown)
            other = cast("dict[str, object]", got)
            return one.keys() == other.keys() and all(
                same(value, other[name]) for name, value in one.items()
            )
        case list(), set():
            items = [json.dumps(one) for one in cast("list[object]", shown)]
            return len(items) == len(set(items)) and set(items) == got
        case list(), list():
            pairs = cast("list[object]", shown), cast("list[object]", got)
            return len(pairs[0]) == len(pairs[1]) and all(map(same, *pairs))
        case _:
            return shown == got and isinstance(shown, bool) == isinstance(got, bool)


def untrue(reader: Reader, given: Mapping[str, Any]) -> str:
    """What ran and was not shown, or was not asked for; empty if nothing did."""
    try:
        shown = reader.shown(given)
        runs = passed(reader.bound(shown, shown=shown is not given))
        asked = passed(reader.bound(given, shown=False))
    except (ArgumentsError, pydantic.ValidationError):
        return ""
    if runs != asked:
        return f"{asked} was asked for, and {runs} runs"
    for name, got in runs.items():
        key = "another" if name == "other" else name
        if key not in shown and got != DEFAULTS[name]:
            return f"{got!r} runs as {name}, which was not shown"
        if key in shown and not alike(name, shown[key], got):
            return f"{shown[key]!r} was shown as {name}, and {got!r} runs"
    return ""


def passed(call: Call) -> dict[str, Any]:
    """What a call would give the function."""
    assert isinstance(call, functools.partial)
    return call.keywords


DEFAULTS = passed(everything.arguments.bound({}))


@given(arguments())
@settings(max_examples=examples(150))
def test_shown_arguments_are_the_arguments_that_run(given: dict[str, Any]) -> None:
    assert untrue(everything.arguments, given) == ""


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_any_arguments_are_read_or_refused_with_words(given: dict[str, Any]) -> None:
    try:
        everything.arguments.shown(given)
    except ArgumentsError as error:
        said = str(error)
    else:
        said = "" if given.keys() <= GOOD.keys() else "unknown keys"

    assert said == "" or said.startswith("Not executed: ")


@pytest.mark.parametrize("name", AS_IS)
def test_exact_arguments_are_shown_as_the_model_wrote_them(name: str) -> None:
    for value in GOOD[name]:
        given = {name: value}

        assert everything.arguments.shown(given) is given
        assert untrue(everything.arguments, given) == ""


class Before:
    """Planted: pydantic as it comes, which converts and leaves out; shown as written."""

    def shown(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the model wrote."""
        return given

    def bound(self, given: Mapping[str, Any], *, shown: bool) -> Call:
        """The call with what pydantic makes of that."""

        @functools.wraps(everything.function)
        def collect(**named: Any) -> Call:
            return functools.partial(everything.function, **named)

        made: Call = pydantic.validate_call(collect)(**given)
        return made


class AsWritten:
    """Planted: strict, but what a validator makes of it is not shown."""

    def shown(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the model wrote."""
        everything.arguments.bound(given)
        return given

    def bound(self, given: Mapping[str, Any], *, shown: bool) -> Call:
        """The real call."""
        return everything.arguments.bound(given, shown=shown)


PLANTED: list[tuple[Reader, str]] = [
    (Before(), "number"),
    (Before(), "flag"),
    (Before(), "lenient"),
    (Before(), "typed"),
    (Before(), "data"),
    (AsWritten(), "path"),
    (AsWritten(), "lower"),
    (AsWritten(), "times"),
    (AsWritten(), "eager"),
    (AsWritten(), "_names"),
]


@pytest.mark.parametrize(("reader", "name"), PLANTED)
def test_the_check_sees_what_is_not_shown(reader: Reader, name: str) -> None:
    some = st.sampled_from(GOOD[name]).flatmap(changed)

    find(
        some,
        lambda value: untrue(reader, {name: value}) != "",
        settings=settings(max_examples=2000, phases=[Phase.generate]),
    )


@pytest.mark.parametrize("name", ["secret", "hiding"])
def test_the_check_sees_what_is_shown_and_not_read_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what is written of the values is believed."""

    def believed(*_: object) -> bool:
        return True

    monkeypatch.setattr(Arguments, "_reads_back", believed)
    value = {"secret": "marker", "hiding": {"a": 1, "hidden": 5}}[name]

    assert "was asked for" in untrue(everything.arguments, {name: value})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"number": "1_000"}, "number: Input should be a valid integer"),
        ({"number": 1.0}, "number: Input should be a valid integer"),
        ({"number": True}, "number: Input should be a valid integer"),
        ({"ratio": "0.5"}, "ratio: Input should be a valid number"),
        ({"ratio": 10**400}, "ratio: Input should be a finite number"),
        ({"flag": 1}, "flag: Input should be a valid boolean"),
        ({"text": 5}, "text: Input should be a valid string"),
        ({"when": 1_700_000_000}, "when: Input should be a valid datetime"),
        ({"nobody": 1}, "nobody: Extra inputs are not permitted"),
        ({"p1": 1}, "p1: Extra inputs are not permitted"),
        ({"other": 1}, "other: Extra inputs are not permitted"),
        ({"plain": {"a": "2"}}, "plain.a: Input should be a valid integer"),
        ({"plain": {"b": {"b": {"c": 1}}}}, "plain.b.b.c: Extra inputs"),
        ({"plains": [{}, {"x": 1}]}, "plains.1.x: Extra inputs"),
        ({"lenient": {"a": "1"}}, "lenient.a: Input should be a valid integer"),
        ({"lenient": {"a": 1, "x": 1}}, "lenient.x: Extra inputs"),
        ({"typed": {"x": 1}}, "typed.x: Extra inputs"),
        ({"typed": {"inside": [{"x": 1}]}}, "typed.inside.0.x: Extra inputs"),
        ({"data": {"a": 1, "x": 1}}, "data.x: Unexpected keyword argument"),
        ({"tupled": {"a": 1, "x": 1}}, "tupled.x: Extra inputs"),
        ({"pet": {"kind": "dog", "owner": {"x": 1}}}, "pet.dog.owner.x: Extra"),
        ({"pet": {"kind": "cow"}}, "pet: Input tag 'cow'"),
        ({"open_": {"a": "1", "x": 1}}, "open_.a: Input should be a valid integer"),
        ({"another": "4"}, "another: Input should be a valid integer"),
        ({"secret": "marker"}, "the arguments of everything cannot be shown"),
        ({"hiding": {"a": 1, "hidden": 5}}, "cannot be shown"),
    ],
    ids=str,
)
def test_unfitting_argument_is_refused_with_its_place(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentsError) as caught:
        everything.arguments.shown(given)

    assert says in str(caught.value)
    assert str(caught.value).startswith("Not executed: ")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"path": "./a//b"}, {"path": "a/b"}),
        ({"lower": "ABC"}, {"lower": "abc"}),
        ({"eager": "1_000"}, {"eager": 1000}),
        ({"ratio": 2**53 + 1}, {"ratio": 2.0**53}),
        ({"url": "http://ex\u00e4mple"}, {"url": "http://xn--exmple-cua/"}),
        ({"_names": ["a", "a"]}, {"_names": ["a"]}),
        ({"data": {"a": 1}}, {"data": {"a": 1, "b": "b"}}),
        ({"aliased": {"A": 1, "b": 2}}, {"aliased": {"a": 1, "b": 2}}),
        (
            {"open_": {"x": 1}, "path": "a/"},
            {"open_": {"x": 1}, "path": "a"},
        ),
        # Half of a character, which nothing can show.
        ({"text": "a \ud800"}, {"text": "a \ufffd"}),
    ],
    ids=ascii,
)
def test_converted_argument_is_shown_converted(
    given: dict[str, Any], shown: dict[str, Any]
) -> None:
    reader = everything.arguments
    found = reader.shown(given)

    assert found == shown
    assert untrue(reader, given) == ""
    assert reader.shown(found, shown=True) == found, "and it stays that"


def test_idempotency_key_is_not_an_argument_of_the_model() -> None:
    @tool
    def pay(amount: int, idempotency_key: UUID) -> str:
        """Pay."""
        return ""

    call = pay.arguments.bound({"amount": 1}, "0" * 32)

    assert passed(call) == {"amount": 1, "idempotency_key": UUID(int=0)}
    with pytest.raises(ArgumentsError, match="idempotency_key: Extra inputs"):
        pay.arguments.bound({"amount": 1, "idempotency_key": "0" * 32}, "1" * 32)


def test_failing_validator_is_reported_as_a_validator() -> None:
    def fails(value: int) -> int:
        raise KeyError(value)

    @tool
    def pay(amount: Annotated[int, AfterValidator(fails)]) -> str:
        """Pay."""
        return ""

    with pytest.raises(ArgumentsError, match="cannot be read: KeyError: 5"):
        pay.arguments.bound({"amount": 5})


class Guarded(BaseModel):
    a: int = 1

    def model_post_init(self, context: Any, /) -> None:
        """Run."""


CODE: dict[str, tuple[Any, bool]] = {
    "text": (str, False),
    "a model": (Plain, False),
    "a dataclass": (Data, False),
    "times": (datetime | timedelta | None, False),
    "a union": (list[Annotated[Cat | Dog, Field(discriminator="kind")]], False),
    "an enum": (dict[str, set[Colour]], False),
    "a validator": (Annotated[str, AfterValidator(str.lower)], True),
    "a class as one": (Annotated[int, BeforeValidator(int)], True),
    "a model with a hook": (list[Guarded], True),
    "a factory": (Annotated[int, Field(default_factory=int)], True),
}


@pytest.mark.parametrize("kind", CODE)
def test_types_that_may_run_code_of_the_callers_are_known(kind: str) -> None:
    hint, runs_code = CODE[kind]

    def take(what: object) -> str:
        """Take."""
        return ""

    take.__annotations__["what"] = hint

    assert Arguments("take", take).runs_code is runs_code


def test_lazily_read_argument_is_read_before_it_is_shown() -> None:
    @tool
    def add(numbers: Iterable[int]) -> str:
        """Add."""
        return str(sum(numbers))

    given = {"numbers": [1, 2]}

    assert add.arguments.shown(given) is given
    assert add.arguments.bound(given)() == "3"
    with pytest.raises(ArgumentsError, match="valid integer"):
        add.arguments.shown({"numbers": [1, "2"]})
