"""The SDK's own tools are taken as they are, and held to what every tool is held to."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from anthropic import beta_async_tool, beta_tool
from anthropic.lib.tools import (
    BetaAsyncBuiltinFunctionTool,
    BetaBuiltinFunctionTool,
    BetaFunctionTool,
    ToolError,
)
from pydantic import BaseModel
from tests.harness.world import World

from turnlatch import Closing, SettingsError, ToolDefinitionError, TurnState, tool
from turnlatch.simulator import call, reply
from turnlatch.tools import run_tool
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending

pytestmark = pytest.mark.anyio


class Order(BaseModel):
    """A model of the user's."""

    dish: str
    count: int = 1


@beta_tool
def weigh(grams: int, unit: Literal["g", "kg"] = "g") -> str:
    """Weigh something.

    Args:
        grams: How much.
    """
    return f"{grams} {unit}"


@beta_async_tool
async def order(wanted: Order) -> str:
    """Order a dish."""
    return f"{type(wanted).__name__} {wanted.dish} {wanted.count}"


BY_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"grams": {"type": "integer", "maximum": 10}},
    "required": ["grams"],
    "additionalProperties": False,
}


@beta_tool(name="bounded", input_schema=BY_SCHEMA)
def bounded(grams: float) -> str:
    """Weigh a little."""
    return f"{type(grams).__name__} {grams}"


@beta_async_tool(name="untyped", input_schema=BY_SCHEMA)
async def untyped(**arguments: Any) -> str:
    """Weigh a little."""
    return json.dumps(arguments)


def bare(x: Any) -> Any:
    """Echo."""
    return x


bare.__annotations__.clear()  # as a function without types


class Memory(BetaBuiltinFunctionTool):
    """A typed tool, like the SDK's memory tool."""

    def to_dict(self) -> Any:
        return {"type": "memory_20250818", "name": "memory"}

    def call(self, input: object) -> str:
        return f"remembered {input}"


class Later(BetaAsyncBuiltinFunctionTool):
    """The same, async."""

    def to_dict(self) -> Any:
        return {"type": "memory_20250818", "name": "memory"}

    async def call(self, input: object) -> str:
        return f"remembered {input}"


async def run(given: Any, **arguments: Any) -> Ending:
    declared = tool(given)
    return await run_tool(declared, ToolUse("toolu_1", declared.name, arguments), "k")


def content(ending: Ending) -> Any:
    return json.loads(ending.result).get("content")


@pytest.mark.parametrize(
    ("given", "arguments", "told"),
    [
        (weigh, {"grams": 3}, "3 g"),
        (weigh, {"grams": 3, "unit": "kg"}, "3 kg"),
        (order, {"wanted": {"dish": "soup"}}, "Order soup 1"),
        (bounded, {"grams": 3}, "float 3.0"),
        (untyped, {"grams": 3}, '{"grams": 3}'),
        (Memory(), {"command": "view"}, "remembered {'command': 'view'}"),
        (Later(), {"command": "view"}, "remembered {'command': 'view'}"),
        (BetaFunctionTool(bare), {"x": "said"}, "said"),
    ],
    ids=[
        "typed",
        "all-typed",
        "model",
        "schema",
        "untyped",
        "class",
        "async-class",
        "bare",
    ],
)
async def test_a_tool_of_the_sdk_runs_as_it_does_there(
    given: Any, arguments: dict[str, Any], told: str
) -> None:
    ending = await run(given, **arguments)
    assert (ending.closing, content(ending)) == (Closing.RESULT, told)


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (weigh, {"grams": "3"}),
        (weigh, {"grams": 3.0}),
        (weigh, {"grams": 3, "more": 1}),
        (weigh, {"grams": 3, "unit": "t"}),
        (order, {"wanted": {"dish": "soup", "salt": True}}),
        (bounded, {"grams": 11}),
        (bounded, {"grams": 3, "more": 1}),
        (untyped, {"grams": "3"}),
        (untyped, {}),
    ],
    ids=lambda one: str(getattr(one, "name", one)),
)
async def test_arguments_that_do_not_fit_are_not_executed(
    given: Any, arguments: dict[str, Any]
) -> None:
    ending = await run(given, **arguments)
    assert ending.closing is Closing.ERROR
    assert str(content(ending)).startswith("Not executed: ")


def test_the_definition_is_the_one_of_the_sdk() -> None:
    for one in (weigh, order, bounded, untyped, Memory()):
        declared = tool(one)
        assert declared.definition == one.to_dict()
        assert (declared.name, declared.effect) == (one.name, "once")


