"""Every setting is checked when it is given, with one typed error that names it.

What is public is found by looking, not from a list: a parameter that is added later is
given everything of `PALETTE` here, and is red until something refuses what it cannot be.
"""

import inspect
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Unpack

import anthropic
import attrs
import pytest
from tests.harness.published import prefix_changes
from tests.harness.world import World

import turnlatch
import turnlatch.journal
import turnlatch.sdk
import turnlatch.sync
from turnlatch import (
    CompactionPolicy,
    Conversation,
    Limits,
    Price,
    RetryPolicy,
    SettingsError,
    Tool,
    ToolDefinitionError,
    TurnSettings,
    child_tool,
    tool,
)
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.options import OPTIONS, Options, demand_options
from turnlatch.sdk import SdkModel
from turnlatch_states.fsm.errors import TurnlatchError

pytestmark = pytest.mark.anyio

PALETTE: Final[Mapping[str, Any]] = {
    "None": None,
    "True": True,
    "0": 0,
    "1": 1,
    "-1": -1,
    "huge": 10**400,
    "0.5": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "empty": "",
    "blank": " ",
    "x": "x",
    "10": "10",
    "surrogate": "\ud800",
    "bytes": b"x",
    "[]": [],
    "[1]": [1],
    "{}": {},
    "{1: 2}": {1: 2},
    "object": object(),
    "class": int,
    "function": len,
}
"""What callers give by mistake. None of it is a whole client, store, clock or tool."""

EVERYTHING: Final = frozenset(PALETTE)
TEXT: Final = frozenset({"x", "10"})
ANY_TEXT: Final = TEXT | {"empty", "blank"}
COUNT: Final = frozenset({"1"})
NUMBER: Final = frozenset({"1", "0.5"})
SHARE: Final = NUMBER | {"0"}
MAYBE: Final = frozenset({"None"})
FLAG: Final = frozenset({"True"})

OPEN: Final[Mapping[str, frozenset[str]]] = {
    "name": TEXT,
    "store": MAYBE | ANY_TEXT - {"empty"},
    "model": MAYBE | TEXT,
    "max_tokens": MAYBE | {"0", "1"},
    "system": MAYBE | ANY_TEXT | {"[]"},
    "tools": MAYBE | {"[]"},
    "betas": MAYBE | {"[]"},
    "settings": MAYBE | {"{}"},
    "diagnostics": MAYBE | FLAG,
    "threads": MAYBE,
    "cache": MAYBE,
    "client": MAYBE,
    "base_url": MAYBE,
    "timeout": NUMBER,
    "idle_timeout": NUMBER,
    "retry": MAYBE,
    "limits": MAYBE,
    "compaction": MAYBE,
    "before_compaction": MAYBE | {"function"},
    "after_compaction": MAYBE | {"function"},
    "deps": EVERYTHING,
    "clock": MAYBE,
    "ids": MAYBE,
}

SENT: Final = {
    "content": TEXT,
    "key": MAYBE | ANY_TEXT,
    "output": MAYBE | {"class"},
    **{name: OPEN[name] for name in TurnSettings.__annotations__},
}

