"""LangChain: the chat model, its stream, and an agent."""

import sys

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

model = ChatAnthropic(model="claude-sonnet-5-5", max_tokens=500)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


match sys.argv[1]:
    case "stream":
        print("".join(p.text for p in model.stream("What is the answer?")))
    case "tool":
        agent = create_agent(model, [add])
        asked = {"messages": [{"role": "user", "content": "Add 3 and 4."}]}
        print(agent.invoke(asked)["messages"][-1].text)
    case _:
        print(model.invoke("What is the answer?").text)
