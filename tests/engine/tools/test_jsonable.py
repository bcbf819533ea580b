"""What has a JSON form is told as that JSON; what has none is an error, never a `repr`."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import itertools
import json
import logging
import math
import pathlib
import threading
import types
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pydantic
import pytest

from turnlatch.tools import run_tool, tool
from turnlatch.tools.jsonable import NoJsonError, as_json
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.machine.call import Closing


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Model(pydantic.BaseModel):
    when: dt.date
    seats: set[str] = pydantic.Field(default_factory=set)
    ratio: float = 0.5
    more: Any = None


@dataclasses.dataclass
class Data:
    path: pathlib.Path
    inner: object = None


@attrs.frozen
class Attrs:
    _hidden: int
    inner: object = None


class Pair(tuple[int, int]):
    __slots__ = ()


DAY = dt.date(2026, 1, 2)


FORMS: Sequence[Any] = (
    (
        Model(when=DAY),
        {"when": "2026-01-02", "seats": [], "ratio": 0.5, "more": None},
    ),
    ([Data(pathlib.Path("a"))], [{"path": "a", "inner": None}]),
    (Attrs(1, Colour.PAIR), {"_hidden": 1, "inner": [1, 2]}),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (DAY, "2026-01-02"),
    (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02T03:00:00Z"),
    (dt.time(3), "03:00:00"),
    (dt.timedelta(hours=1), "PT1H"),
    (decimal.Decimal("1.10"), "1.10"),
    (decimal.Decimal("NaN"), "NaN"),
    (fractions.Fraction(1, 2), "1/2"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.Path("a/b"), "a/b"),
    (ipaddress.ip_address("::1"), "::1"),
    ([math.nan, math.inf, -math.inf], ["NaN", "Infinity", "-Infinity"]),
    (10**40, 10**40),
    ({3, 1, 2}, [1, 2, 3]),
    pytest.param({"b", "a", 1}, ["a", "b", 1], id="a set shows no order of its own"),
    (frozenset({frozenset({2, 1}), frozenset({3})}), [[1, 2], [3]]),
    (Pair((1, 2)), [1, 2]),
    (range(3), [0, 1, 2]),
    (collections.deque([1]), [1]),
    (collections.UserDict(a={1}), {"a": [1]}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.OrderedDict(b=1, a=2).keys(), ["b", "a"]),
    ({"a": 1}.values(), [1]),
    (array.array("i", [1, 2]), [1, 2]),
    (pydantic.SecretStr("hush"), "**********"),
)


@pytest.mark.parametrize(("value", "form"), FORMS, ids=repr)
def test_value_with_a_json_form_is_sent_as_that_json(
    value: object, form: object
) -> None:
    said = as_json(value)

    assert json.loads(said) == form


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Model(when=DAY, more=Attrs(1)), '"more": {"_hidden": 1, "inner": null}'),
        (Model(when=DAY, ratio=math.nan), '"ratio": "NaN"'),
        (
            Data(pathlib.Path("a"), Attrs(1, {DAY})),
            '{"path": "a", "inner": {"_hidden": 1, "inner": ["2026-01-02"]}}',
        ),
        (
            {Colour.RED: 1, 1: 2, None: 3, DAY: 4, 1.5: 5, (1, 2): 6},
            '{"red": 1, "1": 2, "None": 3, "2026-01-02": 4, "1.5": 5, "1,2": 6}',
        ),
        ([b"caf\xc3\xa9", bytearray(b"a"), memoryview(b"b")], '["café", "a", "b"]'),
    ],
)
def test_nested_values_are_converted_too(value: object, says: str) -> None:
    assert says in as_json(value)


def holds_itself() -> list[object]:
    found: list[object] = []
    found.append({"again": found})
    return found


class Breaks(collections.UserDict[str, int]):
    def __iter__(self) -> Iterator[str]:
        raise KeyError("broken inside")


class Silent:
    """Something that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


async def later() -> str:
    return "never awaited"


WITHOUT: tuple[tuple[Callable[[], object], str], ...] = (
    (object, "$ is an object, which has no JSON form"),
    (Silent, "$ is a Silent, which has no JSON form"),
    (threading.Lock, "which has no JSON form"),
    (lambda: {"rows": [1, object()]}, "$.rows[1] is an object"),
    (lambda: Model(when=DAY, more=object()), "is an object, which has no JSON form"),
    (lambda: Data(pathlib.Path("a"), Silent()), "$.inner is a Silent"),
    (lambda: ValueError("returned, not raised"), "$ is a ValueError"),
    (lambda: Model, "which has no JSON form"),
    (lambda: {"work": [later()]}, "$.work[0] is a coroutine: it was not awaited"),
    (lambda: {"rows": itertools.count()}, "$.rows is a count: only what a tool"),
    (lambda: [b"\xff"], "$[0] is bytes that are not UTF-8 text"),
    (lambda: Model(when=DAY, more=b"\xff"), "is bytes that are not UTF-8 text"),
    (lambda: {1: "a", "1": "b"}, "$ has two keys that are '1' in JSON"),
    (holds_itself, "$ holds itself, or is nested too deep"),
    (lambda: 10**5000, "$ is an int that cannot be read"),
    (Breaks, "$ is a Breaks that cannot be read: KeyError: 'broken inside'"),
)


@pytest.mark.parametrize(("make", "says"), WITHOUT)
def test_value_without_a_json_form_is_an_error_with_its_place(
    make: Callable[[], object], says: str
) -> None:
    with pytest.raises(NoJsonError) as caught:
        as_json(make())

    assert says in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(("make", "says"), WITHOUT)
async def test_unsendable_result_is_reported_as_run_and_logged_with_its_traceback(
    make: Callable[[], object], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def act() -> object:
        """Act."""
        return make()

    with caplog.at_level(logging.ERROR, "turnlatch"):
        ending = await run_tool(act, ToolUse("toolu_1", "act", {}), "key")

    told = json.loads(ending.result)
    assert ending.closing is Closing.ERROR
    assert told["is_error"] is True
    assert told["content"].startswith("The tool ran, but its result cannot be read: ")
    assert says in told["content"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], NoJsonError)


def test_set_is_sent_in_the_same_order_each_time() -> None:
    """The order of a set is its history's, and another in every process."""
    words = [f"w{n}" for n in range(50)]
    back = words[::-1]

    assert as_json(set(words)) == as_json(set(back))
    assert as_json({*words, 1, None}) == as_json({None, 1, *back})
