"""Strategies make what they say: the oracle and the strict simulator agree with them."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from tests.part import examples

from turnlatch import tool
from turnlatch.errors import SettingsError
from turnlatch.simulator import ApiRequest, LoggedRequest, Simulator, parse_faults
from turnlatch.testing import MessagesApi, accepts, strategies
from turnlatch.testing.json_schemas import from_schema
from turnlatch.testing.oracle import MODEL

RUNS = settings(
    max_examples=examples(100),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Item(BaseModel):
    """A thing, and what is in it."""

    name: Annotated[str, Field(min_length=1, max_length=9, pattern="^[a-z]+$")]
    inside: list["Item"] = []


@tool
def order(
    item: Item,
    count: Annotated[int, Field(ge=1, lt=9)],
    size: Size,
    price: Annotated[float, Field(gt=0)] | None = None,
    way: Literal["air", "sea"] = "sea",
    notes: dict[str, int] | None = None,
    place: tuple[int, bool] = (0, False),
) -> str:
    """Order something."""
    return f"{item} {count} {size} {price} {way} {notes} {place}"


def look_up(word: str) -> str:
    """Look up a word."""
    return word


def simulated(
    messages: Sequence[object], tools: Sequence[Mapping[str, Any]]
) -> LoggedRequest:
    """The strict simulator's word on a request."""
    body = {"model": MODEL, "max_tokens": 1024, "messages": messages}
    if tools:
        body["tools"] = tools
    simulator = Simulator()
    headers = (("x-api-key", "k"), ("anthropic-version", "2026-10-21"))
    sent = json.dumps(body).encode()
    simulator.handle(ApiRequest("POST", "/v1/messages", headers, sent))
    return simulator.log[-1]


@RUNS
@given(strategies.legal_messages())
def test_oracle_and_simulator_accept_every_legal_array(messages: list[Any]) -> None:
    assert accepts(messages, tools=[strategies.LOOK_UP]) is None
    asked = simulated(messages, [strategies.LOOK_UP])
    assert asked.accepted, asked.error


@settings(RUNS, max_examples=examples(30))
@given(strategies.legal_messages(order))
def test_a_legal_array_of_a_declared_tool_is_accepted(messages: list[Any]) -> None:
    assert accepts(messages, tools=[order]) is None
    assert simulated(messages, [order.definition]).accepted


def test_oracle_and_simulator_refuse_every_illegal_array_for_its_rule() -> None:
    seen: set[str] = set()

    @settings(RUNS, max_examples=examples(200))
    @given(strategies.illegal_messages())
    def run(illegal: strategies.IllegalMessages) -> None:
        seen.add(illegal.rule)
        found = accepts(illegal.messages, tools=[strategies.LOOK_UP])
        assert found is not None
        assert found.rule == illegal.rule, (found, illegal)
        asked = simulated(illegal.messages, [strategies.LOOK_UP])
        assert asked.error is not None
        assert (asked.status, asked.error.message) == (found.status, found.message)

    run()
    assert seen == set(strategies.BROKEN_RULES)


def test_oracle_gives_any_value_a_finding_and_no_exception() -> None:
    found = accepts([7, None, {"role": []}])
    assert found is not None
    assert found.rule == "R4"


@settings(RUNS, max_examples=examples(50))
@given(strategies.tool_calls(order))
def test_arguments_fit_the_function_that_they_are_for(call: Any) -> None:
    assert call.name == "order"
    order.arguments.bound(json.loads(json.dumps(call.input)))


@RUNS
@given(strategies.faults())
def test_every_fault_script_parses(script: str) -> None:
    assert len(parse_faults(script)) == script.count(",") + 1


@settings(RUNS, max_examples=examples(40))
@given(strategies.answers(look_up), strategies.user_inputs())
def test_every_answer_is_a_legal_reply_and_every_input_is_accepted(
    answer: Any, said: Any
) -> None:
    with MessagesApi(environment={}) as api, api.sync_client() as client:
        api.answers(answer)
        tools: Any = [strategies.LOOK_UP]
        made = client.messages.create(
            model=MODEL,
            max_tokens=1024,
            messages=[{"role": "user", "content": said}],
            tools=tools,
        )
        calls = [one for one in made.content if one.type == "tool_use"]
        assert made.stop_reason == ("tool_use" if calls else "end_turn")
        assert {one.name for one in calls} <= {"look_up"}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string", "format": "hostname"}, "format 'hostname'"),
        ({"type": "integer", "multipleOf": 3}, "multipleOf next to integer"),
        ({"type": "thing"}, "type 'thing'"),
        ({"anyOf": [True], "not": {}}, "not next to anyOf"),
        ({"$ref": "#/$defs/nothing"}, "leads nowhere"),
        (7, "7 is not a schema"),
    ],
)
def test_a_schema_that_is_not_read_is_refused(schema: object, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        from_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": ["string", "null"], "maxLength": 3},
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"oneOf": [{"const": 1}, {"enum": ["a", "b"]}]},
        *({"type": "string", "format": one} for one in ("date", "time", "uuid")),
    ],
    ids=str,
)
def test_values_of_a_schema_are_json(schema: object) -> None:
    @settings(RUNS, max_examples=examples(20))
    @given(from_schema(schema))
    def run(value: object) -> None:
        assert json.loads(json.dumps(value, allow_nan=False)) == value

    run()


def test_a_planted_array_of_another_rule_is_seen() -> None:
    planted = strategies.IllegalMessages([{"role": "user", "content": " "}], "R8")
    found = accepts(planted.messages)
    assert found is not None
    assert found.rule != planted.rule


@settings(RUNS, max_examples=examples(20))
@given(st.data())
def test_an_array_that_is_drawn_twice_is_the_same(data: st.DataObject) -> None:
    """Nothing but the drawn choices goes in: the ids come from a count."""
    messages = data.draw(strategies.legal_messages())
    ids: list[object] = [
        block["id"]
        for message in messages
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_use"
    ]
    assert ids == [f"toolu_{place}" for place in range(1, len(ids) + 1)]


HIDDEN = """
import sys
sys.modules["hypothesis"] = None
import turnlatch.testing
try:
    {use}
except ImportError as missing:
    print(missing)
"""


@pytest.mark.parametrize(
    "use",
    ["from turnlatch.testing import strategies", "turnlatch.testing.TableMachine"],
)
def test_names_that_need_hypothesis_say_how_to_install_it(use: str) -> None:
    program = HIDDEN.format(use=use)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "needs Hypothesis: pip install 'turnlatch[testing]'" in done.stdout
