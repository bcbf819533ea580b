"""Instructor: structured answers by a tool that is demanded, with a temperature."""

import sys

import anthropic
import instructor
from pydantic import BaseModel

MODEL = "claude-sonnet-4-6"
ASK = [{"role": "user", "content": "What is the answer?"}]
sdk = anthropic.Anthropic()


class Sum(BaseModel):
    """The sum of two numbers."""

    a: int
    b: int


match sys.argv[1]:
    case "tool":
        client = instructor.from_anthropic(sdk)
        made = client.chat.completions.create(
            model=MODEL,
            max_tokens=500,
            messages=[{"role": "user", "content": "Add 3 and 4."}],
            response_model=Sum,
            temperature=0.2,
        )
        print("The sum is seven." if made.a + made.b == 7 else made)
    case "stream":
        with sdk.messages.stream(model=MODEL, max_tokens=500, messages=ASK) as stream:
            print("".join(stream.text_stream))
    case _:
        client = instructor.from_anthropic(sdk)
        made = client.chat.completions.create(
            model=MODEL,
            max_tokens=500,
            messages=ASK,
            response_model=None,
            temperature=0.2,
        )
        print(made.content[-1].text)
