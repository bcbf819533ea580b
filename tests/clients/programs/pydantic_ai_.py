"""Pydantic AI: an agent, its stream, its tools, and the retries of the SDK below it."""

import asyncio
import sys

from pydantic_ai import Agent

agent = Agent("anthropic:claude-sonnet-5-5")


async def streamed() -> None:
    """The stream."""
    async with agent.run_stream("What is the answer?") as run:
        print([piece async for piece in run.stream_text()][-1])


match sys.argv[1]:
    case "stream":
        asyncio.run(streamed())
    case "tool":

        @agent.tool_plain
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        print(agent.run_sync("Add 3 and 4.").output)
    case _:
        print(agent.run_sync("What is the answer?").output)