TAKES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "open": OPEN,
    "sync open": OPEN,
    "configure": {
        name: OPEN[name]
        for name in (
            *("model", "max_tokens", "system", "tools", "settings", "betas", "threads"),
            *("cache", "client"),
        )
    },
    "send": {**SENT, "raise_on_failure": FLAG},
    "stream": SENT,
    "stream_approve": {"call": ANY_TEXT, "digest": MAYBE | ANY_TEXT},
    "stream_deny": {"call": ANY_TEXT, "reason": ANY_TEXT | {"surrogate"}},
    "steer": {"content": TEXT, "key": MAYBE | ANY_TEXT},
    "approve": {"call": ANY_TEXT, "digest": MAYBE | ANY_TEXT},
    "deny": {"call": ANY_TEXT, "reason": ANY_TEXT | {"surrogate"}},
    "rewind": {"turns": frozenset({"0", "1"})},
    "fork": {"name": TEXT},
    "pin": {"name": TEXT, "text": TEXT},
    "unpin": {"name": TEXT},
    "watch": {"after": MAYBE},
    "diagram": {"format": frozenset()},
    "Limits": {
        "requests_per_turn_max": COUNT,
        "seconds_per_turn_max": MAYBE | NUMBER,
        "tokens_per_turn_max": MAYBE | COUNT,
        "dollars_per_turn_max": MAYBE | NUMBER,
        "price": MAYBE,
        "calls_parallel_max": COUNT,
        "calls_per_turn_max": MAYBE | COUNT,
        "repeats_max": MAYBE | COUNT,
        "hook_seconds_max": NUMBER,
        "outputs_max": COUNT,
        "stream_above_tokens": COUNT | {"0"},
    },
    "Price": {
        "input": SHARE,
        "output": SHARE,
        "cache_read": MAYBE | SHARE,
        "cache_write": MAYBE | SHARE,
        "cache_write_1h": MAYBE | SHARE,
        "web_searches": SHARE,
        "long": frozenset(),
    },
    "RetryPolicy": {
        "attempts_max": COUNT,
        "first_wait_seconds": SHARE,
        "wait_max_seconds": SHARE,
        "hint_max_seconds": SHARE,
        "jitter": SHARE,
    },
    "CompactionPolicy": {
        "auto": FLAG,
        "at": NUMBER,
        "gain_min": SHARE,
        "per_turn_max": COUNT | {"0"},
        "futile_max": COUNT | {"0"},
        "window": MAYBE | COUNT,
        "instructions": MAYBE | TEXT,
    },
    "tool": {
        "effect": frozenset(),
        "timeout": NUMBER,
        "max_output": COUNT | {"10", "huge"},
        "approve": MAYBE | {"function"},
        "approval_timeout": MAYBE | NUMBER,
        "grace": NUMBER,
        "reconcile": MAYBE | {"function"},
        "name": MAYBE | TEXT,
        "description": MAYBE | TEXT,
        "schema": MAYBE,
    },
    "child_tool": {
        "name": MAYBE | TEXT,
        "description": MAYBE | TEXT,
        "timeout": NUMBER,
    },
    "SQLiteStore": {
        "path": ANY_TEXT - {"empty"},
        "synchronous": frozenset(),
        "clock": frozenset({"function"}),
        "uptime": frozenset({"function"}),
        "owner": MAYBE,
        "connect": frozenset({"function"}),
        "accept_loss": FLAG,
        "renew": FLAG,
        "wait": SHARE,
    },
    "MemoryStore": {"clock": frozenset({"function"})},
    "SdkModel": {
        "client": MAYBE,
        "base_url": MAYBE,
        "api_key": MAYBE | TEXT,
        "total_seconds": NUMBER,
        "idle_seconds": NUMBER,
        "grace_seconds": NUMBER,
        "limits": MAYBE,
        "now": frozenset({"function"}),
    },
}
"""What of `PALETTE` each public parameter may be. Everything else has to be refused."""

SECOND: Final[Mapping[str, Any]] = {
    "send": {"content": "Hi"},
    "stream": {"content": "Hi"},
    "steer": {"content": "Hi"},
    "stream_approve": {"call": "toolu_1"},
    "stream_deny": {"call": "toolu_1"},
    "approve": {"call": "toolu_1"},
    "deny": {"call": "toolu_1"},
    "pin": {"name": "a", "text": "b"},
    "Price": {"input": 1, "output": 1},
    "child_tool": {"name": "a", "description": "b"},
}
"""What else has to be given for a call to be one."""

GIVEN_OUT: Final = frozenset(
    [
        "Arrived",
        "BlockOpened",
        "Blocks",
        "CallIdentity",
        "Progressed",
        "RunnableTool",
        "ToolContext",
        "ToolSource",
        "Budget",
        "Cache",
        "CallApproved",
        "CallAsked",
        "CallClosed",
        "CallDenied",
        "CallLost",
        "CallReport",
        "CallStarted",
        "CallState",
        "Clock",
        "Closing",
        "CompactionConfirmed",
        "CompactionDone",
        "CompactionPlan",
        "CompactionSent",
        "ConversationOpened",
        "Copy",
        "Cursor",
        "Effect",
        "Event",
        "Exchange",
        "Fault",
        "FaultKind",
        "Finding",
        "Forked",
        "History",
        "Ids",
        "Listing",
        "Lost",
        "Method",
        "Missed",
        "Model",
        "Move",
        "Pinned",
        "PrefixChange",
        "Probed",
        "Profile",
        "ProfileChanged",
        "Purpose",
        "Question",
        "Reconciled",
        "Recorded",
        "Remedy",
        "RemedyChosen",
        "Reply",
        "ReplyConfirmed",
        "RequestSent",
        "RetryCancelled",
        "RetryScheduled",
        "Rewound",
        "RunningCall",
        "Snapshot",
        "Steered",
        "Store",
        "StreamEvent",
        "Substate",
        "Suspension",
        "TextDelta",
        "ThinkingDelta",
        "Threads",
        "Tool",
        "ToolCall",
        "ToolUse",
        "Turn",
        "TurnAbandoned",
        "TurnContinued",
        "TurnEnded",
        "TurnFailed",
        "TurnOpened",
        "TurnRetried",
        "TurnSettings",
        "TurnState",
        "TurnStream",
        "TurnSuspended",
        "Usage",
        "View",
        "Watch",
        "__version__",
        "running_call",
    ]
)
"""Public names that the engine makes and callers read, and types that they annotate."""

