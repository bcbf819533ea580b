"""The agent SDK, with a tool of ours in its own process. It always streams."""

import asyncio
import sys
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    TextBlock,
    create_sdk_mcp_server,
    query,
    tool,
)


@tool("add", "Add two numbers.", {"a": int, "b": int})
async def add(given: dict[str, Any]) -> dict[str, Any]:
    """Add."""
    return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}


async def main() -> None:
    """One query."""
    with_tool = sys.argv[1] == "tool"
    ask = "Add 3 and 4." if with_tool else "What is the answer?"
    options = ClaudeAgentOptions(
        model="claude-opus-5-5",
        mcp_servers={"sums": create_sdk_mcp_server("sums", tools=[add])},
        allowed_tools=["mcp__sums__add"],
        tools=[],
    )
    async for message in query(prompt=ask, options=options):
        if isinstance(message, AssistantMessage):
            print(*(b.text for b in message.content if isinstance(b, TextBlock)))


asyncio.run(main())