def test_options_go_around_a_tool_of_the_sdk() -> None:
    declared = tool(weigh, effect="safe", timeout=3, name="scale", description="Weigh.")
    assert (declared.effect, declared.timeout_seconds) == ("safe", 3.0)
    named = {**weigh.to_dict(), "name": "scale", "description": "Weigh."}
    assert declared.definition == named

    @tool(effect="safe", name="other")
    @beta_tool
    def inner(grams: int) -> str:
        """Weigh."""
        return str(grams)

    assert (inner.name, inner.effect) == ("other", "safe")


def test_a_second_schema_for_a_tool_of_the_sdk_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="a tool of the SDK has a schema"):
        tool(weigh, schema=BY_SCHEMA)


def failing(content: Any) -> BetaFunctionTool[Any]:
    class OwnError(ToolError):
        """A class of the user's."""

    def fail() -> str:
        """Fail."""
        raise OwnError(content)

    return beta_tool(fail)


PNG = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}


async def test_the_content_of_a_tool_error_is_the_result_block_for_block() -> None:
    text = {"type": "text", "text": "no such file\nat all"}
    image = {"type": "image", "source": PNG}

    ending = await run(failing([text, image]))

    block = json.loads(ending.result)
    first, second = block["content"]
    assert (ending.closing, block["is_error"], first) == (Closing.ERROR, True, text)
    # The API takes only text in an error: what is left out is named, and kept.
    assert "image/png" in second["text"]
    assert "8 characters" in second["text"]
    assert json.loads(ending.output)[1] == image


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("plain words\nin lines", "plain words\nin lines"),
        ([{"type": "text", "text": "x"}, {"type": "text", "text": " "}], "x"),
        ([], "The tool failed without saying why."),
        ("", "The tool failed without saying why."),
    ],
    ids=["text", "blank blocks", "no blocks", "blank"],
)
async def test_a_tool_error_always_gives_a_legal_result(given: Any, told: str) -> None:
    ending = await run(failing(given))
    block = json.loads(ending.result)
    found = block["content"]
    text = found if isinstance(found, str) else found[0].get("text", found)
    assert (block["is_error"], text) == (True, told)


async def test_blocks_that_a_tool_returns_are_content_and_other_lists_are_data() -> (
    None
):
    def show(data: bool) -> Any:
        """Show."""
        return [1, {"type": "text"}] if data else [{"type": "text", "text": "x"}]

    blocks = await run(beta_tool(show), data=False)
    data = await run(beta_tool(show), data=True)

    assert content(blocks) == [{"type": "text", "text": "x"}]
    assert content(data) == '[1, {"type": "text"}]'


async def test_a_conversation_takes_them_as_they_are(world: World) -> None:
    both = reply(call("weigh", grams=3), call("order", wanted={"dish": "soup"}))
    world.script(both, "Done.")
    async with world.open(tools=[weigh, order]) as chat:
        turn = await chat.send("Go")
    assert (turn.state, turn.text) == (TurnState.CONFIRMED, "Done.")
    assert [one.closing for one in turn.calls] == [Closing.RESULT] * 2
    assert [one["name"] for one in world.bodies[0]["tools"]] == ["weigh", "order"]


async def test_tools_of_the_sdk_can_be_given_later_and_mixed(world: World) -> None:
    world.script(call("weigh", grams=3), "Done.")
    async with world.open() as chat:
        await chat.configure(tools=[*world.tools(), weigh])
        turn = await chat.send("Go")
        assert turn.calls[0].closing is Closing.RESULT
        with pytest.raises(SettingsError, match="two tools are named 'weigh'"):
            await chat.configure(tools=[weigh, tool(weigh)])


async def test_a_tool_with_a_broken_to_dict_is_refused_when_it_is_given() -> None:
    class Broken(Memory):
        def to_dict(self) -> Any:
            raise RuntimeError("no")

        @property
        def name(self) -> str:
            return "broken"

    with pytest.raises(ToolDefinitionError, match=r"to_dict\(\) fails"):
        tool(Broken())


def test_a_class_of_tools_is_not_a_tool(world: World) -> None:
    kinds: list[Callable[..., Awaitable[Any]] | Any] = [Memory, Later]
    for one in kinds:
        with pytest.raises(SettingsError, match="is not a tool"):
            world.open(tools=[one])