OPENED: Final = frozenset(
    [
        "configure",
        "send",
        "stream",
        "stream_approve",
        "stream_deny",
        "steer",
        "approve",
        "deny",
        "rewind",
        "fork",
        "pin",
        "unpin",
        "watch",
        "diagram",
    ]
)
"""The methods of an open conversation."""


def fine(path: str) -> str:
    """Look."""
    return path


def declared(**given: Any) -> Tool:
    """A tool that is declared with these options."""
    return tool(**given)(fine)


PLACES: Final[Mapping[str, Callable[..., Any]]] = {
    "open": Conversation.open,
    "sync open": turnlatch.sync.Conversation.open,
    "Limits": Limits,
    "Price": Price,
    "RetryPolicy": RetryPolicy,
    "CompactionPolicy": CompactionPolicy,
    "tool": declared,
    "child_tool": child_tool,
    "SQLiteStore": SQLiteStore,
    "MemoryStore": MemoryStore,
    "SdkModel": SdkModel,
}


def parameters(of: Any) -> list[str]:
    """The names that a callable takes by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(of).parameters.values()
    names = [one.name for one in found if one.kind in kinds and one.name != "self"]
    if any(one.annotation == Unpack[TurnSettings] for one in found):
        names += TurnSettings.__annotations__
    return names


def signature_of(place: str) -> list[str]:
    """The parameters of a place, as they are now."""
    match place:
        case "open" | "sync open":
            return parameters(Conversation.open)
        case "tool":
            return parameters(tool)
        case _ if place in OPENED:
            return parameters(getattr(Conversation, place))
        case _:
            return parameters(PLACES[place])


EVERY: Final = [(place, name) for place in TAKES for name in signature_of(place)]


@pytest.fixture
async def chat(world: World) -> AsyncGenerator[Conversation]:
    async with world.open() as opened:
        yield opened


async def refused(call: Callable[[], Any]) -> SettingsError | None:
    """How a call is refused, if it is for what it was given."""
    try:
        made = call()
        if inspect.isawaitable(made):
            await made
    except SettingsError as error:
        return error
    except TurnlatchError:
        return None
    return None


def test_every_public_name_is_a_place_a_value_or_an_exception() -> None:
    public = {
        *turnlatch.__all__,
        *turnlatch.journal.__all__,
        *(set(turnlatch.sdk.__all__) & {"SdkModel"}),
    }
    exceptions = {
        name
        for name in turnlatch.__all__
        if isinstance(one := getattr(turnlatch, name), type)
        and issubclass(one, Exception)
    }
    left = public - exceptions - GIVEN_OUT - {"Conversation"} - set(TAKES)

    assert not left, "say of it what it takes"


def test_an_option_has_a_parameter_a_field_and_a_row() -> None:
    """Whoever adds an option and forgets one of the three is told which."""
    taken = inspect.signature(Conversation.open).parameters
    parameter = {
        name: (one.annotation, one.default)
        for name, one in taken.items()
        if name != "name"
    }
    field = {one.name: (one.type, one.default) for one in attrs.fields(Options)}
    assert parameter.keys() == field.keys() == OPTIONS.keys()
    assert parameter == field
    described = inspect.getdoc(Options)
    assert described is not None
    assert set(re.findall(r"^    (\w+): ", described, re.MULTILINE)) == field.keys()
    changeable = inspect.signature(Conversation.configure).parameters.keys() - {"self"}
    assert changeable <= field.keys()


def test_every_method_that_takes_something_is_a_place() -> None:
    for name, method in inspect.getmembers(Conversation, inspect.isfunction):
        if not name.startswith("_") and parameters(method):
            assert name in OPENED
    with_options = ("open", "configure", "send", "rewind", "pin", "approve", "deny")
    for name in with_options:
        assert hasattr(turnlatch.sync.Conversation, name)


@pytest.mark.parametrize(("place", "name"), EVERY)
async def test_illegal_value_of_an_option_is_refused_by_name(
    chat: Conversation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # where a path that is taken makes its file
    call: Callable[..., Any]
    call = getattr(chat, place) if place in OPENED else PLACES[place]
    legal = TAKES[place].get(name, frozenset[str]())
    least = {"name": "a"} if place.endswith("open") else {}
    if place == "SQLiteStore":
        least = {"path": str(tmp_path / "a.db")}
    before, options = chat.snapshot, {**SECOND.get(place, least)}
    for label in PALETTE.keys() - legal:
        error = await refused(lambda: call(**{**options, name: PALETTE[label]}))  # noqa: B023
        assert error is not None, f"{place}({name}={label}) is not refused"
        assert error.setting == name or name in str(error), f"{label}: {error}"
        assert len(str(error)) < 600
        assert chat.snapshot is before


@pytest.mark.parametrize(
    ("place", "name"), [one for one in EVERY if one[0] not in OPENED]
)
def test_legal_value_of_an_option_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    least = {"name": "a"} if place.endswith("open") else {}
    if place == "SQLiteStore":
        least = {"path": str(tmp_path / "a.db")}
    for label in TAKES[place][name] if name != "connect" else ():
        made = PLACES[place](**{**SECOND.get(place, least), name: PALETTE[label]})
        if isinstance(made, SQLiteStore):
            made.close()


def test_a_parameter_without_a_row_fails_at_once() -> None:
    """The planted bug: `open` asks for every option's row, so none can be forgotten."""
    assert set(OPTIONS) == {*signature_of("open"), *signature_of("configure")} - {
        "name"
    }
    with pytest.raises(KeyError):
        demand_options({"added_later": 1})


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"betas": "foo"}, "betas"),
        ({"betas": ["a,b"]}, "betas"),
        ({"betas": ["a\r\nx-api-key: b"]}, "betas"),
        ({"settings": [1]}, "settings"),
        ({"settings": {"temprature": 1}}, "temprature"),
        ({"settings": {"model": "x"}}, "model"),
        ({"settings": {"metadata": float("nan")}}, "metadata"),
        ({"system": [{"type": "text"}]}, "system"),
        ({"system": ["x"]}, "system"),
        ({"tools": [fine]}, "tools"),
        ({"tools": [{"name": "x"}]}, "tools"),
        ({"timeout": "10"}, "timeout"),
        ({"timeout": 86_401}, "timeout"),
        ({"limits": {}}, "limits"),
        ({"limits": Limits}, "limits"),
        ({"retry": 3}, "retry"),
        ({"client": None, "base_url": "nope"}, "base_url"),
        ({"client": None, "base_url": "https://"}, "base_url"),
        ({"client": None, "base_url": "https://host:port"}, "base_url"),
        ({"client": None, "base_url": "http://host.test"}, "base_url"),
        ({"client": None, "base_url": "ftp://host.test"}, "base_url"),
        ({"base_url": "https://host.test"}, "base_url"),
        ({"store": "a\0b"}, "store"),
        ({"threads": "sometimes"}, "threads"),
        ({"cache": "2h"}, "cache"),
    ],
)
async def test_opening_refuses_it_and_stores_nothing(
    world: World, options: dict[str, Any], setting: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        async with world.open(**options):
            pass

    assert caught.value.setting == setting
    assert isinstance(caught.value, TurnlatchError)
    with closing(SQLiteStore(world.store)) as store:
        assert not any(one.entries for one in store.conversations())


class AnthropicBedrock(anthropic.AsyncAnthropic):
    """Named as the classic client is: what that one needs is not installed here."""


class AsyncAnthropicVertex(anthropic.AsyncAnthropic):
    """The same."""


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (AnthropicBedrock(api_key="k"), "AsyncAnthropicBedrockMantle"),
        (AsyncAnthropicVertex(api_key="k"), "AsyncAnthropicGoogleCloud"),
        (anthropic.Anthropic(api_key="k"), "synchronous"),
        (anthropic.AsyncAnthropic, "the class AsyncAnthropic"),
        (anthropic, "not allowed"),
        ("simulate", "not allowed"),
    ],
    ids=["classic bedrock", "classic vertex", "sync", "class", "module", "text"],
)
def test_a_client_that_cannot_serve_is_refused_where_it_is_given(
    client: object, says: str
) -> None:
    for opened in (Conversation.open, turnlatch.sync.Conversation.open):
        with pytest.raises(SettingsError, match=says) as caught:
            opened("a", client=client)
        assert caught.value.setting == "client"


