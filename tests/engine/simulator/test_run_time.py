"""A simulator that is changed while it runs: faults, limits, rules and credentials."""

import json
from typing import Any

import attrs
import pytest

from turnlatch.errors import SettingsError
from turnlatch.simulator import (
    ApiLimits,
    ApiRequest,
    ApiResponse,
    FaultScriptError,
    Scripted,
    ScriptedFault,
    Simulator,
    Status,
    parse_faults,
)

BODY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


@attrs.define
class World:
    """A simulator on a clock that is set by hand."""

    faults: str = ""
    options: dict[str, Any] = attrs.field(factory=dict[str, Any])
    now: float = 100.0
    simulator: Simulator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.simulator = Simulator(
            Scripted(["a"] * 30),
            faults=self.faults,
            clock=lambda: self.now,
            **self.options,
        )

    def post(
        self, *, key: str = "k", path: str = "/v1/messages", **fields: Any
    ) -> ApiResponse:
        headers = (("x-api-key", key), ("anthropic-version", "2026-10-21"))
        data = json.dumps({**BODY, **fields}).encode()
        response = self.simulator.handle(ApiRequest("POST", path, headers, data))
        self.simulator.finish(response)
        return response

    def statuses(self, count: int) -> list[int]:
        return [self.post().status for _ in range(count)]

    def rejected(self) -> list[int]:
        """The statuses of the rejections that nothing explains."""
        return [each.status for each in self.simulator.unscripted_rejections()]


def test_injected_faults_count_from_the_next_request() -> None:
    world = World()
    assert world.statuses(3) == [200, 200, 200]

    world.simulator.inject("529 @1, 429 @3-4")

    assert world.statuses(6) == [529, 200, 429, 429, 200, 200]
    assert world.rejected() == []


def test_the_faults_that_were_there_keep_their_numbers_and_go_first() -> None:
    world = World("500 @2, 503 @4")
    world.post()

    world.simulator.inject((ScriptedFault(Status(529)), *parse_faults("429 @2")))

    # The 529 gives way to the 500 and meets the request after it.
    assert world.statuses(5) == [500, 529, 503, 200, 200]


def test_injected_times_begin_now() -> None:
    world = World("500 at t=30")
    world.now += 20

    world.simulator.inject("529 at t=5 until t=9 forever")

    met: list[int] = []
    for seconds in (0, 5, 3, 1, 1):
        world.now += seconds
        met += world.statuses(1)
    assert met == [200, 529, 529, 200, 500]


def test_injected_faults_may_wait_for_another_endpoint() -> None:
    world = World()
    world.post()
    world.simulator.inject("429 on count_tokens @1")
    count: dict[str, Any] = {"path": "/v1/messages/count_tokens"}

    # Such a request has the number of the last message before it.
    before = world.post(**count).status
    world.post()

    assert (before == 429, world.post(**count).status) == (False, 429)


@pytest.mark.parametrize("faults", ["limit imgaes_max=20", "rule R99 off"])
def test_injected_unknown_names_are_refused(faults: str) -> None:
    world = World()

    with pytest.raises(SettingsError, match=faults.split()[1].split("=")[0]):
        world.simulator.inject(f"529, {faults}")
    with pytest.raises(FaultScriptError):
        world.simulator.inject("529, sleep")

    assert world.simulator.pending_faults == ()
    assert world.statuses(1) == [200]


def test_pending_faults_are_listed() -> None:
    world = World("429 @2, 529, slow headers 1s forever, 503 at t=5 until t=6 forever")
    simulator = world.simulator

    def left() -> list[str]:
        return [str(fault.action) for fault in simulator.pending_faults]

    assert left() == ["429", "529", "slow headers 1s", "503"]
    world.post()
    assert left() == ["429", "slow headers 1s", "503"]
    simulator.inject("500 @2-3, 502 on count_tokens @1")
    world.post()
    assert left() == ["slow headers 1s", "503", "500", "502"]
    world.now += 6
    world.statuses(2)
    assert left() == ["slow headers 1s"]


