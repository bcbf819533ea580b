"""A property test of the sample agent as a good engineer writes it without the kit.

It has the strict simulator, Hypothesis's state machine, faults, refusals, deaths at an
effect, and one invariant for each way in which such an agent is known to break.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import anthropic
import httpx2
from examples import shop_agent
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from turnlatch.simulator import Scripted, Seeded, Simulator, call
from turnlatch.simulator.transport import SyncSimulatorTransport

FAULTS = ("429 retry-after=2", "529", "529 @2-9", "cut 5 clean", "cut 5 reset", "reset")
REFUSED = "refused words"
CALLS = {"pay": call("pay", amount=3), "refund": call("refund", amount=5)}

RUN = settings(
    max_examples=500,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
    report_multiple_bugs=False,
)


class Died(BaseException):
    """The process dies here."""


class ByHand(RuleBasedStateMachine):
    """A conversation with the agent."""

    bugs: ClassVar[Collection[str]] = ()
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.script = Scripted([], then=Seeded(0))
        self.server = Simulator(self.script, clock=lambda: self.now)
        transport = SyncSimulatorTransport(self.server, sleep=self.sleep)
        self.client = anthropic.Anthropic(
            api_key="test",
            base_url="http://simulator.invalid",
            http_client=httpx2.Client(transport=transport),
        )
        self.folder = Path(tempfile.mkdtemp())
        self.said = 0
        self.asked: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.replies: set[str] = set()
        self.armed = self.poisoned = False
        type(self).steps = 0
        self.start()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def start(self) -> None:
        self.dies = ""
        tools = {"pay": self.tool("pay"), "refund": self.tool("refund")}
        self.agent = shop_agent.Agent(self.client, self.folder, tools, self.bugs)

    def tool(self, name: str) -> Callable[..., str]:
        def run(amount: int) -> str:
            if self.dies == "before":
                raise Died
            self.done[name] += 1
            if self.dies == "after":
                raise Died
            if self.dies == "error":
                self.dies = ""
                raise ValueError("the till is closed")
            return f"{name} {amount}"

        return run

    def act(self, act: Callable[[], object]) -> None:
        with mock.patch("time.sleep", self.sleep):
            try:
                act()
            except Died:
                self.start()
        self.calm()

    def calm(self) -> None:
        self.server.clear_faults()
        self.armed = False
        if self.poisoned:
            self.server.inject(f'400 message="refused" body="{REFUSED}" forever')

    def talk(self, tool: str | None, words: str = "") -> None:
        self.said += 1
        text = f"This is reply {self.said}, which comes in several pieces."
        self.replies.add(text)
        self.asked[tool or ""] += 1
        self.script.replace(*([CALLS[tool]] if tool else []), text)
        self.act(lambda: self.agent.say(f"({self.said}) {words}"))

    @rule(tool=st.sampled_from([None, "pay", "refund"]))
    def say(self, tool: str | None) -> None:
        type(self).steps += 1
        self.talk(tool)

    @rule()
    def say_what_is_refused(self) -> None:
        type(self).steps += 1
        self.poisoned = True
        self.server.inject(f'400 message="refused" body="{REFUSED}" forever')
        self.talk(None, REFUSED)

    @rule()
    def approve(self) -> None:
        type(self).steps += 1
        self.said += 1
        text = f"This is reply {self.said}, which comes in several pieces."
        self.replies.add(text)
        self.script.replace(text)
        self.act(self.agent.approve)

    @precondition(lambda self: not self.armed)
    @rule(fault=st.sampled_from(FAULTS))
    def meet(self, fault: str) -> None:
        type(self).steps += 1
        self.armed = True
        self.server.inject(fault)

    @precondition(lambda self: not self.dies)
    @rule(when=st.sampled_from(["before", "after", "error"]))
    def break_at_the_next_effect(self, when: str) -> None:
        type(self).steps += 1
        self.dies = when

    @rule()
    def start_again(self) -> None:
        type(self).steps += 1
        self.start()

    def accepted(self) -> list[Any]:
        bodies = [one.body for one in self.server.log if one.accepted and one.body]
        messages: Any = bodies[-1].get("messages") if bodies else []
        return list(messages)

    def blocks(self, role: str, kind: str) -> list[Any]:
        return [
            block
            for message in self.accepted()
            if message["role"] == role
            for block in message["content"]
            if block["type"] == kind
        ]

    @invariant()
    def requests_are_legal(self) -> None:
        assert self.server.unscripted_rejections() == ()

    @invariant()
    def no_effect_is_repeated(self) -> None:
        assert all(many <= self.asked[name] for name, many in self.done.items())

    @invariant()
    def no_text_is_doubled(self) -> None:
        written = json.dumps(self.accepted())
        assert all(written.count(f"({n}) ") <= 1 for n in range(1, self.said + 1))

    @invariant()
    def no_cut_reply_is_history(self) -> None:
        kept = {one["text"] for one in self.blocks("assistant", "text")}
        assert kept <= self.replies

    def teardown(self) -> None:
        try:
            self.dies = ""
            self.calm()
            before = len(self.server.log)
            self.talk(None)
            after = self.server.log[before:]
            assert after, "nothing was sent"
            assert after[-1].accepted, "stuck"
            told = Counter(one["name"] for one in self.blocks("assistant", "tool_use"))
            assert all(many <= told[name] for name, many in self.done.items())
            self.requests_are_legal()
            self.no_effect_is_repeated()
            self.no_text_is_doubled()
            self.no_cut_reply_is_history()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