@pytest.mark.parametrize("name", ["AsyncAnthropicBedrock", "AsyncAnthropicVertex"])
def test_the_classic_clients_of_the_sdk_take_no_body_of_bytes(name: str) -> None:
    """What the refusal says is so, and the client that it names instead exists."""
    module = "bedrock" if "Bedrock" in name else "vertex"
    package = __import__(f"anthropic.lib.{module}._client", fromlist=["_"])
    source = inspect.getsource(package._prepare_options)

    assert 'json_data.pop("model"' in source
    assert "Expected" in source
    given = object.__new__(getattr(package, name))
    with pytest.raises(SettingsError) as caught:
        demand_options({"client": given})
    assert hasattr(anthropic, caught.value.remedy.split("(")[0].split()[1])


def test_an_asynchronous_client_serves_the_sync_twin(world: World) -> None:
    world.script("Hello.")
    store = world.folder / "sync.db"
    with turnlatch.sync.Conversation.open(
        "a", store=store, client=world.client()
    ) as chat:
        assert chat.send("Hi").text == "Hello."


CANARY: Final = "sk-ant-canary"


class Telling:
    """An object whose text tells a key, or fails."""

    def __repr__(self) -> str:
        return CANARY

    __str__ = __repr__


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize(
    "given",
    [CANARY, Telling(), [CANARY], {"authorization": CANARY}, CANARY.encode()],
    ids=["text", "object", "list", "dict", "bytes"],
)
def test_no_refusal_tells_what_may_be_a_key(name: str, given: object) -> None:
    told = ""
    try:
        demand_options({name: given})
    except SettingsError as error:
        told = f"{error} {error!r}"
    assert "canary" not in told


