"""The Python SDK: messages, its stream, its tool runner, and its own retries."""

import sys

import anthropic
from anthropic import beta_tool

MODEL = "claude-sonnet-5-5"
ASK = [{"role": "user", "content": "What is the answer?"}]
client = anthropic.Anthropic()


@beta_tool
def add(a: int, b: int) -> str:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return str(a + b)


match sys.argv[1]:
    case "stream":
        with client.messages.stream(
            model=MODEL, max_tokens=500, messages=ASK
        ) as stream:
            print("".join(stream.text_stream))
    case "tool":
        runner = client.beta.messages.tool_runner(
            model=MODEL,
            max_tokens=500,
            tools=[add],
            messages=[{"role": "user", "content": "Add 3 and 4."}],
        )
        print(list(runner)[-1].content[-1].text)
    case _:
        said = client.messages.create(model=MODEL, max_tokens=500, messages=ASK)
        print(said.content[-1].text)
