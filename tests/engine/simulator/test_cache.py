"""The prompt cache: what is written, what is read, and that it sums to the prompt."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.simulator import (
    ApiLimits,
    ApiRequest,
    ApiResponse,
    Scripted,
    Simulator,
    call,
    parse_events,
    refuse,
    text,
)
from turnlatch.simulator.cache import LOOKBACK, PromptCache

MODEL = "claude-opus-5"
LEAST = 512  # the shortest prefix this model caches, in tokens
BETAS = (
    *("compact-2026-01-12", "compact-2026-09-04", "message-threads-2026-08-12"),
    *("context-management-2025-06-27", "fast-mode-2026-02-01"),
    "mid-conversation-system-clear-at-2026-08-21",
)
FIVE: Any = {"type": "ephemeral"}
HOUR: Any = {"type": "ephemeral", "ttl": "1h"}
LOOK: Any = {"name": "look", "input_schema": {"type": "object"}}


def block(tokens: int, mark: Any = None, letter: str = "x") -> Any:
    """A text block of so many tokens, marked or not."""
    marked = {} if mark is None else {"cache_control": mark}
    return {"type": "text", "text": letter * (4 * tokens), **marked}


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def marked(value: Any, mark: Any = FIVE) -> Any:
    return {**value, "cache_control": mark}


@attrs.frozen
class Spent:
    """What one reply says of its prompt, in tokens."""

    read: int
    five: int
    hour: int
    rest: int


@attrs.define
class World:
    """A simulator on a clock that is set by hand."""

    options: dict[str, Any] = attrs.field(factory=dict[str, Any])
    model: Any = None
    now: float = 0.0
    simulator: Simulator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.simulator = Simulator(
            self.model or Scripted(["a"] * 99), clock=lambda: self.now, **self.options
        )

    def begin(self, path: str = "/v1/messages", **fields: Any) -> ApiResponse:
        """Send a request whose response is still leaving."""
        body: dict[str, Any] = {"model": MODEL, "max_tokens": 400, **fields}
        if path.endswith("count_tokens"):
            body = {key: body[key] for key in body if key in COUNTED}
        headers = (
            ("x-api-key", "k"),
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", ",".join(BETAS)),
        )
        data = json.dumps(body).encode()
        return self.simulator.handle(ApiRequest("POST", path, headers, data))

    def send(self, **fields: Any) -> Any:
        """The message that answers a request."""
        response = self.begin(**fields)
        self.simulator.finish(response)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def ask(self, *messages: Any, **fields: Any) -> Spent:
        """What a request spent, after a check that the parts are the whole."""
        spent = spent_of(self.send(messages=list(messages), **fields)["usage"])
        count = self.begin(
            "/v1/messages/count_tokens", messages=list(messages), **fields
        )
        whole = json.loads(count.body)["input_tokens"]
        assert spent.read + spent.five + spent.hour + spent.rest == whole
        return spent


COUNTED = frozenset(
    {
        *("model", "messages", "system", "tools", "thinking", "tool_choice"),
        *("cache_control", "speed"),
    }
)


def spent_of(usage: Any) -> Spent:
    kinds = usage["cache_creation"]
    five, hour = (kinds[f"ephemeral_{ttl}_input_tokens"] for ttl in ("5m", "1h"))
    assert usage["cache_creation_input_tokens"] == five + hour
    return Spent(usage["cache_read_input_tokens"], five, hour, usage["input_tokens"])


def test_without_a_mark_nothing_is_cached() -> None:
    world = World()

    for _ in range(2):
        assert world.ask(user(block(900)), system="s" * 4_000) == Spent(0, 0, 0, 1_904)


def test_a_marked_prefix_is_written_once_and_then_read() -> None:
    world = World()
    system = [block(600, FIVE)]

    assert world.ask(user(block(10)), system=system) == Spent(0, 600, 0, 14)
    assert world.ask(user(block(20)), system=system) == Spent(600, 0, 0, 24)
    assert world.ask(user(block(20)), system=[block(700, FIVE)]).read == 0


@pytest.mark.parametrize(("tokens", "written"), [(LEAST - 1, 0), (LEAST, LEAST)])
def test_a_prefix_below_the_models_minimum_is_not_cached(
    tokens: int, written: int
) -> None:
    world = World()
    system = [block(tokens, FIVE)]

    assert world.ask(user(block(9)), system=system).five == written
    assert world.ask(user(block(9)), system=system).read == written
    # Another model has another minimum.
    assert world.ask(user(block(9)), system=system, model="claude-opus-4-6").five == 0


def test_the_automatic_mark_moves_on_with_the_conversation() -> None:
    world = World()
    messages = [user(block(600))]
    before = 0
    for turn in range(5):
        spent = world.ask(*messages, cache_control=FIVE)
        # All of it ends up in the cache; what the last turn wrote is read.
        assert spent == Spent(before, 604 + turn * 29 - before, 0, 0)
        before = 604 + turn * 29
        messages += [{"role": "assistant", "content": "a"}, user(block(20))]


def test_the_automatic_mark_walks_back_to_a_block_that_can_bear_it() -> None:
    world = World()
    said = {"type": "redacted_thinking", "data": "QUJD"}
    blank = {"role": "assistant", "content": [block(700, None), said]}
    world.simulator.change(rules_off=frozenset({"R7", "R18"}))
    spent = world.ask(user(block(600)), blank, cache_control=FIVE)
    assert (spent.five, spent.rest > 0) == (600 + 700 + 2 * 4, True)


def test_the_automatic_mark_does_not_stand_on_what_will_be_cleared() -> None:
    world = World()
    hint = {"role": "system", "content": "Now.", "clear_at": "next_user_message"}

    spent = world.ask(user(block(600)), hint, cache_control=FIVE, model="claude-opus-5")

    assert (spent.five, spent.rest) == (604, 5)


def test_the_automatic_mark_may_stand_on_the_system_prompt() -> None:
    world = World(options={"rules_off": frozenset({"R3"})})

    spent = world.ask(system=[block(600)], cache_control=FIVE)

    assert spent == Spent(0, 600, 0, 0)


def test_an_automatic_mark_on_a_marked_block_changes_nothing() -> None:
    world = World()

    world.ask(user(block(600, HOUR)), cache_control=HOUR)

    assert world.ask(user(block(600, HOUR))) == Spent(604, 0, 0, 0)


def test_the_order_is_tools_then_system_then_messages() -> None:
    world = World()
    tool = marked({**LOOK, "description": "d" * 4_000})
    system = [block(600, FIVE)]
    first = world.ask(user(block(600, FIVE)), tools=[tool], system=system)
    tools = first.five - 600 - 604

    def read(letter: str = "x", **fields: Any) -> int:
        usual: dict[str, Any] = {"tools": [tool], "system": system, **fields}
        return world.ask(user(block(600, FIVE, letter)), **usual).read

    assert tools > LEAST
    assert read() == first.five
    assert read("y") == tools + 600
    assert read(system=[block(600, FIVE, "y")]) == tools
    assert read(tools=[{**tool, "name": "watch"}]) == 0
    assert read(model="claude-opus-4-8") == 0
    assert read() == first.five


def test_another_speed_has_another_system_prompt() -> None:
    world = World()
    tool = marked({**LOOK, "description": "d" * 4_000})
    fields: dict[str, Any] = {"tools": [tool], "system": [block(600, FIVE)]}
    written = world.ask(user(block(9)), **fields).five

    assert world.ask(user(block(9)), **fields, speed="fast").read == written - 600
    assert world.ask(user(block(9)), **fields, speed="fast").read == written


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"thinking": {"type": "disabled"}}, 600),
        ({"tool_choice": {"type": "any"}}, 600),
        ({"output_config": {"effort": "low"}}, 600),
        ({"output_config": {"effort": "high"}}, 1_300),
        ({"max_tokens": 20, "stop_sequences": ["x"]}, 1_300),
    ],
    ids=["thinking", "tool_choice", "effort", "default effort", "others"],
)
def test_fields_that_render_messages_change_only_the_messages(
    fields: Any, read: int
) -> None:
    world = World()
    usual: dict[str, Any] = {"system": [block(600, FIVE)], "tools": [LOOK]}
    messages = [user(block(668, FIVE))]
    tools = world.send(messages=messages, **usual)["usage"]
    extra = tools["cache_creation_input_tokens"] - 600 - 672

    usage = world.send(messages=messages, **usual, **fields)["usage"]

    assert usage["cache_read_input_tokens"] - extra == min(read, 1_272)


def found(mark: Any) -> Any:
    part = {**block(20), **({"cache_control": mark} if mark else {})}
    return {"type": "search_result", "source": "s", "title": "t", "content": [part]}


SAME: dict[str, tuple[Any, Any]] = {
    "marks within": (user(block(600), found(FIVE)), user(block(600), found(None))),
    "string or block": (user(block(600)), {"role": "user", "content": "x" * 2_400}),
    "null members": (user(block(600)), user({**block(600), "citations": None})),
    "merged messages": (user(block(600), block(5)), None),
    "order of keys": (user(block(600)), user(dict(reversed(block(600).items())))),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=list(SAME))
def test_equivalent_requests_share_the_cache(pair: tuple[Any, Any]) -> None:
    world = World()
    first, second = pair
    again = [second] if second else [user(block(600)), user(block(5))]
    written = world.ask(first, cache_control=FIVE).five

    read = world.ask(*again, cache_control=FIVE).read

    # A message of its own costs a little, and so does a mark within a search result.
    assert read > 600
    assert abs(read - written) < 15


def called(arguments: Any, *, extra: Any = None) -> list[Any]:
    used = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": arguments}
    return [
        user(block(600)),
        {"role": "assistant", "content": [{**used, **(extra or {})}]},
        user({"type": "tool_result", "tool_use_id": "toolu_1", "content": "4 C"}),
    ]


def test_the_order_of_keys_in_an_input_is_part_of_the_prefix() -> None:
    world = World()
    fields: dict[str, Any] = {"tools": [LOOK], "cache_control": FIVE}
    written = world.ask(*called({"a": 1, "b": 2}), **fields).five

    caller = {"caller": {"type": "direct"}}
    assert world.ask(*called({"a": 1, "b": 2}, extra=caller), **fields).read == written
    assert world.ask(*called({"b": 2, "a": 1}), **fields).read == 0
    # An argument may have the name of a mark.
    assert world.ask(*called({"cache_control": 1}), **fields).read == 0
    assert world.ask(*called({"cache_control": 2}), **fields).read == 0


def blocks_of(count: int, *marks: int) -> Any:
    """A message of numbered blocks, marked where it says, counted from 1."""
    made = [
        block(60, FIVE if n in marks else None, chr(64 + n)) for n in range(1, count)
    ]
    return user(*made, block(60, FIVE if count in marks else None, chr(64 + count)))


def test_a_mark_looks_back_twenty_blocks() -> None:
    # The example of the documentation, with three turns.
    world = World()
    assert world.ask(blocks_of(10, 10)).read == 0
    assert world.ask(blocks_of(15, 15)).read == 10 * 60 + 4
    lost = attrs.evolve(world)
    assert lost.ask(blocks_of(10, 10)).five
    assert lost.ask(blocks_of(15, 15)).five
    assert lost.ask(blocks_of(35, 35)).read == 0
    assert world.ask(blocks_of(35, 15, 35)).read == 15 * 60 + 4


@pytest.mark.parametrize(("more", "found"), [(LOOKBACK - 1, True), (LOOKBACK, False)])
def test_the_mark_itself_is_the_first_position(more: int, found: bool) -> None:
    world = World()
    world.ask(blocks_of(10, 10))

    assert bool(world.ask(blocks_of(10 + more, 10 + more)).read) is found


def test_parallel_calls_and_their_results_are_one_position_each() -> None:
    world = World()
    ids = [f"toolu_{number}" for number in range(30)]
    uses: list[Any] = [
        {"type": "tool_use", "id": each, "name": "look", "input": {}} for each in ids
    ]
    results = [
        {"type": "tool_result", "tool_use_id": each, "content": [block(1), block(2)]}
        for each in ids
    ]
    talk = [user(block(600)), {"role": "assistant", "content": uses}, user(*results)]
    fields: dict[str, Any] = {"tools": [LOOK], "cache_control": FIVE}

    written = world.ask(talk[0], **fields).five

    assert world.ask(*talk, **fields).read == written


def test_a_mark_within_a_result_closes_the_prefix_there() -> None:
    world = World()
    talk = called({})[:-1]

    def result(second: int, mark: Any = None) -> Any:
        parts = [block(600, FIVE), block(second, mark)]
        return user({"type": "tool_result", "tool_use_id": "toolu_1", "content": parts})

    first = world.ask(*talk, result(50), tools=[LOOK])
    assert first.rest == 50
    assert world.ask(*talk, result(70), tools=[LOOK]).read == first.five
    whole = world.ask(*talk, result(70, FIVE), tools=[LOOK])
    assert whole == Spent(first.five, 70, 0, 0)


def test_moving_the_marks_moves_nothing_else() -> None:
    world = World()
    first = world.ask(user(block(600, FIVE), block(50, FIVE)))

    assert world.ask(user(block(600), block(50), block(9, FIVE))).read == first.five


@pytest.mark.parametrize(("mark", "seconds"), [(FIVE, 300), (HOUR, 3_600)])
def test_an_entry_lives_on_while_it_is_used(mark: Any, seconds: int) -> None:
    world = World()
    system = [block(600, mark)]
    reads = [world.ask(user(block(1)), system=system).read]
    for passed in (seconds - 1, seconds - 1, seconds):
        world.now += passed
        reads.append(world.ask(user(block(1)), system=system).read)

    assert reads == [0, 600, 600, 0]


def test_the_time_a_response_takes_counts() -> None:
    world = World()
    first = world.begin(messages=[user(block(600, FIVE))])
    world.now += 200
    world.simulator.finish(first)
    world.now += 100

    assert world.ask(user(block(600, FIVE))).read == 0


def test_two_lifetimes_are_paid_for_apart() -> None:
    world = World()
    system = [block(600, HOUR), block(100, HOUR)]
    first = world.ask(user(block(96, FIVE), block(10)), system=system)
    assert first == Spent(0, 100, 700, 10)

    # Positions A, B and C of the documentation.
    longer = [*system[:1], block(100, HOUR), block(40, HOUR)]
    later = world.ask(user(block(96, FIVE), block(10)), system=longer)
    assert later == Spent(700, 100, 40, 10)

    world.now += 600
    old = world.ask(user(block(96, FIVE), block(10)), system=system)
    assert old == Spent(700, 100, 0, 10)


def test_an_hour_begins_where_five_minutes_were() -> None:
    world = World()
    world.ask(user(block(600, FIVE)))
    assert world.ask(user(block(600, HOUR))) == Spent(604, 0, 0, 0)

    world.now += 1_000

    assert world.ask(user(block(600, FIVE))).read == 604


def test_an_entry_is_there_when_its_response_begins() -> None:
    world = World(model=Scripted([text("a"), *["b"] * 9]))
    world.simulator.inject("slow headers 5s @1")
    slow = world.begin(messages=[user(block(600, FIVE))])

    assert world.ask(user(block(600, FIVE))).read == 0
    world = World(model=Scripted(["a"] * 9))
    world.simulator.inject("slow headers 5s @1")
    world.begin(messages=[user(block(600, FIVE))])
    world.now += 5
    assert world.ask(user(block(600, FIVE))).read == 604

    world = World(model=Scripted(["a"] * 9))
    world.simulator.inject("slow headers 5s @1")
    slow = world.begin(messages=[user(block(600, FIVE))])
    # In a test no time passes; that the response has left says as much.
    world.simulator.finish(slow)
    assert world.ask(user(block(600, FIVE))).read == 604


def test_the_first_response_to_begin_opens_what_several_write() -> None:
    world = World()
    world.simulator.inject("slow headers 5s @1")
    first = world.begin(messages=[user(block(600, FIVE))])
    second = world.begin(messages=[user(block(600, FIVE))])

    assert world.ask(user(block(600, FIVE))).read == 604
    world.simulator.finish(first)
    world.simulator.finish(second)
    assert world.ask(user(block(600, FIVE))).read == 604


def test_later_write_removes_no_earlier_entry() -> None:
    world = World()
    world.simulator.inject("slow headers 5s @1, slow headers 9s @2")
    for _ in range(2):
        world.begin(messages=[user(block(600, FIVE))])

    world.now = 5

    assert world.ask(user(block(600, FIVE))).read == 604


def test_a_refused_request_leaves_nothing_to_read() -> None:
    world = World(model=Scripted([refuse(), "a", "a"]))

    assert world.ask(user(block(600, FIVE))).five == 604
    assert world.ask(user(block(600, FIVE))).read == 0
    assert world.ask(user(block(600, FIVE))).read == 604


def test_a_request_that_failed_leaves_nothing_and_a_cut_reply_does() -> None:
    world = World()
    world.simulator.inject("529 @1, cut 40% reset @2")
    for _ in range(2):
        world.simulator.finish(world.begin(messages=[user(block(600, FIVE))]))

    assert [exchange.accepted for exchange in world.simulator.log] == [False, True]
    assert world.ask(user(block(600, FIVE))).read == 604


def test_a_request_for_no_tokens_warms_the_cache() -> None:
    world = World()
    system = [block(600, FIVE)]

    assert world.ask(user(block(1)), system=system, max_tokens=0).five == 600
    assert world.ask(user(block(2)), system=system).read == 600


def test_a_stream_tells_it_at_its_start_and_at_its_end() -> None:
    world = World()
    world.ask(user(block(600, FIVE)))

    response = world.begin(messages=[user(block(600, FIVE), block(9))], stream=True)

    told = [event.data for event in parse_events(response.body) if event.data]
    usages: list[Any] = [
        *(data["message"] for data in told if data["type"] == "message_start"),
        *(data for data in told if data["type"] == "message_delta"),
    ]
    assert [spent_of(each["usage"]) for each in usages] == [Spent(604, 0, 0, 9)] * 2


def test_a_compaction_on_demand_reads_what_the_talk_has_written() -> None:
    world = World()
    talk = [user(block(600, FIVE))]
    world.ask(*talk)

    usage = world.send(messages=talk, compaction={"type": "summarize"})["usage"]

    assert spent_of(usage) == Spent(0, 0, 0, 0)
    [told] = usage["iterations"]
    assert spent_of(told) == Spent(604, 0, 0, 0)


def test_a_threshold_compaction_pays_for_two_prompts() -> None:
    world = World()
    edit = {
        "type": "compact_20260112",
        "trigger": {"type": "input_tokens", "value": 50_000},
    }
    management = {"edits": [edit]}
    fields: dict[str, Any] = {
        "system": [block(600, FIVE)],
        "messages": [user(block(9))],
    }
    world.send(**fields)

    fields["messages"] = [user(block(60_000, FIVE))]
    usage = world.send(**fields, context_management=management)["usage"]

    long, short = (spent_of(each) for each in usage["iterations"])
    assert (long.read, long.five, long.rest) == (600, 60_004, 0)
    # The summary takes the place of what it is of; only this prompt is told at the top.
    assert (short.read, short.five) == (600, 0)
    assert 0 < short.rest < 1_000
    assert spent_of(usage) == short


def test_a_thread_reads_by_the_marks_it_holds() -> None:
    world = World()
    first = world.send(
        messages=[user(block(9))], system=[block(600, FIVE)], thread={"type": "create"}
    )

    onward = {"type": "continue", "previous_message_id": first["id"]}
    usage = world.send(messages=[user(block(20))], thread=onward)["usage"]

    assert spent_of(usage).read == 600


def test_deferred_tool_is_not_part_of_the_prefix() -> None:
    world = World()
    later = {**LOOK, "name": "later", "defer_loading": True}
    fields: dict[str, Any] = {"system": [block(600, FIVE)]}
    written = world.ask(user(block(9)), tools=[LOOK], **fields).five

    assert world.ask(user(block(9)), tools=[LOOK, later], **fields).read >= written


def test_simulator_without_strict_rules_has_an_empty_cache() -> None:
    world = World({"strict": False})

    for _ in range(2):
        usage = world.send(messages=[user(block(600, FIVE))])["usage"]
        assert spent_of(usage).rest == usage["input_tokens"] > 600


def test_old_entries_are_forgotten() -> None:
    cache = PromptCache()
    for number in range(50):
        body = {"messages": [user(block(1_200, HOUR, chr(64 + number)))]}
        _, writes = cache.look(body, None, 1_204, 100.0 * number)
        assert len(writes) == 1
        cache.write(number, writes, 100.0 * number)

    # An hour is 36 times 100 seconds.
    assert len(cache) == 36


def test_the_cache_has_no_say_in_what_is_refused() -> None:
    world = World({"limits": ApiLimits(context_window=500)})

    assert world.begin(messages=[user(block(600, FIVE))]).status == 400


# The diagnosis and the cache look at the same things.

PARTS = st.integers(0, 3)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request whose parts are long enough to be cached, one mark at the end of each."""
    letters = [chr(65 + draw(PARTS)) for _ in range(draw(st.integers(1, 3)))]
    said = [user(block(600, None, letter)) for letter in letters]
    replies = [{"role": "assistant", "content": "a"} for _ in letters]
    messages = [each for pair in zip(said, replies, strict=True) for each in pair][:-1]
    tool = {**LOOK, "description": "d" * (4_400 + draw(PARTS) // 3)}
    fields: dict[str, Any] = {
        "messages": messages,
        "tools": [marked(tool)],
        "system": [block(600, FIVE, chr(65 + draw(PARTS) // 3))],
        "cache_control": FIVE,
    }
    if draw(PARTS) == 0:
        fields["model"] = "claude-opus-4-8"
    if draw(PARTS) == 0:
        fields["tool_choice"] = {"type": "none"}
    return fields


def disagreement(reason: str | None, marked: int, read: int) -> str | None:
    """What is wrong with a diagnosis, given what could be read and what was."""
    if reason is None and read < marked:
        return f"nothing changed, and {read} of {marked} tokens were read"
    if reason is not None and read >= marked:
        return f"{reason}, and all {marked} tokens were read"
    return None


@given(requests(), requests())
def test_the_diagnosis_agrees_with_the_cache(
    earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    world = World()
    first = world.send(**earlier, diagnostics={"previous_message_id": None})
    usage = first["usage"]
    total = usage["cache_creation_input_tokens"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (0, 0)

    second = world.send(**later, diagnostics={"previous_message_id": first["id"]})

    told = second["diagnostics"]
    reason = told and told["cache_miss_reason"]
    read = second["usage"]["cache_read_input_tokens"]
    assert disagreement(reason and reason["type"], total, read) is None
    if reason and reason["type"] not in ("unavailable", "messages_changed"):
        assert reason["cache_missed_input_tokens"] == total - (
            read if reason["type"] == "system_changed" else 0
        )


def test_the_agreement_check_sees_a_disagreement() -> None:
    assert disagreement(None, 700, 600)
    assert disagreement("system_changed", 700, 700)
    assert disagreement(None, 700, 700) is disagreement("x", 700, 0) is None


def test_change_outside_the_prefix_cannot_be_diagnosed() -> None:
    world = World()
    fields: dict[str, Any] = {"messages": [user(block(9))], "tools": [LOOK]}
    first = world.send(**fields, diagnostics={"previous_message_id": None})

    asked = {"previous_message_id": first["id"]}
    choice = {"type": "none"}
    told = world.send(**fields, tool_choice=choice, diagnostics=asked)["diagnostics"]

    assert told == {"cache_miss_reason": {"type": "unavailable"}}


def test_a_reply_that_calls_is_cached_like_any_other() -> None:
    world = World(model=Scripted([call("look"), "a"]))
    fields: dict[str, Any] = {"tools": [LOOK], "cache_control": FIVE}
    first = world.send(messages=[user(block(600))], **fields)
    [used] = first["content"]
    result = {"type": "tool_result", "tool_use_id": used["id"], "content": "4 C"}

    spent = world.ask(
        user(block(600)),
        {"role": "assistant", "content": [used]},
        user(result),
        **fields,
    )

    assert spent.read == first["usage"]["cache_creation_input_tokens"]
