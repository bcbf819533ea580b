"""A tool by its JSON Schema: held to it strictly, and in bounded time, even if it is hostile."""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import pytest
from tests.harness.world import World

from turnlatch import Closing, ToolDefinitionError, TurnState, tool
from turnlatch.simulator import call
from turnlatch.tools import run_tool
from turnlatch.tools.json_schema import STEPS_MAX, Contract, UncheckedError
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending

pytestmark = pytest.mark.anyio


def short(cents: int, to: Any) -> None:
    """Take too little."""


def needing(cents: int, to: Any, why: str, tags: Any = ()) -> None:
    """Need more."""


def fitting(cents: int, to: Any, tags: Any = ()) -> None:
    """Take it."""


def anything(**_: Any) -> None:
    """Take anything."""


OBJECT: Final[Mapping[str, Any]] = {"type": "object"}

PAY: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "cents": {"type": "integer", "minimum": 1},
        "to": {"$ref": "#/$defs/account"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["cents", "to"],
    "additionalProperties": False,
    "$defs": {
        "account": {
            "type": "object",
            "properties": {"iban": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}},
            "required": ["iban"],
            "additionalProperties": False,
        }
    },
}
PAID: Final[Mapping[str, Any]] = {"cents": 5, "to": {"iban": "DE1"}}


def spent() -> tuple[list[dict[str, Any]], Any]:
    ran: list[dict[str, Any]] = []

    def pay(**arguments: Any) -> str:
        ran.append(arguments)
        return "paid"

    return ran, tool(pay, name="pay", description="Pay.", schema=PAY)


async def run(declared: Any, **arguments: Any) -> Ending:
    use = ToolUse("toolu_1", declared.name, arguments)
    return await run_tool(declared, use, "k" * 32)


async def test_a_tool_by_schema_gets_the_values_as_the_model_wrote_them() -> None:
    ran, pay = spent()

    ending = await run(pay, **PAID)

    assert (ending.closing, ran) == (Closing.RESULT, [dict(PAID)])
    assert pay.definition == {
        "name": "pay",
        "description": "Pay.",
        "input_schema": dict(PAY),
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"cents": "5"}, "cents: '5' is not of type 'integer'"),
        ({"cents": 5.0}, "cents: 5.0 is not of type 'integer'"),
        ({"cents": True}, "cents: True is not of type 'integer'"),
        ({"cents": 0}, "cents: 0 is less than the minimum"),
        ({"more": 1}, "the key 'more' is unknown"),
        ({"to": {"iban": "DE1", "bic": "X"}}, "to: the key 'bic' is unknown"),
        ({"to": {"iban": "1"}}, "to.iban: '1' does not match"),
        ({"to": {}}, "'iban' is a required property"),
        ({"tags": ["a", "a"]}, "tags: it has the same item twice"),
        ({"tags": [1]}, "tags[0]: 1 is not of type 'string'"),
    ],
    ids=str,
)
async def test_arguments_that_do_not_fit_the_schema_do_not_run(
    wrong: dict[str, Any], named: str
) -> None:
    ran, pay = spent()

    ending = await run(pay, **{**PAID, **wrong})

    assert (ending.closing, ran) == (Closing.ERROR, [])
    assert named in ending.result.decode()
    assert "Not executed" in ending.result.decode()


@pytest.mark.parametrize("draft", ["draft-07/schema#", "draft/2019-09/schema", ""])
def test_a_schema_may_be_of_an_older_draft(draft: str) -> None:
    named = {"$schema": f"http://json-schema.org/{draft}"} if "07" in draft else {}
    named = named or {"$schema": f"https://json-schema.org/{draft}"} if draft else {}
    schema = {**named, **OBJECT, "properties": {"a": {"type": "integer"}}}

    assert Contract("x", schema).problems({"a": 1}) == []
    assert Contract("x", schema).problems({"a": 1.0}) != []


async def test_a_call_that_does_not_fit_is_closed_without_a_question(
    world: World,
) -> None:
    ran, _ = spent()

    def pay(**arguments: Any) -> str:
        ran.append(arguments)
        return "paid"

    asks = tool(pay, name="pay", description="Pay.", schema=PAY, effect="ask")
    world.script(call("pay", cents="5", to={"iban": "DE1"}), "Sorry.")
    async with world.open(tools=[asks]) as chat:
        turn = await chat.send("Pay")
    assert (turn.state, turn.awaiting, ran) == (TurnState.CONFIRMED, (), [])


async def test_the_approved_arguments_are_those_that_run(world: World) -> None:
    ran: list[dict[str, Any]] = []

    def pay(**arguments: Any) -> str:
        ran.append(arguments)
        return "paid"

    asks = tool(pay, name="pay", description="Pay.", schema=PAY, effect="ask")
    world.script(call("pay", **PAID), "Done.")
    async with world.open(tools=[asks]) as chat:
        turn = await chat.send("Pay")
        (asked,) = turn.awaiting
        turn = await chat.approve(asked.id)
    assert (turn.text, asked.input, ran) == ("Done.", dict(PAID), [dict(PAID)])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (short, "no parameter for the property 'tags'"),
        (needing, "it needs the parameter 'why'"),
        (fitting, ""),
        (anything, ""),
    ],
    ids=["a parameter short", "one that nothing fills", "fits", "takes any"],
)
def test_a_function_that_cannot_be_called_is_refused_when_it_is_declared(
    function: Any, said: str
) -> None:
    if not said:
        assert tool(function, name="pay", schema=PAY).name == "pay"
        return
    with pytest.raises(ToolDefinitionError, match=said):
        tool(function, name="pay", schema=PAY)


