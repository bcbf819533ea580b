"""An agent of the comparison with a bug that its argument names. It needs the standard library
alone, so it starts at once; `benchmarks/peers` is on its path."""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import shop

BUG = sys.argv[1]
HISTORY = shop.FOLDER / "messages.json"
SCHEMA = {"type": "object", "properties": {"amount": {"type": "integer"}}}


def asked(messages: list[Any]) -> Any:
    """The model's reply; a refusal that may pass is waited out."""
    body: dict[str, Any] = {"model": shop.MODEL, "max_tokens": 1024}
    body |= {"messages": messages, "tools": [{"name": "pay", "input_schema": SCHEMA}]}
    request = urllib.request.Request(
        f"{shop.BASE_URL}/v1/messages",
        json.dumps(body).encode(),
        {
            "content-type": "application/json",
            "anthropic-version": "2023-06-01",
            "x-api-key": "test",
        },
    )
    for _ in range(shop.ATTEMPTS):
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            if problem.code not in {429, 529}:
                raise
            if BUG != "hasty":
                time.sleep(float(problem.headers.get("retry-after", 0.2)))
    raise SystemExit("the service does not answer")


def run(messages: list[Any], reply: Any) -> None:
    """Add the results of a reply's calls."""
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    results: list[Any] = []
    for call in calls:
        results.append({"type": "tool_result", "tool_use_id": call["id"]})
        results[-1]["content"] = shop.pay(**call["input"])
    if results:
        messages.append({"role": "user", "content": results})


def save(messages: list[Any]) -> None:
    """Replace what is stored."""
    if BUG != "without memory":
        HISTORY.write_text(json.dumps(messages))


def main() -> None:
    """One message."""
    messages: list[Any] = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    if messages and messages[-1]["role"] == "assistant":
        last = messages[-1]
        calls = [one for one in last["content"] if one["type"] == "tool_use"]
        if calls and BUG == "does it again":
            run(messages, last)
        elif calls:
            unknown = [
                {
                    "type": "tool_result",
                    "tool_use_id": one["id"],
                    "content": "The outcome is unknown.",
                }
                for one in calls
            ]
            messages.append({"role": "user", "content": unknown})
    messages.append({"role": "user", "content": shop.prompt()})
    if BUG == "saves first":
        save(messages)
    while messages[-1]["role"] == "user":
        reply = asked(messages)
        messages.append({"role": "assistant", "content": reply["content"]})
        save(messages)
        if BUG != "calls nothing":
            run(messages, reply)
    save(messages)


main()
