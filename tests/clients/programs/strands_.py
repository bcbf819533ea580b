"""Strands: an agent with a temperature. It always streams, and retries by itself."""

import sys

from strands import Agent, tool
from strands.models.anthropic import AnthropicModel


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


with_tool = sys.argv[1] == "tool"
model = AnthropicModel(
    model_id="claude-sonnet-4-6", max_tokens=500, params={"temperature": 0.2}
)
agent = Agent(model=model, tools=[add] if with_tool else [], callback_handler=None)
print(agent("Add 3 and 4." if with_tool else "What is the answer?"))