def test_the_key_is_the_engines_and_no_property() -> None:
    def keyed(idempotency_key: str, **rest: Any) -> str:
        return idempotency_key

    assert tool(keyed, schema=OBJECT).takes_key
    schema = {**OBJECT, "properties": {"idempotency_key": {"type": "string"}}}
    with pytest.raises(ToolDefinitionError, match="which the engine gives"):
        tool(keyed, schema=schema)


# Hostile schemas.


def fanned(depth: int) -> dict[str, Any]:
    """Each part refers to the next one twice: the work doubles with each."""
    parts: dict[str, Any] = {
        f"d{index}": {"anyOf": [{"$ref": f"#/$defs/d{index + 1}"}] * 2}
        for index in range(depth)
    }
    return {**OBJECT, "$defs": {**parts, f"d{depth}": False}, "$ref": "#/$defs/d0"}


HOSTILE: Final[dict[str, tuple[Any, str]]] = {
    "lookahead": (
        {**OBJECT, "properties": {"a": {"pattern": "^(?!a)"}}},
        "linear time",
    ),
    "backreference": (
        {**OBJECT, "patternProperties": {r"(a)\1": {}}},
        "linear time",
    ),
    "a broken pattern": ({**OBJECT, "items": {"pattern": "("}}, "pattern"),
    "a pattern that grows": (
        {**OBJECT, "properties": {"a": {"pattern": "((a{999}){999}){999}"}}},
        "linear time",
    ),
    "a long pattern": (
        {**OBJECT, "properties": {"a": {"pattern": "a" * 300}}},
        "300 characters",
    ),
    "many patterns": (
        {**OBJECT, "patternProperties": {f"a{index}": {} for index in range(17)}},
        "17 patterns",
    ),
    "remote": ({**OBJECT, "$ref": "https://example.invalid/a"}, "leads to no part"),
    "file": (
        {**OBJECT, "properties": {"a": {"$ref": "file:///etc/passwd"}}},
        "leads to no part",
    ),
    "nowhere": ({**OBJECT, "properties": {"a": {"$ref": "#/x/y"}}}, "leads to no part"),
    "into data": (
        {**OBJECT, "default": {"pattern": "("}, "$ref": "#/default"},
        "leads to no part",
    ),
    "another base": (
        {**OBJECT, "properties": {"a": {"$id": "https://example.invalid/"}}},
        "an \\$id",
    ),
    "itself": ({**OBJECT, "allOf": [{"$ref": "#"}]}, "leads to itself"),
    "fanned": (fanned(30), "parts of it apply to one value"),
    "deep": (
        {**OBJECT, "not": json.loads('{"not":' * 70 + "{}" + "}" * 70)},
        "nested deeper",
    ),
    "huge": ({**OBJECT, "description": "x" * 70_000}, "70,0.. bytes"),
    "no object": ({"type": "string"}, "not an object"),
    "no schema": ({**OBJECT, "properties": {"a": {"type": "strng"}}}, "not a legal"),
    "no JSON": ({**OBJECT, "default": object()}, "not JSON"),
    "not a number": ({**OBJECT, "default": float("nan")}, "not JSON"),
    "patterns and unevaluated": (
        {**OBJECT, "patternProperties": {"a": {}}, "unevaluatedProperties": False},
        "unevaluatedProperties and patternProperties",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_schema_is_refused_when_its_tool_is_declared(kind: str) -> None:
    schema, said = HOSTILE[kind]
    with pytest.raises(ToolDefinitionError, match=said) as caught:
        tool(anything, name="x", schema=schema)
    assert caught.value.setting == "schema"


def test_a_pattern_that_is_exponential_elsewhere_is_linear_here() -> None:
    contract = Contract(
        "x",
        {
            **OBJECT,
            "properties": {"a": {"pattern": "^(a+)+$"}},
            "patternProperties": {"^(b|b|bb)+$": {"type": "string"}},
            "additionalProperties": False,
        },
    )
    began = time.process_time()
    found = contract.problems({"a": "a" * 20_000 + "!", "b" * 20_000 + "!": 1})
    assert len(found) == 2
    assert time.process_time() - began < 10


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def tree() -> dict[str, Any]:
    """Two alternatives on each level: the work doubles with each level of the value."""
    inner = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    return {**OBJECT, "oneOf": [inner, {**inner, "minProperties": 1}, inner]}


@pytest.mark.parametrize("depth", [12, 25, 60, 400, 4_000])
def test_a_value_that_takes_too_much_work_is_not_executed(depth: int) -> None:
    began = time.process_time()
    with pytest.raises(UncheckedError):
        Contract("x", tree()).problems(nested(depth))
    assert time.process_time() - began < 60


async def test_a_call_that_cannot_be_checked_does_not_run() -> None:
    ran: list[int] = []

    def act(**_: Any) -> None:
        ran.append(1)

    declared = tool(act, name="x", schema=tree())

    ending = await run(declared, **nested(40))

    assert (ending.closing, ran) == (Closing.ERROR, [])
    assert "not checked" in ending.result.decode()


def test_the_same_item_twice_is_found_in_linear_time() -> None:
    contract = Contract("x", {**OBJECT, "properties": {"a": {"uniqueItems": True}}})
    assert contract.problems({"a": [{"b": index} for index in range(50_000)]}) == []
    assert contract.problems({"a": [1, True, "1", [1], {"1": 1}]}) == []
    assert contract.problems({"a": [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]}) != []


def test_a_long_list_is_checked_to_its_end() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    contract = Contract("x", {**OBJECT, "properties": {"a": numbers}})
    assert contract.problems({"a": [*range(20_000), "x"]}) == [
        "a[20000]: 'x' is not of type 'integer'"
    ]
    assert STEPS_MAX > 20_000
