"""A window that is full is one, in whatever words it is refused."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from tests.harness.world import World

from turnlatch import Remedy, TurnState
from turnlatch.simulator import ApiRequest, ApiResponse, Scripted, Seeded, Simulator
from turnlatch.simulator.tokens import count_request

pytestmark = pytest.mark.anyio

WINDOW = 20_000

Words = Callable[[int, int], str]
"""How a server says it: for the tokens of the prompt and of the reply asked for."""

WORDS: Mapping[str, Words] = {
    "Anthropic": lambda p, _: f"prompt is too long: {p} tokens > {WINDOW} maximum",
    "Bedrock": lambda _p, _r: "Input is too long for requested model.",
    "vLLM": lambda p, r: (
        f"This model's maximum context length is {WINDOW} tokens. However, you requested"
        f" {r} output tokens and your prompt contains {p} input tokens"
    ),
    "OpenAI": lambda p, _: (
        f"This model's maximum context length is {WINDOW} tokens. However, your messages"
        f" resulted in {p} tokens."
    ),
    "LiteLLM": lambda _p, _r: "litellm.ContextWindowExceededError: BadRequestError",
}


class Window:
    """A server whose window is full at some length of prompt and reply together.

    Attributes:
        refused: How many requests it refused.
    """

    def __init__(
        self, simulator: Simulator, words: Words, *, window: int, reply: bool
    ) -> None:
        self.simulator = simulator
        self.refused = 0
        self._words, self._window, self._reply = words, window, reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self.simulator, name)

    def handle(self, request: ApiRequest) -> ApiResponse:
        """Refuse what does not fit, and have the simulator answer the rest."""
        body = json.loads(request.body)
        prompt, reply = count_request(body), int(body.get("max_tokens", 0))
        if prompt + (reply if self._reply else 0) <= self._window:
            return self.simulator.handle(request)
        self.refused += 1
        said = {"type": "invalid_request_error", "message": self._words(prompt, reply)}
        # Refused as the simulator refuses what is no JSON, but in other words.
        refusal = self.simulator.handle(attrs.evolve(request, body=b"{"))
        data = json.dumps({"type": "error", "error": said}).encode()
        headers = tuple(
            (name, str(len(data)) if name == "content-length" else value)
            for name, value in refusal.headers
        )
        chunk = attrs.evolve(refusal.chunks[0], data=data)
        return attrs.evolve(refusal, chunks=(chunk,), headers=headers)


def between(
    world: World, words: Words, *, window: int = WINDOW, reply: bool = False
) -> Any:
    """A server with a small window, and the real SDK in front of it."""
    answers = Scripted(
        ["Answer. " * 300] * 99, then=Seeded(0), summaries=["So far so good."] * 99
    )
    world.simulator = Simulator(answers, clock=world.clock.now)
    server = Window(world.simulator, words, window=window, reply=reply)
    return server, world.client(world.transport(server))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("words", WORDS)
async def test_a_full_window_costs_no_message_and_is_learnt(
    world: World, words: str
) -> None:
    server, client = between(world, WORDS[words])
    async with world.open(client=client, tools=[]) as chat:
        for number in range(30):
            turn = await chat.send(f"{number} " + "word " * 1_000)
            assert turn.state is TurnState.CONFIRMED
        assert server.refused <= 2, "it is learnt"
        window = chat.snapshot.window
        assert window is not None
        assert WINDOW <= window <= WINDOW * 1.25
        assert chat.snapshot.base is not None
        assert len(chat.history) == 30
    world.simulator = Simulator(Seeded(0))  # what was refused on purpose is no slip


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "words",
    [
        "max_tokens={r} cannot be greater than max_model_len=max_total_tokens={w}.",
        "'max_tokens' or 'max_completion_tokens' is too large: {r}. This model's maximum"
        " context length is {w} tokens and your request has {p} input tokens ({r} > {w} -"
        " {p}).",
    ],
)
async def test_a_default_reply_longer_than_the_window_is_clamped_and_learnt(
    world: World, words: str
) -> None:
    window = 3_000
    server, client = between(
        world, lambda p, r: words.format(p=p, r=r, w=window), window=window, reply=True
    )
    async with world.open(client=client, tools=[], max_tokens=4_096) as chat:
        first = await chat.send("Hello")
        assert first.state is TurnState.CONFIRMED
        assert first.remedies == (Remedy.CLAMP,)
        for number in range(2):
            turn = await chat.send(f"And {number}?")
            assert turn.state is TurnState.CONFIRMED
        assert server.refused == 1, "it is learnt"
    world.simulator = Simulator(Seeded(0))  # what was refused on purpose is no slip