def test_password_in_a_refused_base_url_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Conversation.open("a", base_url="ftp://me:secret-word@host.test")

    assert "secret-word" not in repr(caught.value)


def test_one_error_covers_tools_too() -> None:
    with pytest.raises(SettingsError) as caught:
        tool(timeout=-1)(fine)

    assert isinstance(caught.value, ToolDefinitionError)
    assert caught.value.setting == "timeout"
    assert caught.value.tool == "fine"


# What is withdrawn, and what a refusal leaves.


@tool(effect="safe")
async def fetch(what: str) -> str:
    """Fetch something."""
    return f"fetched {what}"


@tool(effect="safe")
async def store(what: str) -> str:
    """Store something."""
    return f"stored {what}"


def names(chat: Conversation) -> list[str]:
    return [one["name"] for one in chat.profile.as_body().get("tools", [])]


FULL: Final[Mapping[str, Any]] = {
    "tools": [fetch],
    "system": "Be brief.",
    "betas": ["a-2026-01-01"],
    "settings": {"metadata": {"user_id": "u"}},
}


@pytest.mark.parametrize(
    ("nothing", "field"),
    [
        ({"tools": []}, "tools"),
        ({"system": ""}, "system"),
        ({"settings": {}}, "metadata"),
    ],
)
@pytest.mark.parametrize("how", ["reopened", "configured"])
async def test_option_set_to_nothing_is_withdrawn_durably(
    world: World, nothing: dict[str, Any], field: str, how: str
) -> None:
    async with world.open(**FULL) as chat:
        assert field in chat.profile.as_body()
        if how == "configured":
            await chat.configure(**nothing)
            assert field not in chat.profile.as_body()
    kept: dict[str, Any] = {"tools": None}
    async with world.open(
        **(kept if how == "configured" else {**kept, **nothing})
    ) as chat:
        assert field not in chat.profile.as_body()
        others = {"tools", "system", "metadata"} - {field}
        assert others <= chat.profile.as_body().keys()
        await chat.send("Hi")
    body = json.loads(world.simulator.log[-1].raw)
    assert field not in body


async def test_betas_are_withdrawn_by_an_empty_list(world: World) -> None:
    async with world.open(**FULL) as chat:
        await chat.configure(betas=[])
        assert chat.profile.betas == ()


