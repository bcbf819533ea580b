"""Whatever a tool does, its call gets exactly one legal result."""

import json
import threading
from typing import Any

import anyio
import pytest
from pydantic import TypeAdapter

from turnlatch.errors import (
    CorrectableToolError,
    TerminalToolError,
    ToolDefinitionError,
)
from turnlatch.tools import Tool, ToolCall, run_tool, tool
from turnlatch.tools.definition import facts_of
from turnlatch.tools.execution import reconcile, ruled
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.calls import unusable
from turnlatch_states.machine.call import Closing

pytestmark = pytest.mark.anyio


def use(name: str = "look", **arguments: Any) -> ToolUse:
    return ToolUse("toolu_1", name, arguments)


def block(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found


@tool(effect="safe")
async def look(path: str, lines: int = 3) -> str:
    """Look at a file.

    Args:
        path: Where it is.
        lines: How many lines to show.
    """
    return f"{path}:{lines}"


def test_the_schema_comes_from_the_signature_and_the_docstring() -> None:
    assert look.definition["name"] == "look"
    assert look.definition["description"] == "Look at a file."
    schema = look.definition["input_schema"]
    assert schema["required"] == ["path"]
    assert schema["properties"]["path"] == {
        "title": "Path",
        "type": "string",
        "description": "Where it is.",
    }


async def test_a_tool_can_still_be_called_as_the_function_it_is() -> None:
    assert await look("a") == "a:3"


async def test_a_returned_text_is_the_result() -> None:
    ending = await run_tool(look, use(path="a"), "key")

    assert ending.closing is Closing.RESULT
    assert block(ending.result) == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "a:3",
    }


async def test_a_plain_function_runs_in_a_thread() -> None:
    @tool
    def add(a: int, b: int) -> str:
        """Add."""
        return str(a + b)

    ending = await run_tool(add, use("add", a=1, b=2), "key")

    assert block(ending.result)["content"] == "3"


async def test_arguments_that_fail_the_schema_tell_the_model_what_was_wrong() -> None:
    ending = await run_tool(look, use(path="a", lines="many"), "key")

    assert ending.closing is Closing.ERROR
    assert block(ending.result)["is_error"] is True
    assert "lines: Input should be a valid integer" in block(ending.result)["content"]


@pytest.mark.parametrize("in_loop", [True, False])
async def test_a_tool_whose_own_data_is_invalid_was_executed(in_loop: bool) -> None:
    ran: list[int] = []

    def parse(amount: int) -> str:
        ran.append(amount)
        return str(TypeAdapter(int).validate_python("none"))

    async def parse_later(amount: int) -> str:
        return parse(amount)

    pay = tool(name="pay", description="Pay.")(parse_later if in_loop else parse)
    ending = await run_tool(pay, use("pay", amount=5), "key")
    wrong = await run_tool(pay, use("pay", amount="much"), "key")

    assert ran == [5]
    said = block(ending.result)["content"]
    assert said.startswith("ValidationError: ")
    assert "arguments" not in said
    assert block(wrong.result)["content"] == (
        "Not executed: invalid arguments for pay: amount: Input should be a valid"
        " integer"
    )


class Mute(Exception):
    """Has no text, because making it fails."""

    def __str__(self) -> str:
        raise AttributeError("reason")


class MuteToModel(CorrectableToolError):
    def __init__(self) -> None:
        """Leave the message out."""


class MuteEnd(TerminalToolError):
    def __init__(self) -> None:
        """Leave the message out."""


ODD: tuple[tuple[Exception, str], ...] = (
    (Mute(), "Mute: (no text: its __str__ raised AttributeError)"),
    (MuteToModel(), "(no text: its __str__ raised AttributeError)"),
    (MuteEnd(), "(no text: its __str__ raised AttributeError)"),
)


