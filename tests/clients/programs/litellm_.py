"""LiteLLM: completions, with a temperature, since it sends 2023-06-01."""

import json
import os
import sys

import litellm

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
ASK = [{"role": "user", "content": "What is the answer?"}]
FIXED = {
    "model": "anthropic/claude-sonnet-4-6",
    "api_base": os.environ["ANTHROPIC_BASE_URL"],
    "temperature": 0.2,
}

match sys.argv[1]:
    case "stream":
        pieces = litellm.completion(messages=ASK, stream=True, **FIXED)
        print("".join(p.choices[0].delta.content or "" for p in pieces))
    case "tool":
        said = [{"role": "user", "content": "Add 3 and 4."}]
        first = litellm.completion(messages=said, tools=[ADD], **FIXED)
        asked = first.choices[0].message
        given = json.loads(asked.tool_calls[0].function.arguments)
        told = {
            "role": "tool",
            "tool_call_id": asked.tool_calls[0].id,
            "content": str(given["a"] + given["b"]),
        }
        onward = [*said, asked.model_dump(), told]
        last = litellm.completion(messages=onward, tools=[ADD], **FIXED)
        print(last.choices[0].message.content)
    case _:
        try:
            made = litellm.completion(messages=ASK, **FIXED)
            print(made.choices[0].message.content)
        except litellm.RateLimitError as error:
            print("429", error.status_code)
