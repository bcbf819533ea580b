"""The SDK's tool runner. It has no store: after each of its steps, a reply with the results of
its calls, the messages are written to a file, and the next process goes on from them."""

import json

import anthropic
import httpx2
import shop

HISTORY = shop.FOLDER / "messages.json"
client = anthropic.Anthropic(
    max_retries=shop.ATTEMPTS - 1, timeout=httpx2.Timeout(60, read=shop.READ_SECONDS)
)
messages = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
messages.append({"role": "user", "content": shop.prompt()})

runner = client.beta.messages.tool_runner(
    model=shop.MODEL,
    max_tokens=shop.MAX_TOKENS,
    system=shop.SYSTEM,
    messages=messages,
    tools=[
        anthropic.beta_tool(each) for each in (shop.pay, shop.write_note, shop.look_up)
    ],
    stream=True,
)
for stream in runner:
    said = stream.get_final_message()
    results = runner.generate_tool_call_response()
    if said.content:
        content = [block.to_dict() for block in said.content]
        messages.append({"role": "assistant", "content": content})
    if results is not None:
        messages.append(results)
    HISTORY.with_suffix(".new").write_text(json.dumps(messages))
    HISTORY.with_suffix(".new").replace(HISTORY)