@pytest.mark.parametrize(
    ("error", "says"), ODD, ids=["plain", "correctable", "terminal"]
)
@pytest.mark.parametrize("where", ["tool", "reconcile", "rule"])
async def test_exception_without_a_text_is_still_reported(
    error: Exception, says: str, where: str
) -> None:
    def fails(*_: object) -> Any:
        raise error

    @tool(approve=fails, reconcile=fails)
    async def fail() -> str:
        """Fail."""
        raise error

    if where == "tool":
        ending = await run_tool(fail, use("fail"), "key")
        assert ending.closing is Closing.ERROR
        assert block(ending.result)["content"] == says
    elif where == "reconcile":
        ending = await reconcile(fail, use("fail"), "key")
        told = isinstance(error, MuteToModel)
        assert ending.closing is (Closing.ERROR if told else Closing.UNKNOWN)
    else:
        said, why = await ruled(fail, ToolCall("toolu_1", "fail", {}))
        assert said is False
        assert why.startswith("the approval itself failed: ")


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError(2, "gone"), KeyError("k"), TimeoutError()]
)
async def test_an_exception_is_an_error_result(error: Exception) -> None:
    @tool
    async def fail() -> str:
        """Fail."""
        raise error

    ending = await run_tool(fail, use("fail"), "key")

    assert ending.closing is Closing.ERROR
    assert type(error).__name__ in block(ending.result)["content"]


@pytest.mark.parametrize(
    ("effect", "closing", "says"),
    [
        ("safe", Closing.ERROR, "Timed out after 0.01 s."),
        ("once", Closing.UNKNOWN, "outcome unknown"),
    ],
)
async def test_timed_out_tool_is_reported_as_timed_out(
    effect: Any, closing: Closing, says: str
) -> None:
    @tool(effect=effect, timeout=0.01)
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    ending = await run_tool(hang, use("hang"), "key")

    assert ending.closing is closing
    assert says in block(ending.result)["content"]


async def test_a_tool_that_takes_a_key_gets_it_and_the_model_never_sees_it() -> None:
    @tool
    async def pay(amount: int, idempotency_key: str) -> str:
        """Pay."""
        return f"{amount} under {idempotency_key}"

    ending = await run_tool(pay, use("pay", amount=3), "the-key")

    assert block(ending.result)["content"] == "3 under the-key"
    assert "idempotency_key" not in pay.definition["input_schema"]["properties"]
    assert pay.definition["input_schema"]["required"] == ["amount"]


async def test_cancellation_passes_through() -> None:
    @tool
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    with anyio.move_on_after(0) as scope:
        await run_tool(hang, use("hang"), "key")

    assert scope.cancelled_caught


def test_an_unknown_tool_and_broken_arguments_never_start() -> None:
    missing = unusable(use("nobody"), None)
    broken = unusable(ToolUse("toolu_1", "look", None, '{"pa'), facts_of(look))

    assert missing is not None
    assert broken is not None
    assert "There is no tool named 'nobody'" in block(missing.result)["content"]
    assert 'INVALID_JSON": "{\\"pa' in block(broken.result)["content"]
    assert unusable(use(path="a"), facts_of(look)) is None


def star(*given: str) -> str:
    """Star."""
    return ""


def untyped(thing: object) -> str:
    """Untyped."""
    return str(thing)


del untyped.__annotations__["thing"]  # as if the author had left it out


def only(given: str, /) -> str:
    """Only."""
    return given


def fine(given: str) -> str:
    """Fine."""
    return given


def strange(given: int) -> str:
    """Strange."""
    return str(given)


strange.__annotations__["given"] = threading.Lock  # no schema has locks


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (star, "parameter *given takes any arguments"),
        (untyped, "parameter 'thing' has no type"),
        (only, "parameter 'given' is positional-only"),
        (strange, "no schema can be made from its signature"),
    ],
)
def test_an_unusable_signature_is_refused_with_what_to_change(
    function: Any, problem: str
) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function)

    assert problem in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"effect": "twice"}, "effect: 'twice' is not allowed"),
        ({"timeout": 0}, "timeout: 0 is not allowed; give a finite number above 0"),
        ({"timeout": "soon"}, "timeout: 'soon' is not allowed"),
        ({"max_output": "much"}, "max_output 'much' is not a size"),
        ({"name": "not a name"}, "the name is not"),
    ],
)
def test_an_unusable_option_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        tool(**options)(fine)

    assert problem in str(caught.value)


def test_sizes_are_read_with_their_units() -> None:
    @tool(max_output="2 MiB")
    async def big() -> str:
        """Big."""
        return ""

    assert isinstance(big, Tool)
    assert big.output_bytes_max == 2 * 1024 * 1024