class Named(StrEnum):
    """Texts of a class of the caller's, which overrides what it likes."""

    MODEL = "claude-sonnet-4-5"
    BETA = "a-2026-01-01"
    WORD = "word"

    def __str__(self) -> str:
        """Say something else."""
        return "something else"


async def test_a_text_of_another_class_is_the_text_that_it_holds(world: World) -> None:
    world.script("One.", "Two.")
    word, betas = Named.WORD, [Named.BETA]
    async with world.open(word, system=word, model=Named.MODEL, betas=betas) as chat:
        await chat.configure(model=Named.MODEL, betas=betas)
        await chat.pin(word, word)
        turn = await chat.send(word, key=word)
        again = await chat.send(word, key="word")
        found = [chat.name, chat.profile.model, *chat.profile.betas, *chat.pins]
        fork = chat.fork(Named.BETA)
    async with fork as other:
        found.append(other.name)

    assert again.number == turn.number
    assert found == ["word", Named.MODEL, Named.BETA, "word", Named.BETA]
    assert {type(one) for one in found} == {str}
    body = json.loads(world.simulator.log[-1].raw)
    assert (body["model"], body["system"][0]["text"]) == ("claude-sonnet-4-5", "word")


async def test_configured_tools_are_offered_and_run(world: World) -> None:
    world.script(turnlatch_call("store", what="a"), "Done.")
    async with world.open(**FULL) as chat:
        await chat.configure(tools=[store], system="Be kind.")
        assert names(chat) == ["store"]
        turn = await chat.send("Hi")
        assert [one.name for one in turn.calls] == ["store"]
        assert "stored a" in str(chat.messages)
        fork = chat.fork("b")
    async with fork as other:
        assert names(other) == ["store"]
        assert other.profile.as_body()["system"] == "Be kind."


async def test_a_tool_that_was_withdrawn_is_answered_as_unknown(world: World) -> None:
    world.script(turnlatch_call("fetch", what="a"), "Done.")
    async with world.open(**FULL) as chat:
        await chat.configure(tools=[store])
        turn = await chat.send("Hi")
    assert "fetched" not in str(turn.calls)
    assert turn.text == "Done."


async def test_a_change_tells_what_it_costs_the_prompt_cache(world: World) -> None:
    world.script("One.", "Two.")
    async with world.open(**FULL) as chat:
        await chat.send("Hi")
        assert chat.prefix_change is None
        await chat.configure(tools=[store])
        change = chat.prefix_change
        assert change is not None
        assert change.part == "settings"
        seen = [one async for one in chat.stream("Again")]
        assert prefix_changes(seen) == [change]


@pytest.mark.parametrize(
    "wrong",
    [
        {"client": 42},
        {"client": anthropic.Anthropic(api_key="k")},
        {"settings": {"temprature": 1}},
        {"betas": "foo"},
        {"tools": [fine]},
        {"cache": "2h"},
        {"max_tokens": 10**9},
        {"system": 3},
    ],
    ids=lambda one: f"{next(iter(one))} {type(next(iter(one.values()))).__name__}",
)
async def test_a_configure_that_raises_has_changed_nothing(
    world: World, wrong: dict[str, Any]
) -> None:
    world.script(turnlatch_call("fetch", what="a"), "Done.")
    async with world.open(**FULL) as chat:
        before, endpoint = chat.snapshot, chat.endpoint
        right: dict[str, Any] = {
            "model": "claude-opus-4-8",
            "tools": [store],
            "system": "Be kind.",
        }
        with pytest.raises(SettingsError):
            await chat.configure(**{**right, **wrong})
        assert chat.snapshot is before
        assert chat.endpoint == endpoint
        turn = await chat.send("Hi")
        assert "fetched a" in str(chat.messages), "the functions are the old ones"
        assert turn.text == "Done."


async def test_a_client_that_cannot_be_closed_is_left(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.open() as chat:

        async def aclose(_: object) -> None:
            raise OSError("gone")

        monkeypatch.setattr(SdkModel, "aclose", aclose)
        with caplog.at_level(logging.ERROR):
            await chat.configure(client=world.client())
        monkeypatch.undo()
        assert "could not be closed" in caplog.text
        assert (await chat.send("Hi")).text


def turnlatch_call(name: str, **given: Any) -> Any:
    from turnlatch.simulator import call

    return call(name, **given)


def test_a_tool_that_is_declared_twice_is_itself() -> None:
    again: Tool = tool(fetch)
    assert again is fetch
