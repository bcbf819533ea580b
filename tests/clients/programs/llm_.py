"""`llm` with its Anthropic plugin, which sends a temperature of 1 with every request."""

import sys

import llm

model = llm.get_model("claude-sonnet-4.6")
model.key = "sk-ant-simulated"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


match sys.argv[1]:
    case "stream":
        print("".join(model.prompt("What is the answer?", stream=True)))
    case "tool":
        print(model.chain("Add 3 and 4.", tools=[add], stream=False).text())
    case _:
        print(model.prompt("What is the answer?", stream=False).text())