def test_fault_that_missed_its_request_does_not_stay_pending() -> None:
    world = World("429 @1 on stream, 529 @2 model=other")

    assert world.statuses(2) == [200, 200]

    assert world.simulator.pending_faults == ()


def test_a_key_is_revoked_and_restored() -> None:
    world = World(options={"keys": {"a", "b"}})

    def keys(*names: str) -> list[int]:
        return [world.post(key=name).status for name in names]

    assert keys("a", "b") == [200, 200]
    world.simulator.change(keys={"b"})
    assert keys("a", "b") == [401, 200]
    world.simulator.change(keys={"c"})
    assert keys("b", "c") == [401, 200]
    world.simulator.change(keys={"a", "b"})
    assert keys("a", "b", "c") == [200, 200, 401]
    # Each of them was good at some time: who uses it has done nothing wrong.
    assert world.rejected() == []


def test_a_key_that_was_never_good_is_the_clients_own_fault() -> None:
    world = World(options={"keys": {"a"}})
    world.simulator.change(keys={"b"})

    world.post(key="z")
    world.post(key="a", messages=[])

    # The second one is illegal with any key.
    assert world.rejected() == [401, 401]


def test_any_key_may_be_good_again() -> None:
    world = World()
    world.simulator.change(keys=frozenset[str]())
    refused = world.post()
    world.simulator.change(keys=None)

    assert (refused.status, world.post().status) == (401, 200)
    assert world.rejected() == []


def test_changed_limits_and_rules_explain_what_they_refuse() -> None:
    world = World(options={"rules_off": frozenset({"R32"})})
    blank: dict[str, Any] = {"stop_sequences": [" "]}
    assert world.post(**blank).status == 200

    world.simulator.change(limits=ApiLimits(output_max=50), rules_off=frozenset())
    assert world.post().status == 400
    assert world.post(max_tokens=5, **blank).status == 400
    assert world.rejected() == []

    world.simulator.change(limits=ApiLimits(), rules_off=frozenset({"R3"}))
    assert world.post(messages=[]).status == 200
    assert world.post(**blank).status == 400
    assert world.rejected() == []
    assert world.post(max_tokens=10**9).status == 400
    assert world.rejected() == [400]


def test_change_keeps_the_fields_it_does_not_name() -> None:
    world = World("limit output_max=50 @1")
    assert world.post().status == 400

    world.simulator.change(keys={"k"})
    assert world.post().status == 400
    world.simulator.change(limits=ApiLimits())
    assert (world.post().status, world.post(key="z").status) == (200, 401)


def test_rules_that_do_not_exist_cannot_be_switched_off() -> None:
    with pytest.raises(SettingsError, match="R99"):
        Simulator(rules_off=frozenset({"R99"}))
    simulator = Simulator()
    with pytest.raises(SettingsError, match="R99"):
        simulator.change(rules_off=frozenset({"R8", "R99"}))


def test_a_window_that_shrinks_explains_the_long_prompts_it_refuses() -> None:
    world = World("limit context_window=2000 @3+")
    long: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * 10_000}]}

    met = [world.post(**long).status for _ in range(4)]

    assert met == [200, 200, 400, 400]
    assert "prompt is too long: 2504 tokens > 2000" in str(
        world.simulator.log[-1].error
    )
    assert world.rejected() == []


def test_a_body_limit_that_shrinks_explains_the_413s_it_causes() -> None:
    world = World("limit request_bytes_max=2000 @2+")
    long: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * 3_000}]}

    assert [world.post(**long).status for _ in range(2)] == [200, 413]
    head = ApiRequest("POST", "/v1/messages", (), b"", body_bytes=3_000)
    assert world.simulator.handle(head).status == 413
    assert world.rejected() == []
    # Too long for any limit, and too long but illegal all the same.
    world.simulator.handle(attrs.evolve(head, body_bytes=10**9))
    world.post(**long, temperature=1)
    assert world.rejected() == [413, 413]
