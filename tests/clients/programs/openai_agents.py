"""The OpenAI Agents SDK over LiteLLM, with a temperature."""

import asyncio
import os
import sys

from agents import Agent, ModelSettings, Runner, function_tool
from agents.extensions.models.litellm_model import LitellmModel


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def main() -> None:
    """One run."""
    cell = sys.argv[1]
    model = LitellmModel(
        model="anthropic/claude-sonnet-4-6", base_url=os.environ["ANTHROPIC_BASE_URL"]
    )
    agent = Agent(
        name="a",
        model=model,
        model_settings=ModelSettings(temperature=0.2),
        tools=[add] if cell == "tool" else [],
    )
    ask = "Add 3 and 4." if cell == "tool" else "What is the answer?"
    if cell == "stream":
        run = Runner.run_streamed(agent, ask)
        async for _ in run.stream_events():
            pass
        print(run.final_output)
        return
    try:
        print((await Runner.run(agent, ask)).final_output)
    except Exception as error:
        print("429" if "rate_limit" in str(error) else error)


asyncio.run(main())
